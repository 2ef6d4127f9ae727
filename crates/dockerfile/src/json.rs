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

/// Whether plain text was probably meant as a JSON array: brackets around something quoted, as in `['a', "b",]`.
pub(crate) fn looks_intended(text: &str) -> bool {
    let text = text.trim();
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return text.starts_with("[\"") || text.starts_with("['");
    };
    // `[ -f x ]` and `[[ … ]]` are shell tests: a blank or a second bracket follows the first.
    let inner = inner.trim_start();
    inner.starts_with(['"', '\'', '“', '”', '‘', '’'])
}

/// Writes the array the author probably meant, if quotes and a trailing comma were all that was wrong.
pub(crate) fn repaired(text: &str) -> Option<String> {
    let plain: String =
        text.trim().chars().map(|letter| if matches!(letter, '\'' | '“' | '”' | '‘' | '’') { '"' } else { letter }).collect();
    let inner = plain.strip_prefix('[')?.strip_suffix(']')?.trim_end().trim_end_matches(',');
    let candidate = format!("[{inner}]");
    matches!(parse(&candidate), JsonForm::Strings(_)).then_some(candidate)
}
