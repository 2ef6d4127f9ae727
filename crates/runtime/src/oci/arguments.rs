//! Reading a command line as runc's is read: flags up to the first word that is none, everything after it untouched.
//!
//! What must stay true: `--name value` and `--name=value` mean the same, one dash is as good as two; an unknown flag is refused.

use super::error::Error;

/// One flag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag {
    name: &'static str,
    short: Option<char>,
    takes_value: bool,
}

impl Flag {
    pub(super) const fn switch(name: &'static str) -> Self {
        Self { name, short: None, takes_value: false }
    }

    pub(super) const fn short_switch(name: &'static str, short: char) -> Self {
        Self { name, short: Some(short), takes_value: false }
    }

    pub(super) const fn value(name: &'static str) -> Self {
        Self { name, short: None, takes_value: true }
    }

    pub(super) const fn short_value(name: &'static str, short: char) -> Self {
        Self { name, short: Some(short), takes_value: true }
    }
}

/// A command line that has been read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    flags: Vec<(&'static str, String)>,
    /// From the first word that is no flag.
    pub(super) rest: Vec<String>,
}

impl Parsed {
    /// Whether a switch is on; the last mention counts.
    pub(super) fn has(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value != "false")
    }

    /// The last value of a flag.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a flag.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.flags.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a flag as a number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        let read = |value: &str| value.parse().map_err(|_| Error::usage(format!("\"{value}\" is no value for --{name}")));
        self.text(name).map(read).transpose()
    }

    /// The first `N` words after the flags, of at most `most`.
    pub(super) fn words<const N: usize>(&self, most: usize, usage: &str) -> Result<[&str; N], Error> {
        let wrong = || Error::usage(format!("usage: shipway oci {usage}"));
        if self.rest.len() > most {
            return Err(wrong());
        }
        let words: Vec<&str> = self.rest.iter().take(N).map(String::as_str).collect();
        words.try_into().map_err(|_| wrong())
    }
}

/// Reads `words`.
pub(super) fn parse(words: &[String], known: &[Flag]) -> Result<Parsed, Error> {
    let mut parsed = Parsed::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.rest.extend(words.cloned());
            break;
        }
        let Some(body) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|body| !body.is_empty()) else {
            parsed.rest.push(word.clone());
            parsed.rest.extend(words.cloned());
            break;
        };
        let (name, value) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value.to_owned())));
        let is_meant = |flag: &&Flag| flag.name == name || flag.short.is_some_and(|short| name.chars().eq([short]));
        let Some(flag) = known.iter().find(is_meant) else {
            return Err(Error::usage(format!("flag provided but not defined: \"{word}\"")));
        };
        let value = match (value, flag.takes_value) {
            (Some(value), _) => value,
            (None, false) => "true".to_owned(),
            (None, true) => words.next().cloned().ok_or_else(|| Error::usage(format!("flag \"{word}\" needs a value")))?,
        };
        parsed.flags.push((flag.name, value));
    }
    Ok(parsed)
}
