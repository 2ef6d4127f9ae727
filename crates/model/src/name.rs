//! Names that people give to containers, networks and volumes.

use std::fmt;
use std::str::FromStr;

use crate::{Classified, ErrorKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest name; longer ones would not fit in file names and DNS labels anyway.
const LONGEST: usize = 255;

/// Why a text cannot be a name. Displays as dockerd words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid {noun} name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
pub struct NameError {
    pub noun: &'static str,
    pub text: String,
}

impl Classified for NameError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        if self.text.len() >= LONGEST {
            return Some(format!("a {} name has at most {LONGEST} letters", self.noun));
        }
        let letters: String = self.text.chars().map(|letter| if is_letter_of_names(letter) { letter } else { '-' }).collect();
        let near = letters.trim_start_matches(|letter: char| !letter.is_ascii_alphanumeric()).trim_end_matches('-');
        (near != self.text && near.len() > 1).then(|| format!("did you mean {near}?"))
    }
}

fn is_letter_of_names(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-')
}

/// True for a letter or digit followed by letters, digits, `_`, `.` or `-`.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        && text.len() <= LONGEST
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $noun:literal, $shortest:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(String);

        impl $type {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if is_name(text) && text.len() >= $shortest {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { noun: $noun, text: text.chars().take(LONGEST).collect() })
                }
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// A container's name, without the slash that Docker's API puts before it.
    ContainerName, "container", 2
}
name! {
    /// A network's name.
    NetworkName, "network", 1
}
name! {
    /// A volume's name.
    VolumeName, "volume", 2
}

const MANNERS: &[&str] = &[
    "able", "amber", "brave", "breezy", "bright", "calm", "clever", "cosy", "crisp", "deft", "eager", "early", "fair", "fleet", "fond",
    "fresh", "gentle", "glad", "golden", "grand", "handy", "hardy", "honest", "jolly", "keen", "kind", "lively", "loyal", "lucid",
    "mellow", "merry", "mild", "neat", "nimble", "noble", "patient", "plain", "plucky", "polite", "proud", "quick", "quiet", "rapid",
    "ready", "robust", "sharp", "silver", "sober", "spry", "stout", "sturdy", "sunny", "swift", "tidy", "true", "vivid", "warm", "wise",
    "witty", "young",
];

const SHIPS: &[&str] = &[
    "anchor",
    "barge",
    "beacon",
    "bosun",
    "bow",
    "brig",
    "buoy",
    "cable",
    "canvas",
    "captain",
    "cargo",
    "clipper",
    "compass",
    "convoy",
    "cutter",
    "deck",
    "dinghy",
    "dock",
    "ferry",
    "fleet",
    "frigate",
    "galley",
    "gangway",
    "harbour",
    "hatch",
    "helm",
    "hull",
    "jetty",
    "keel",
    "ketch",
    "lagoon",
    "lantern",
    "mast",
    "mooring",
    "navigator",
    "oar",
    "pier",
    "pilot",
    "porthole",
    "quay",
    "rigging",
    "rudder",
    "sail",
    "schooner",
    "sextant",
    "skipper",
    "sloop",
    "spar",
    "stern",
    "tender",
    "tide",
    "tiller",
    "trawler",
    "tug",
    "vessel",
    "voyage",
    "wake",
    "wharf",
    "winch",
    "yawl",
];

/// A name made up from `seed`: a manner and a thing of ships, and a number for later tries.
pub fn random_container_name(seed: u64) -> ContainerName {
    let pick = |words: &[&'static str], value: u64| words[usize::try_from(value % words.len() as u64).unwrap_or(0)];
    let manner = pick(MANNERS, seed);
    let thing = pick(SHIPS, seed / 61);
    let number = seed / 3721 % 100;
    ContainerName(if number == 0 { format!("{manner}_{thing}") } else { format!("{manner}_{thing}{number}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_and_nothing_that_could_steer_a_file_or_a_rule() {
        for good in ["ab", "web-ping", "a.b_c-1", "0a"] {
            assert!(good.parse::<ContainerName>().is_ok(), "{good}");
        }
        for bad in ["", "a", "-ab", "_ab", "a/b", "a b", "a\nb", "é1", "../ab", "a;b", &"a".repeat(256)] {
            assert!(bad.parse::<ContainerName>().is_err(), "{bad}");
        }
        let error = "a b".parse::<ContainerName>().unwrap_err();
        assert_eq!(error.to_string(), "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    }

    #[test]
    fn made_up_names_are_names() {
        for seed in [0, 1, 60, 61, 3720, 3721, u64::MAX] {
            let name = random_container_name(seed);
            assert!(name.as_str().parse::<ContainerName>().is_ok(), "{name}");
        }
    }
}
