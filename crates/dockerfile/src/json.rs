//! The JSON form of arguments: an array of strings, nothing else.

/// What text that may be a JSON array turned out to be.
pub(crate) enum JsonForm {
    Strings(Vec<String>),
    /// An array, but something in it is not a string: Docker refuses this instead of taking it as plain text.
    NotStrings,
    /// No JSON array: plain text.
    Text,
}

/// Reads `text` as a JSON array of strings.
pub(crate) fn parse(text: &str) -> JsonForm {
    if !text.trim_start().starts_with('[') {
        return JsonForm::Text;
    }
    match serde_json::from_str::<Vec<serde_json::Value>>(text) {
        Err(_) => JsonForm::Text,
        Ok(values) => {
            let mut strings = Vec::with_capacity(values.len());
            for value in values {
                match value {
                    serde_json::Value::String(string) => strings.push(string),
                    _ => return JsonForm::NotStrings,
                }
            }
            JsonForm::Strings(strings)
        }
    }
}

/// Whether plain text was probably meant as a JSON array: a bracket and a quote at once, or quoted words parted by commas in brackets.
/// `[ "$a" = b ]` and `[[ … ]]` are shell tests and have neither.
pub(crate) fn looks_intended(text: &str) -> bool {
    const QUOTES: [char; 6] = ['"', '\'', '“', '”', '‘', '’'];
    let Some(rest) = text.trim().strip_prefix('[') else {
        return false;
    };
    let closed = rest.ends_with(']') && rest.contains(',');
    rest.starts_with(QUOTES) || (closed && rest.trim_start().starts_with(QUOTES))
}

/// Writes the array the author probably meant, if quotes and a trailing comma were all that was wrong.
pub(crate) fn repaired(text: &str) -> Option<String> {
    let plain: String =
        text.trim().chars().map(|letter| if matches!(letter, '\'' | '“' | '”' | '‘' | '’') { '"' } else { letter }).collect();
    let inner = plain.strip_prefix('[')?.strip_suffix(']')?.trim_end().trim_end_matches(',');
    let candidate = format!("[{inner}]");
    matches!(parse(&candidate), JsonForm::Strings(_)).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_tests_are_not_taken_for_json() {
        for (text, wanted) in [
            ("['a', 'b']", true),
            ("[\"a\", \"b\",]", true),
            ("[ 'a', 'b' ]", true),
            ("[“a”]", true),
            ("[\"a\" \"b\"", true),
            ("[ \"$a\" = \"b\" ]", false),
            ("[ -f x ]", false),
            ("[[ a ]]", false),
            ("echo [a]", false),
        ] {
            assert_eq!(looks_intended(text), wanted, "{text}");
        }
        assert_eq!(repaired("[“a”, 'b',]").as_deref(), Some("[\"a\", \"b\"]"));
        assert_eq!(repaired("[a b]"), None);
    }
}
