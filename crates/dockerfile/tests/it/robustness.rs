//! No text can make the parser panic, lose its place, or take long.

use super::{parsed, source};
use proptest::prelude::*;
use shipway_dockerfile::{Parsed, SourceText, Span, Word, expand, parse, parse_onbuild};
use std::time::{Duration, Instant};

/// Pieces that, thrown together, look enough like a Dockerfile to reach every corner.
const PIECES: [&str; 64] = [
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "CMD ",
    "ENTRYPOINT ",
    "HEALTHCHECK ",
    "ONBUILD ",
    "SHELL ",
    "EXPOSE ",
    "VOLUME ",
    "USER ",
    "WORKDIR ",
    "STOPSIGNAL ",
    "MAINTAINER ",
    "a",
    "b",
    " AS ",
    " as x",
    "scratch",
    "--from=",
    "--mount=type=cache,target=/x",
    "--mount=",
    "--link",
    "--chmod=7",
    "--platform=$P ",
    "0",
    "99",
    "=",
    "\"",
    "'",
    "\\",
    "`",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\\\n",
    " \\\n",
    "#",
    "# escape=`\n",
    "# check=skip=all\n",
    "<<EOF",
    "<<-'E'",
    "EOF\n",
    "E\n",
    "$",
    "${",
    "}",
    ":-",
    "${a:-",
    "//",
    "[\"",
    "\"]",
    "[\"a\",\"b\"]",
    "CMD",
    "NONE",
    "가",
    "\u{feff}",
    "\u{0}",
    "\t",
];

/// A small generator of our own, so that a failure names the seed.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

fn check_span(text: &SourceText, span: &Span, what: &str) {
    let range = span.range();
    assert!(range.start <= range.end && range.end <= text.text.len(), "{what} {span:?} in {:?}", text.text);
    assert!(text.text.is_char_boundary(range.start) && text.text.is_char_boundary(range.end), "{what} {span:?} in {:?}", text.text);
    assert!(span.start <= span.end && span.start.line >= 1 && span.start.column >= 1, "{what} {span:?}");
}

fn check_all(text: &SourceText) -> Parsed {
    let parsed = parse(text);
    for found in &parsed.diagnostics {
        check_span(text, &found.span, found.code);
        assert!(!found.code.is_empty());
    }
    // Rendering walks the text for its line, so a few will do.
    parsed.diagnostics.iter().take(3).for_each(|found| assert!(!found.render(text).is_empty()));
    for stage in &parsed.dockerfile.stages {
        check_span(text, &stage.from.span, "FROM");
        check_span(text, &stage.from.image.span, "image");
        for instruction in &stage.instructions {
            check_span(text, &instruction.span, "instruction");
            check_span(text, &instruction.keyword_word.span, "keyword");
            assert_eq!(text.slice(&instruction.keyword_word.span), instruction.keyword_word.text);
            instruction.heredocs.iter().for_each(|heredoc| assert_eq!(text.slice(&heredoc.span), heredoc.content));
            let _ = (instruction.display(), parse_onbuild(&instruction.trigger_text()));
        }
    }
    parsed
}

#[test]
fn random_pieces_never_hurt() {
    for seed in 1..2000u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let count = random.next(40);
        let text: String = (0..count).map(|_| PIECES[random.next(PIECES.len())]).collect();
        check_all(&source(&text));
        check_all(&source(&format!("FROM a\n{text}")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_parsed(text in "\\PC*|(?s).{0,200}") {
        check_all(&source(&text));
    }

    #[test]
    fn any_bytes_are_parsed(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_all(&SourceText::from_bytes("x", &bytes));
    }

    #[test]
    fn any_word_is_expanded(text in "[$a-c{}:+?#%/*'\"\\\\ -]{0,40}") {
        let span = parsed("FROM a").dockerfile.stages[0].from.span;
        let _ = expand(&Word { text, span }, &|name: &str| (name != "c").then(|| format!("{name}/v")), '\\');
    }
}

/// Generous for an unoptimised build on a busy machine; anything quadratic takes minutes.
const PATIENCE: Duration = Duration::from_secs(10);

fn quickly(name: &str, text: String) -> Parsed {
    let start = Instant::now();
    let parsed = check_all(&SourceText::new("Dockerfile", text));
    assert!(start.elapsed() < PATIENCE, "{name} took {:?}", start.elapsed());
    parsed
}

#[test]
fn hostile_files_are_answered_quickly() {
    // A quarter of the longest file we promise for, but for the first: anything quadratic still takes minutes.
    let mega = 1 << 18;
    let cases: Vec<(&str, String)> = vec![
        ("one long word", format!("FROM a\nRUN {}", "x".repeat(4 * mega))),
        ("many words", format!("FROM a\nEXPOSE {}", "80 ".repeat(mega / 3))),
        ("many wide words", format!("FROM a\nENV {}", "가=나 ".repeat(mega / 8))),
        ("many bad words", format!("FROM a\nENV a=b {}", "c ".repeat(mega / 2))),
        ("many flags", format!("FROM a\nCOPY {} a b", "--x ".repeat(mega / 4))),
        ("many known flags", format!("FROM a\nCOPY {} a b", "--exclude=x ".repeat(20_000))),
        ("many unknown lines", "RUNN a\n".repeat(mega / 7)),
        ("many continuations", format!("FROM a\nRUN {}", "a \\\n".repeat(mega / 4))),
        ("many empty continuations", format!("FROM a\nRUN a \\\n{}", "\n".repeat(mega))),
        ("many heredocs", format!("FROM a\nRUN {}", "<<A ".repeat(mega / 4))),
        ("many closed heredocs", format!("FROM a\nRUN {}\n{}", "<<A ".repeat(50_000), "A\n".repeat(50_000))),
        ("deep variables", format!("FROM a\nWORKDIR {}", "${a:-".repeat(mega / 5))),
        ("many variables", format!("FROM a\nWORKDIR {}", "$a".repeat(mega / 2))),
        ("many quotes", format!("FROM a\nENV a={}", "\"'".repeat(mega / 2))),
        ("open substitutions", format!("FROM a\nRUN {}", "$(".repeat(mega / 2))),
        ("deep json", format!("FROM a\nCMD {}", "[".repeat(mega))),
        ("chained onbuild", format!("FROM a\n{}", "ONBUILD ".repeat(mega / 8))),
        ("only blanks", " \t".repeat(mega / 2)),
        ("only NUL", "\0".repeat(mega)),
        ("many stages", (0..10_000).map(|n| format!("FROM s{} AS s{n}\nCOPY --from=s{} a b\n", n + 1, (n + 7) % 10_000)).collect()),
        ("chain of stages", (0..10_000).map(|n| format!("FROM s{} AS s{}\nENV A{n}=1\nWORKDIR /x\n", n, n + 1)).collect()),
        ("many stages of one name", "FROM a AS x\nCOPY --from=y a b\n".repeat(10_000)),
        (
            "all opt-in checks",
            format!("# check=experimental=all\n{}", "FROM a\nCOPY . .\nRUN npm install\nRUN apt-get install x\n".repeat(5_000)),
        ),
    ];
    for (name, text) in cases {
        quickly(name, text);
    }
}

#[test]
fn a_file_of_garbage_is_answered_with_a_bounded_list() {
    let parsed = quickly("garbage", "x y z\n".repeat(30_000));
    assert!(parsed.diagnostics.len() <= 1000 && parsed.has_errors());
    assert!(parsed.diagnostics.last().unwrap().reason.as_ref().unwrap().contains("more findings"));
}
