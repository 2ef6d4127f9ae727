//! `hosts.toml`: which hosts stand in for a registry, as containerd's users write it.
//!
//! ```text
//! FOLDER/docker.io/hosts.toml   FOLDER/registry.firm:5000/hosts.toml (or registry.firm_5000_)   FOLDER/_default/hosts.toml (for every other registry)
//!   server = "https://registry-1.docker.io"
//!   [host."https://mirror.firm/hub"]
//!     capabilities = ["pull", "resolve"]   # "push" only where it is written
//!     ca = "firm.crt"   client = [["a.cert", "a.key"]]   skip_verify = false   override_path = false
//!   [host."https://mirror.firm/hub".header]
//!     X-Team = "a"
//! ```
//!
//! What must stay true: a file that cannot be read or understood is an error, not an empty file: who wrote it wants its mirror, perhaps for safety.
//!
//! # Source
//! containerd docs/hosts.md.

use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::toml::{self, Table, Value};
use super::{ClientIdentity, HostTrust};
use crate::{Error, Url};

/// The largest file that is read.
const FILE_LIMIT: u64 = 1 << 20;

/// One host of a file.
#[derive(Debug, Clone)]
pub(in crate::client) struct Listed {
    /// Without a trailing `/v2`.
    pub(in crate::client) base: Url,
    pub(in crate::client) may_pull: bool,
    pub(in crate::client) may_resolve: bool,
    pub(in crate::client) may_push: bool,
    pub(in crate::client) override_path: bool,
    pub(in crate::client) headers: HeaderMap,
    pub(in crate::client) trust: HostTrust,
}

/// A file, read.
#[derive(Debug, Clone)]
pub(in crate::client) struct HostsFile {
    pub(in crate::client) hosts: Vec<Listed>,
    pub(in crate::client) server: Option<Listed>,
}

/// The file for the registry `domain` in the first of `folders` that has one.
pub(in crate::client) fn find(folders: &[PathBuf], domain: &str) -> Result<Option<HostsFile>, Error> {
    for folder in folders {
        for name in folder_names(domain) {
            let folder = folder.join(&name);
            let path = folder.join("hosts.toml");
            match read_bounded(&path) {
                Ok(text) => return read(&text, &folder).map(Some).map_err(|reason| wrong(&path, &reason)),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(wrong(&path, &error.to_string())),
            }
        }
    }
    Ok(None)
}

/// What the folder of the registry `domain` may be called, the closest first.
pub(super) fn folder_names(domain: &str) -> [String; 3] {
    [domain.to_owned(), domain.replace(':', "_") + "_", "_default".to_owned()]
}

fn wrong(path: &Path, reason: &str) -> Error {
    Error::Settings { reason: format!("\"{}\": {reason}", path.display()) }
}

pub(super) fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

fn read(text: &str, folder: &Path) -> Result<HostsFile, String> {
    let tables = toml::parse(text).map_err(|wrong| format!("line {}: {}", wrong.line, wrong.reason))?;
    let mut hosts = Vec::new();
    let mut server = None;
    for table in &tables {
        let header = |path: &[&str]| tables.iter().find(|other| other.path == path);
        match table.path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => {
                if let Some((_, Value::Text(address))) = table.keys.iter().find(|(key, _)| key == "server") {
                    server = Some(listed(address, table, header(&["header"]), folder)?);
                } else if let Some((key, _)) = table.keys.first() {
                    return Err(format!("the key \"{key}\" is not known, or means nothing without \"server\""));
                }
            }
            ["host", address] => hosts.push(listed(address, table, header(&["host", address, "header"]), folder)?),
            ["header"] | ["host", _, "header"] => {}
            _ => return Err(format!("a table [{}] is not known", table.path.join("."))),
        }
    }
    Ok(HostsFile { hosts, server })
}

fn listed(address: &str, table: &Table, header: Option<&Table>, folder: &Path) -> Result<Listed, String> {
    let full = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let trimmed = full.trim_end_matches('/');
    let mut listed = Listed {
        base: Url::parse(trimmed.strip_suffix("/v2").unwrap_or(trimmed)).map_err(|error| format!("host \"{address}\": {error}"))?,
        may_pull: true,
        may_resolve: true,
        // Who names a mirror seldom means to write to it; it has to be said.
        may_push: false,
        override_path: false,
        headers: HeaderMap::new(),
        trust: HostTrust::default(),
    };
    for (key, value) in &table.keys {
        match (key.as_str(), value) {
            ("server", Value::Text(_)) if table.path.is_empty() => {}
            ("capabilities", Value::List(words)) => capabilities(&mut listed, words)?,
            ("skip_verify", Value::Flag(skip)) => listed.trust.unchecked = *skip,
            ("override_path", Value::Flag(set)) => listed.override_path = *set,
            ("ca", Value::Text(_)) | ("ca", Value::List(_)) => {
                for path in texts(value)? {
                    listed.trust.roots.push(content(folder, &path)?.into_bytes());
                }
            }
            ("client", Value::Text(_) | Value::List(_)) => listed.trust.identity = client(value, folder)?,
            ("dial_timeout", Value::Text(_)) => {}
            _ => return Err(format!("the key \"{key}\" is not known, or has a value of another kind")),
        }
    }
    if listed.override_path {
        listed.base = Url::parse(trimmed).map_err(|error| format!("host \"{address}\": {error}"))?;
    }
    for (name, value) in header.into_iter().flat_map(|table| &table.keys) {
        let name: HeaderName = name.parse().map_err(|_| format!("\"{name}\" is no name of a header"))?;
        for value in texts(value)? {
            let mut value = HeaderValue::from_str(&value).map_err(|_| format!("the value of header \"{name}\" is none"))?;
            value.set_sensitive(true);
            listed.headers.append(name.clone(), value);
        }
    }
    Ok(listed)
}

