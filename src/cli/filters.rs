//! `--filter key=value`, as the API wants it.

use super::exit::{Failure, Outcome};
use serde_json::{Map, Value};

/// The JSON of the `filters` query key; none when there are no filters.
///
/// # Errors
/// A filter without `=`.
pub(crate) fn query(filters: &[String]) -> Outcome<Option<String>> {
    if filters.is_empty() {
        return Ok(None);
    }
    let mut sorted = Map::new();
    for filter in filters {
        let Some((key, value)) = filter.split_once('=') else {
            return Err(Failure::usage(format!(
                "invalid argument \"{filter}\" for \"-f, --filter\" flag: bad format of filter (expected name=value)"
            )));
        };
        let values = sorted.entry(key.trim().to_lowercase()).or_insert_with(|| Value::Object(Map::new()));
        if let Some(values) = values.as_object_mut() {
            values.insert(value.trim().to_owned(), Value::Bool(true));
        }
    }
    Ok(Some(Value::Object(sorted).to_string()))
}

/// M-33: a filter the daemon does not know is answered with those it does, the nearest first.
pub(crate) fn explain(failure: Failure, known: &[&str]) -> Failure {
    let Some(message) = failure.daemon_message().filter(|message| message.to_lowercase().contains("invalid filter")) else {
        return failure;
    };
    if !failure.hints.is_empty() {
        return failure;
    }
    let Some(given) = message.split('\'').nth(1).map(str::to_owned) else { return failure };
    let near = crate::cli::nearest::near(&given, known.iter().copied());
    let advice = near.map(|near| format!("did you mean {near}=...? ")).unwrap_or_default();
    failure.hint(format!("{advice}filters are {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_sets_of_values() {
        assert_eq!(query(&[]).unwrap(), None);
        let given = ["reference=a".to_owned(), "reference=b*".to_owned(), "label=x=y".to_owned()];
        assert_eq!(query(&given).unwrap().as_deref(), Some(r#"{"reference":{"a":true,"b*":true},"label":{"x=y":true}}"#));
        assert_eq!(query(&["x".to_owned()]).unwrap_err().code, 125);
    }

    #[test]
    fn unknown_filters_name_the_nearest() {
        let failure = explain(Failure::daemon(400, "Invalid filter 'ref'", None), &["dangling", "reference"]);
        assert_eq!(failure.hints, ["did you mean reference=...? filters are dangling, reference"]);
    }
}
