//! The `filters` query argument: a JSON object of lists of words, in the two forms that clients send.
//!
//! Since API 1.22 a list is written as a set (`{"label":{"a=b":true}}`); older clients and many libraries still write an array (`{"label":["a=b"]}`).

use std::collections::BTreeMap;

use serde_json::Value;

/// The filter names and the words asked for under each, sorted and without repetition.
pub type FilterMap = BTreeMap<String, Vec<String>>;

/// The argument is not a JSON object in one of the two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFilters {
    /// What about it could not be read.
    pub reason: String,
}

/// Reads a `filters` argument; an empty text means no filters.
///
/// # Errors
/// When `text` is neither form.
pub fn parse(text: &str) -> Result<FilterMap, BadFilters> {
    if text.trim().is_empty() {
        return Ok(FilterMap::new());
    }
    let value: Value = serde_json::from_str(text).map_err(|error| BadFilters { reason: error.to_string() })?;
    let entries = match value {
        Value::Object(entries) => entries,
        Value::Null => return Ok(FilterMap::new()),
        _ => return Err(BadFilters { reason: "expected a JSON object".to_owned() }),
    };
    entries.into_iter().map(|(name, words)| words_of(&name, words).map(|words| (name, words))).collect()
}

/// The words under one filter name.
fn words_of(name: &str, value: Value) -> Result<Vec<String>, BadFilters> {
    let mut words = match value {
        Value::Null => Vec::new(),
        // A word that is explicitly false was taken back by the client.
        Value::Object(set) => set.into_iter().filter(|(_, wanted)| *wanted != Value::Bool(false)).map(|(word, _)| word).collect(),
        Value::Array(list) => list
            .into_iter()
            .map(|word| match word {
                Value::String(word) => Ok(word),
                Value::Bool(word) => Ok(word.to_string()),
                Value::Number(word) => Ok(word.to_string()),
                _ => Err(BadFilters { reason: format!("expected words under \"{name}\"") }),
            })
            .collect::<Result<Vec<_>, _>>()?,
        _ => return Err(BadFilters { reason: format!("expected a list under \"{name}\"") }),
    };
    words.sort();
    words.dedup();
    Ok(words)
}

/// Writes filters in the form every server since API 1.22 reads.
pub fn print(filters: &FilterMap) -> String {
    let object: serde_json::Map<String, Value> = filters
        .iter()
        .map(|(name, words)| (name.clone(), Value::Object(words.iter().map(|word| (word.clone(), Value::Bool(true))).collect())))
        .collect();
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &[&str])]) {
        let expected: FilterMap =
            expected.iter().map(|(name, words)| ((*name).to_owned(), words.iter().map(|word| (*word).to_owned()).collect())).collect();
        assert_eq!(parse(text), Ok(expected), "{text}");
    }

    #[test]
    fn both_forms_mean_the_same() {
        check(r#"{"label":{"b":true,"a=1":true},"dangling":{"true":true}}"#, &[("label", &["a=1", "b"]), ("dangling", &["true"])]);
        check(r#"{"label":["b","a=1","b"],"dangling":[true]}"#, &[("label", &["a=1", "b"]), ("dangling", &["true"])]);
        check(r#"{"label":{"a":true},"id":["x"]}"#, &[("label", &["a"]), ("id", &["x"])]);
    }

    #[test]
    fn nothing_asked_is_no_filter() {
        for text in ["", "  ", "{}", "null"] {
            check(text, &[]);
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in ["[]", "{", r#"{"a":1}"#, r#"{"a":[{}]}"#, "true"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn printed_filters_read_back() {
        let filters = parse(r#"{"label":["a=b","c"],"until":["24h"]}"#).unwrap();
        assert_eq!(parse(&print(&filters)), Ok(filters));
    }
}
