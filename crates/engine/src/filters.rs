//! Filters of list and prune verbs: `key=value` pairs, several values of one key meaning "any of them".

use std::collections::BTreeMap;

use shipway_model::suggest;

use crate::Error;

/// What a list or prune is narrowed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Filters from pairs already taken apart.
    pub fn new(pairs: BTreeMap<String, Vec<String>>) -> Self {
        Self(pairs)
    }

    /// One more pair.
    pub fn add(&mut self, key: &str, value: &str) {
        self.0.entry(key.to_owned()).or_default().push(value.to_owned());
    }

    /// True when nothing narrows the answer.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values given for `key`, in the order typed.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// True when `key` was given at all.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Refuses keys that the verb does not know, naming the nearest one it does (M-33).
    pub fn check_known(&self, known: &[&str]) -> Result<(), Error> {
        for key in self.0.keys() {
            if known.contains(&key.as_str()) {
                continue;
            }
            // An abbreviation is far in letters and near in mind.
            let longer = known.iter().copied().find(|name| key.len() > 1 && name.starts_with(key.as_str()));
            let nearest = longer
                .or_else(|| suggest::nearest(key, known.iter().copied(), 3))
                .map(|name| format!("did you mean {name}? "))
                .unwrap_or_default();
            return Err(Error::InvalidWithHint {
                reason: format!("invalid filter '{key}'"),
                hint: format!("{nearest}accepted filters: {}", known.join(", ")),
            });
        }
        Ok(())
    }

    /// A yes-or-no filter: `None` when absent.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some(values) = self.0.get(key) else { return Ok(None) };
        let mut answer = None;
        for value in values {
            let parsed = match value.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                _ => return Err(Error::invalid(format!("invalid filter '{key}={value}'"))),
            };
            answer = Some(answer.unwrap_or(false) || parsed);
        }
        Ok(answer)
    }

    /// True when `labels` satisfy every `label` filter (`key` or `key=value`) and no `label!` filter.
    pub fn match_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").iter().all(has) && !self.values("label!").iter().any(has)
    }
}

/// A regular expression of somebody's. Bounded, because a stranger's may be made to grow.
pub(crate) fn expression(text: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(text).size_limit(1 << 20).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &str)]) -> Filters {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in pairs {
            map.entry((*key).to_owned()).or_default().push((*value).to_owned());
        }
        Filters::new(map)
    }

    #[test]
    fn an_unknown_filter_names_the_nearest_known_one() {
        let error = filters(&[("ref", "x")]).check_known(&["reference", "dangling"]).unwrap_err();
        assert_eq!(error.to_string(), "invalid filter 'ref'");
        assert!(shipway_model::Classified::hint(&error).unwrap().starts_with("did you mean reference? "));
    }

    #[test]
    fn labels_match_by_key_by_value_and_by_absence() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        for (pairs, expected) in [
            (&[("label", "a")][..], true),
            (&[("label", "a=1"), ("label", "b")], true),
            (&[("label", "a=2")], false),
            (&[("label!", "b")], false),
            (&[("label!", "c")], true),
        ] {
            assert_eq!(filters(pairs).match_labels(&labels), expected, "{pairs:?}");
        }
    }

    #[test]
    fn flags_take_go_booleans_only() {
        assert_eq!(filters(&[("dangling", "true")]).flag("dangling").unwrap(), Some(true));
        assert_eq!(filters(&[("dangling", "0")]).flag("dangling").unwrap(), Some(false));
        assert_eq!(filters(&[]).flag("dangling").unwrap(), None);
        assert!(filters(&[("dangling", "yes")]).flag("dangling").is_err());
    }
}
