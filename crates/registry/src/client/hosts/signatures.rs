//! `signatures.toml`: which images of a registry must be signed, and by whom.
//!
//! ```text
//! FOLDER/registry.firm:5000/signatures.toml (or registry.firm_5000_)   FOLDER/_default/signatures.toml (for every other registry)
//!   keys = ["release.pub"]              # PEM, beside the file or by full path: a signature by one of them is needed
//!   identity = "name"                   # whom a signature must be about: "name" (as the image is pulled), "any", or a repository's full name;
//!                                       # without this, a name in a signature must be the image's, and one that carries no name counts too
//! [repository."team/*"]                 # the longest that fits wins; without a word of its own a repository has that of the top
//!   keys = ["team.pub"]
//! [repository."open/*"]
//!   accept = "unsigned"
//! ```
//!
//! What must stay true: a file that cannot be read or understood refuses every image, as who wrote it would rather have none than a wrong one.

use std::io;
use std::path::{Path, PathBuf};

use super::file::{folder_names, read_bounded};
use super::toml::{self, Table, Value};
use crate::Error;
use crate::client::signatures::TrustedKey;

/// What is demanded of the images of one registry.
#[derive(Debug, Clone)]
pub struct SignaturePolicy {
    file: PathBuf,
    rules: Vec<(String, Demand)>,
}

/// What is demanded of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::client) enum Demand {
    Nothing,
    /// A signature by one of the keys, about the right name.
    Signed {
        keys: Vec<TrustedKey>,
        identity: Identity,
    },
}

/// Whom a signature must be about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::client) enum Identity {
    /// The name by which the image is pulled, where the signature carries one at all.
    NameIfAny,
    /// The name by which the image is pulled.
    Name,
    Any,
    /// This repository: for copies that keep their signatures.
    Exactly(String),
}

impl SignaturePolicy {
    /// Where it is written.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether images of this repository must be signed at all.
    pub fn demands(&self, repository: &str) -> bool {
        self.demand(repository) != &Demand::Nothing
    }

    /// What is demanded of images of this repository.
    pub(in crate::client) fn demand(&self, repository: &str) -> &Demand {
        let fits = |pattern: &str| match pattern.strip_suffix('*') {
            Some(beginning) => repository.starts_with(beginning),
            None => pattern == repository,
        };
        let rules = self.rules.iter().filter(|(pattern, _)| fits(pattern));
        // One without an asterisk is longer than any that fits with one, but for the name with an asterisk behind it, which means more than it.
        rules.max_by_key(|(pattern, _)| (!pattern.ends_with('*'), pattern.len())).map_or(&Demand::Nothing, |(_, demand)| demand)
    }
}

/// The policy for the registry `domain`, if there is one.
pub(in crate::client) fn find(folders: &[PathBuf], domain: &str) -> Result<Option<SignaturePolicy>, Error> {
    for name in folder_names(domain) {
        for folder in folders {
            let folder = folder.join(&name);
            let file = folder.join("signatures.toml");
            let wrong = |reason: String| Error::Settings { reason: format!("\"{}\": {reason}", file.display()) };
            match read_bounded(&file) {
                Ok(text) => {
                    let rules = read(&text, &folder).map_err(wrong)?;
                    return Ok(Some(SignaturePolicy { file, rules }));
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(wrong(error.to_string())),
            }
        }
    }
    Ok(None)
}

fn read(text: &str, folder: &Path) -> Result<Vec<(String, Demand)>, String> {
    let tables = toml::parse(text).map_err(|wrong| format!("line {}: {}", wrong.line, wrong.reason))?;
    let mut rules = Vec::new();
    for table in &tables {
        let pattern = match table.path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] if table.keys.is_empty() => continue,
            [] => "*".to_owned(),
            ["repository", pattern] if !pattern.trim_end_matches('*').contains('*') && !pattern.ends_with("**") => pattern.to_owned(),
            ["repository", pattern] => return Err(format!("\"{pattern}\": an asterisk stands at the end, once")),
            _ => return Err(format!("a table [{}] is not known", table.path.join("."))),
        };
        rules.push((pattern, demand(table, folder)?));
    }
    if rules.is_empty() { Err("it demands nothing; name \"keys\", or remove the file".to_owned()) } else { Ok(rules) }
}

