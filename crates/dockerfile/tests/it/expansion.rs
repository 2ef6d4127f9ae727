//! Every form of a variable, quotes, escapes, word splitting, and the limits.

use shipway_dockerfile::{EXPANSION_LIMIT, ExpandFault, SourceText, Word, expand, expand_heredoc, expand_words};

fn word(text: &str) -> Word {
    let source = SourceText::new("x", "FROM a");
    let span = shipway_dockerfile::parse(&source).dockerfile.stages[0].from.image.span;
    Word { text: text.to_owned(), span }
}

fn env(name: &str) -> Option<String> {
    let value = match name {
        "A" => "a",
        "EMPTY" => "",
        "SPACED" => "x  y",
        "FILE" => "dir/sub/name.tar.gz",
        "KO" => "가나다",
        "QUOTE" => "it's \"q\"",
        _ => return None,
    };
    Some(value.to_owned())
}

#[test]
fn every_form_of_a_variable() {
    for (text, wanted) in [
        ("$A", "a"),
        ("${A}b", "ab"),
        ("$Ab", ""),
        ("x$", "x$"),
        ("$-x", "x"),
        ("\\$A", "$A"),
        ("'$A'", "$A"),
        ("\"$A\"", "a"),
        ("\"\\$A \\\" \\x\"", "$A \" \\x"),
        ("${NO:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NO-$A}", "a"),
        ("${A:+y}", "y"),
        ("${EMPTY:+y}", ""),
        ("${EMPTY+y}", "y"),
        ("${NO+y}", ""),
        ("${A:?e}", "a"),
        ("${NO:-${NO2:-${A}}}", "a"),
        ("${NO:-\"} '\"}", "} '"),
        ("${FILE#*/}", "sub/name.tar.gz"),
        ("${FILE##*/}", "name.tar.gz"),
        ("${FILE%.*}", "dir/sub/name.tar"),
        ("${FILE%%.*}", "dir/sub/name"),
        ("${FILE/\\//-}", "dir-sub/name.tar.gz"),
        ("${FILE//\\//-}", "dir-sub-name.tar.gz"),
        ("${KO#?}", "나다"),
        ("${KO%?}", "가나"),
        ("${FILE#$A}", "dir/sub/name.tar.gz"),
        ("$QUOTE", "it's \"q\""),
        ("a\\ b", "a b"),
        ("a\\", "a"),
        ("가\"나\"", "가나"),
    ] {
        assert_eq!(expand(&word(text), &env, '\\').map(|expanded| expanded.text), Ok(wanted.to_owned()), "{text}");
    }
    assert_eq!(expand(&word("c:\\x`$A"), &env, '`').unwrap().text, "c:\\x$A");
}

#[test]
fn broken_variables_are_told_in_dockers_words() {
    for (text, wanted) in [
        ("${A", "syntax error: missing '}'"),
        ("${", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${:-x}", "syntax error: bad substitution"),
        ("${A:=x}", "unsupported modifier (:=) in substitution"),
        ("${A^}", "unsupported modifier (^) in substitution"),
        ("${NO?}", "NO: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${NO:?please set}", "NO: please set"),
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ("\"a", "unexpected end of statement while looking for matching double-quote"),
        ("${A/x}", "syntax error: missing '/' in ${}"),
        ("${FILE#\\q}", "invalid pattern (\\q) in substitution: invalid escape '\\q'"),
    ] {
        let error = expand(&word(text), &env, '\\').unwrap_err();
        assert_eq!(error.fault.to_string(), wanted, "{text}");
        assert!(error.to_string().starts_with("failed to process"));
    }
}

#[test]
fn used_and_undefined_names_are_told_apart() {
    let expanded = expand(&word("$A $NO ${OTHER:-$ALSO} ${EMPTY} $A"), &env, '\\').unwrap();
    assert_eq!(expanded.used, ["A", "EMPTY"]);
    assert_eq!(expanded.undefined, ["ALSO", "NO"]);
}

#[test]
fn words_split_at_blanks_outside_quotes() {
    for (text, wanted) in [
        ("a b", vec!["a", "b"]),
        ("$SPACED", vec!["x", "y"]),
        ("\"$SPACED\"", vec!["x  y"]),
        ("a'b c'd $EMPTY e", vec!["ab cd", "e"]),
        ("a\\ b", vec!["a b"]),
        ("", vec![]),
    ] {
        assert_eq!(expand_words(&word(text), &env, '\\').unwrap(), wanted, "{text}");
    }
}

#[test]
fn heredocs_keep_quotes_and_backslashes() {
    let span = word("").span;
    let expanded = expand_heredoc("say \"$A\" 'it''s' \\n \\$A \\\\ ${NO:-d}\n", span, &env).unwrap();
    assert_eq!(expanded.text, "say \"a\" 'it''s' \\n $A \\ d\n");
}

#[test]
fn bombs_stop_at_the_limit() {
    let large = |_: &str| Some("x".repeat(EXPANSION_LIMIT / 2));
    assert_eq!(expand(&word("$A$B"), &large, '\\').unwrap().text.len(), EXPANSION_LIMIT);
    let too_large = |text: &str| matches!(expand(&word(text), &large, '\\').unwrap_err().fault, ExpandFault::TooLarge { .. });
    assert!(too_large("$A$B$C"));
    // Work that leaves nothing behind is work all the same.
    assert!(too_large(&"${A+}".repeat(100_000)));
    assert!(too_large(&"${A:-$B}".repeat(3)));
    let deep = format!("{}x{}", "${a:-".repeat(5000), "}".repeat(5000));
    assert!(matches!(expand(&word(&deep), &|_: &str| None, '\\').unwrap_err().fault, ExpandFault::TooDeep { .. }));
}