fn capabilities(listed: &mut Listed, words: &[Value]) -> Result<(), String> {
    (listed.may_pull, listed.may_resolve, listed.may_push) = (false, false, false);
    for word in words {
        match word {
            Value::Text(word) if word == "pull" => listed.may_pull = true,
            Value::Text(word) if word == "resolve" => listed.may_resolve = true,
            Value::Text(word) if word == "push" => listed.may_push = true,
            // containerd's word for what only it asks.
            Value::Text(word) if word == "referrers" => {}
            _ => return Err("capabilities are \"pull\", \"resolve\" and \"push\"".to_owned()),
        }
    }
    Ok(())
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Text(text) => Ok(vec![text.clone()]),
        Value::List(values) => values.iter().map(texts).collect::<Result<Vec<_>, _>>().map(|lists| lists.concat()),
        _ => Err("a text is expected".to_owned()),
    }
}

/// The first of the identities; more than one are for servers that take turns, which none of ours do.
fn client(value: &Value, folder: &Path) -> Result<Option<ClientIdentity>, String> {
    let pair = match value {
        Value::List(values) if matches!(values.first(), Some(Value::List(_))) => texts(&values[0])?,
        // A flat list names files that hold certificate and key together.
        other => texts(other)?.into_iter().take(1).collect(),
    };
    let read = |path: &String| content(folder, path).map(String::into_bytes);
    match &pair[..] {
        [] => Ok(None),
        [both] => Ok(Some(ClientIdentity { certificate: read(both)?, key: read(both)? })),
        [certificate, key] => Ok(Some(ClientIdentity { certificate: read(certificate)?, key: read(key)? })),
        _ => Err("a client is a certificate and a key".to_owned()),
    }
}

fn content(folder: &Path, path: &str) -> Result<String, String> {
    let path = folder.join(path);
    read_bounded(&path).map_err(|error| format!("cannot read \"{}\": {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_come_in_their_order_with_what_was_said_about_them() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("reg.test_5000_");
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("x.crt"), "PEM").unwrap();
        let text = "server = \"https://reg.test:5000\"\n[host.\"http://b/v2/\"]\ncapabilities=[\"pull\"]\nca=\"x.crt\"\n[host.a]\noverride_path=true\nskip_verify=true\n[host.a.header]\nx-k=[\"1\",\"2\"]\n";
        std::fs::write(place.join("hosts.toml"), text).unwrap();
        let file = find(&[folder.path().to_owned()], "reg.test:5000").unwrap().unwrap();
        let shown: Vec<_> =
            file.hosts.iter().map(|host| (host.base.exposed().to_owned(), host.may_resolve, host.may_push, host.trust.unchecked)).collect();
        assert_eq!(shown, [("http://b/".to_owned(), false, false, false), ("https://a/".to_owned(), true, false, true)]);
        assert_eq!(file.hosts[0].trust.roots, [b"PEM".to_vec()]);
        assert_eq!(file.hosts[1].headers.get_all("x-k").iter().count(), 2);
        assert!(file.server.is_some() && find(&[folder.path().to_owned()], "other").unwrap().is_none());
    }

    #[test]
    fn mistakes_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("_default");
        std::fs::create_dir(&place).unwrap();
        for (text, words) in [
            ("serve = 1", "\"serve\" is not known"),
            ("[hosts.a]", "[hosts.a] is not known"),
            ("[host.\"ftp://a\"]", "host \"ftp://a\""),
            ("[host.a]\ncapabilities=[\"delete\"]", "capabilities are"),
            ("[host.a]\nca=\"missing\"", "missing"),
            ("[host.a.header]\n[host.a]\n\"a b\"=1", "is not known"),
            ("[host.a", "line 1"),
        ] {
            std::fs::write(place.join("hosts.toml"), text).unwrap();
            let result = find(&[folder.path().to_owned()], "any");
            let shown = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert!(shown.contains(words), "{text}: {shown}");
        }
    }
}