fn demand(table: &Table, folder: &Path) -> Result<Demand, String> {
    let (mut keys, mut identity, mut accept) = (Vec::new(), None, false);
    for (key, value) in &table.keys {
        match (key.as_str(), value) {
            ("keys", Value::List(paths)) => {
                for path in paths {
                    let Value::Text(path) = path else { return Err("\"keys\" are paths of files".to_owned()) };
                    let text = read_bounded(&folder.join(path)).map_err(|error| format!("key \"{path}\": {error}"))?;
                    keys.extend(TrustedKey::read(path, &text).map_err(|reason| format!("key \"{path}\": {reason}"))?);
                }
            }
            ("identity", Value::Text(text)) => {
                identity = Some(match text.as_str() {
                    "name" => Identity::Name,
                    "any" => Identity::Any,
                    name => Identity::Exactly(
                        shipway_model::Reference::parse(name)
                            .map_err(|error| format!("\"identity\": {error}"))?
                            .without_tag_and_digest()
                            .canonical(),
                    ),
                });
            }
            ("accept", Value::Text(text)) if text == "unsigned" => accept = true,
            _ => return Err(format!("the key \"{key}\" is not known, or has a value of another kind")),
        }
    }
    match (keys.is_empty(), accept) {
        (false, false) => Ok(Demand::Signed { keys, identity: identity.unwrap_or(Identity::NameIfAny) }),
        (true, true) if identity.is_none() => Ok(Demand::Nothing),
        (true, false) => Err("it names no keys; write accept = \"unsigned\" where none are needed".to_owned()),
        _ => Err("accept = \"unsigned\" stands alone".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    fn policy(text: &str) -> Result<SignaturePolicy, String> {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("reg.test_5000_");
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("a.pub"), KEY).unwrap();
        std::fs::write(place.join("signatures.toml"), text).unwrap();
        assert!(find(&[folder.path().to_owned()], "other.test").unwrap().is_none());
        find(&[PathBuf::from("/nonexistent"), folder.path().to_owned()], "reg.test:5000")
            .map(Option::unwrap)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_closest_rule_wins() {
        let policy = policy(
            "keys = [\"a.pub\"]\n[repository.\"open/*\"]\naccept = \"unsigned\"\n[repository.\"open/not/*\"]\nkeys = [\"a.pub\"]\nidentity = \"any\"\n\
             [repository.\"open/not/this\"]\naccept = \"unsigned\"\n[repository.\"copy/*\"]\nkeys = [\"a.pub\"]\nidentity = \"busybox\"\n",
        )
        .unwrap();
        for (repository, demanded) in [("app", true), ("open/x", false), ("open/not/x", true), ("open/not/this", false), ("opener", true)] {
            assert_eq!(policy.demands(repository), demanded, "{repository}");
        }
        assert!(matches!(policy.demand("app"), Demand::Signed { identity: Identity::NameIfAny, .. }));
        let Demand::Signed { identity, keys } = policy.demand("copy/x") else { panic!("nothing is demanded") };
        assert_eq!((identity, keys.len()), (&Identity::Exactly("docker.io/library/busybox".to_owned()), 1));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, words) in [
            ("", "it demands nothing"),
            ("keys = []", "it names no keys"),
            ("keys = [\"b.pub\"]", "key \"b.pub\""),
            ("keys = \"a.pub\"", "the key \"keys\""),
            ("key = [\"a.pub\"]", "the key \"key\" is not known"),
            ("keys = [\"a.pub\"]\naccept = \"unsigned\"", "stands alone"),
            ("identity = \"any\"", "it names no keys"),
            ("accept = \"all\"", "the key \"accept\""),
            ("keys = [\"a.pub\"]\nidentity = \"UPPER\"", "\"identity\""),
            ("[repository.\"a*b\"]\nkeys = [\"a.pub\"]", "an asterisk stands at the end"),
            ("[repo.\"a\"]\nkeys = [\"a.pub\"]", "is not known"),
            ("keys = [\"a.pub\"", "line 1"),
        ] {
            let error = policy(text).unwrap_err();
            assert!(error.contains(words) && error.contains("signatures.toml"), "{text}: {error}");
        }
    }
}
