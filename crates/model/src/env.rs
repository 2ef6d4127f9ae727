//! Lists of `KEY=VALUE`: merging them as Docker does, and reading `--env-file`.
//!
//! What must stay true: order is kept, the last value of a key wins in the place of its first, and no key occurs twice in a merged list.

use std::collections::HashMap;

use crate::kind::{Classified, ErrorKind};

/// The search path of a container whose image sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An `--env-file` of more bytes is no list of variables.
const FILE_LIMIT: usize = 8 << 20;

/// Why a file is no list of variables. The words are those clients match; `line` counts from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    #[error("variable '{name}' contains whitespaces")]
    Whitespace { name: String, line: usize },
    #[error("no variable name on line '{text}'")]
    NoName { text: String, line: usize },
    #[error("invalid utf8 bytes at line {line}")]
    Encoding { line: usize },
    #[error("the file is larger than 8 MiB")]
    TooLarge,
}

impl Classified for EnvError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Whitespace { line, .. } | Self::NoName { line, .. } => {
                Some(format!("line {line}: write KEY=VALUE without blanks around \"=\""))
            }
            _ => None,
        }
    }
}

/// The key of an entry: what stands before the first "=".
pub fn key(entry: &str) -> &str {
    entry.split('=').next().unwrap_or(entry)
}

/// The value of `wanted` in a list, the last one when there are several.
pub fn value<'a>(entries: &'a [String], wanted: &str) -> Option<&'a str> {
    entries.iter().rev().find_map(|entry| entry.split_once('=').filter(|(name, _)| *name == wanted).map(|(_, value)| value))
}

/// `defaults` with `overrides` laid over: a known key changes its value in place, a new one is appended, and a bare `KEY` removes it.
///
/// # Cost
/// Linear in the number of entries.
pub fn merge(defaults: &[String], overrides: &[String]) -> Vec<String> {
    let mut merged: Vec<Option<&String>> = Vec::with_capacity(defaults.len() + overrides.len());
    let mut places: HashMap<&str, usize> = HashMap::new();
    for entry in defaults {
        let place = *places.entry(key(entry)).or_insert(merged.len());
        if place == merged.len() {
            merged.push(Some(entry));
        } else {
            merged[place] = Some(entry);
        }
    }
    for entry in overrides {
        if !entry.contains('=') {
            if let Some(place) = places.remove(entry.as_str()) {
                merged[place] = None;
            }
            continue;
        }
        let place = *places.entry(key(entry)).or_insert(merged.len());
        if place == merged.len() {
            merged.push(Some(entry));
        } else {
            merged[place] = Some(entry);
        }
    }
    merged.into_iter().flatten().cloned().collect()
}

/// The list with a PATH in front when it has none.
pub fn with_default_path(entries: &[String]) -> Vec<String> {
    let mut complete = Vec::with_capacity(entries.len() + 1);
    if value(entries, "PATH").is_none() {
        complete.push(format!("PATH={DEFAULT_PATH}"));
    }
    complete.extend_from_slice(entries);
    complete
}

/// The variables of an `--env-file`: one `KEY=VALUE` per line, the value as it stands, without quoting. Empty lines and lines starting with
/// "#" are skipped. A bare `KEY` takes its value from `lookup` and is left away when that has none.
///
/// # Errors
/// At the first line that is no variable.
pub fn parse_env_file(bytes: &[u8], lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, EnvError> {
    if bytes.len() > FILE_LIMIT {
        return Err(EnvError::TooLarge);
    }
    // Editors on Windows put a byte order mark in front and a carriage return behind.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut entries = Vec::new();
    for (number, bytes) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = number + 1;
        let text = std::str::from_utf8(bytes).map_err(|_| EnvError::Encoding { line })?;
        let text = text.strip_suffix('\r').unwrap_or(text).trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let name = key(text);
        if name.is_empty() {
            return Err(EnvError::NoName { text: text.to_owned(), line });
        }
        if name.contains(char::is_whitespace) {
            return Err(EnvError::Whitespace { name: name.to_owned(), line });
        }
        if text.contains('=') {
            entries.push(text.to_owned());
        } else if let Some(value) = lookup(name) {
            entries.push(format!("{name}={value}"));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn merging() {
        for (defaults, overrides, expected) in [
            (vec!["A=1", "B=2"], vec![], vec!["A=1", "B=2"]),
            (vec!["A=1", "B=2"], vec!["A=3", "C=4"], vec!["A=3", "B=2", "C=4"]),
            (vec!["A=1", "B=2"], vec!["A"], vec!["B=2"]),
            (vec!["A=1"], vec!["Z"], vec!["A=1"]),
            (vec!["A=1", "B=2"], vec!["A", "A=5"], vec!["B=2", "A=5"]),
            (vec!["A=1", "B=2", "A=3"], vec![], vec!["A=3", "B=2"]),
            (vec![], vec!["A=1", "A=2=3"], vec!["A=2=3"]),
            (vec!["A=1"], vec!["A="], vec!["A="]),
        ] {
            assert_eq!(merge(&list(&defaults), &list(&overrides)), list(&expected), "{defaults:?} {overrides:?}");
        }
    }

    #[test]
    fn path_is_there_once() {
        assert_eq!(with_default_path(&list(&["A=1"])), [format!("PATH={DEFAULT_PATH}"), "A=1".to_owned()]);
        assert_eq!(with_default_path(&list(&["PATH=/x"])), list(&["PATH=/x"]));
        assert_eq!(value(&list(&["PATHS=1", "PATH=/a", "PATH=/b"]), "PATH"), Some("/b"));
    }

    #[test]
    fn files() {
        let known = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        let text = b"\xef\xbb\xbf# first\nA=1\r\n\n  B= two words \n#C=3\nHOME\nUNSET\nQ=\"x\"";
        assert_eq!(parse_env_file(text, known), Ok(list(&["A=1", "B= two words ", "HOME=/root", "Q=\"x\""])));
        assert_eq!(parse_env_file(b"A=1\nB C=2", known), Err(EnvError::Whitespace { name: "B C".to_owned(), line: 2 }));
        assert_eq!(parse_env_file(b"=x", known), Err(EnvError::NoName { text: "=x".to_owned(), line: 1 }));
        assert_eq!(parse_env_file(b"A=1\n\xff=2", known), Err(EnvError::Encoding { line: 2 }));
    }
}
