//! `config.json` as far as credentials are concerned.
//!
//! What must stay true: keys we do not know stay as they are and where they are; a write is whole or not at all, and readable by its owner only; a link stays
//! a link, and what it leads to is written.

use super::{Login, Server, trouble};
use crate::cli::exit::{Failure, Outcome};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use shipway_model::Secret;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The file, read.
pub(super) struct File {
    path: PathBuf,
    keys: Map<String, Value>,
}

impl File {
    /// Reads `config.json` in `folder`; an absent one is empty.
    pub(super) fn read(folder: &Path) -> Outcome<Self> {
        let path = folder.join("config.json");
        let what = || format!("cannot read \"{}\"", path.display());
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(trouble(what(), crate::cli::exit::words(&error))),
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { path, keys: Map::new() });
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(keys)) => Ok(Self { path, keys }),
            Ok(_) => Err(Failure::new(format!("{}: it is no JSON object", what()))),
            // The error names a place, never the text there.
            Err(error) => Err(trouble(what(), format!("line {}, column {}: it is no JSON", error.line(), error.column()))),
        }
    }

    /// The helper for every registry without one of its own.
    pub(super) fn store(&self) -> Option<&str> {
        self.keys.get("credsStore").and_then(Value::as_str).filter(|name| !name.is_empty())
    }

    /// Helpers of single registries.
    pub(super) fn helpers(&self) -> impl Iterator<Item = (&str, &str)> {
        let helpers = self.keys.get("credHelpers").and_then(Value::as_object);
        helpers.into_iter().flatten().filter_map(|(server, name)| Some((server.as_str(), name.as_str().filter(|name| !name.is_empty())?)))
    }

    pub(super) fn find(&self, server: &Server) -> Option<Login> {
        let names = server.names();
        let auths = self.auths()?;
        let entry =
            names.iter().find_map(|name| auths.get(name)).or_else(|| auths.iter().find(|(key, _)| server.is(key)).map(|(_, entry)| entry));
        entry.map(login)
    }

    pub(super) fn all(&self) -> BTreeMap<String, Login> {
        self.auths().into_iter().flatten().map(|(key, entry)| (key.clone(), login(entry))).collect()
    }

    /// Writes `login` down; answers where.
    pub(super) fn keep(&mut self, server: &Server, login: &Login) -> Outcome<PathBuf> {
        self.put(server, entry(login))?;
        Ok(self.path.clone())
    }

    /// Writes down that somebody else keeps what is for `server`.
    pub(super) fn note(&mut self, server: &Server) -> Outcome {
        self.put(server, Map::new())
    }

    /// Takes `server` out. False when it was not in.
    pub(super) fn forget(&mut self, server: &Server) -> Outcome<bool> {
        let Some(Value::Object(auths)) = self.keys.get_mut("auths") else { return Ok(false) };
        let before = auths.len();
        auths.retain(|key, _| !server.is(key));
        let found = auths.len() < before;
        if auths.is_empty() {
            self.keys.remove("auths");
        }
        if found {
            self.write()?;
        }
        Ok(found)
    }

    fn put(&mut self, server: &Server, entry: Map<String, Value>) -> Outcome {
        let auths = self.keys.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        let Some(auths) = auths.as_object_mut() else {
            return Err(Failure::new(format!("\"auths\" in \"{}\" is no object", self.path.display())));
        };
        let key = server.key();
        auths.retain(|name, _| *name == key || !server.is(name));
        auths.insert(key, Value::Object(entry));
        self.write()
    }

    fn auths(&self) -> Option<&Map<String, Value>> {
        self.keys.get("auths").and_then(Value::as_object)
    }

    fn write(&self) -> Outcome {
        let what = || format!("cannot write \"{}\"", self.path.display());
        let failed = |error: io::Error| trouble(what(), crate::cli::exit::words(&error));
        let mut text = Vec::new();
        let mut pretty = serde_json::Serializer::with_formatter(&mut text, serde_json::ser::PrettyFormatter::with_indent(b"\t"));
        serde::Serialize::serialize(&self.keys, &mut pretty).map_err(|error| trouble(what(), error))?;
        // A link leads to where people keep their settings; it must go on doing so.
        let target = match std::fs::canonicalize(&self.path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.path.clone(),
            Err(error) => return Err(failed(error)),
        };
        let (Some(folder), Some(name)) = (target.parent(), target.file_name().and_then(std::ffi::OsStr::to_str)) else {
            return Err(Failure::new(what()));
        };
        if !folder.exists() {
            use std::os::unix::fs::DirBuilderExt as _;
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        let folder = std::fs::File::open(folder).map_err(failed)?;
        shipway_sys::durable::write_file(&folder, name, &text).map_err(|error| trouble(what(), error))
    }
}

/// A login as an entry of `auths`.
pub(super) fn entry(login: &Login) -> Map<String, Value> {
    let mut entry = Map::new();
    let both = format!("{}:{}", login.username, login.password.expose());
    entry.insert("auth".to_owned(), Value::from(STANDARD.encode(both)));
    for (name, token) in [("identitytoken", &login.identity_token), ("registrytoken", &login.registry_token)] {
        if !token.expose().is_empty() {
            entry.insert(name.to_owned(), Value::from(token.expose()));
        }
    }
    entry
}

/// An entry of `auths`, however much of it is there.
fn login(entry: &Value) -> Login {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let both = STANDARD.decode(text("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let (username, password) = match both.split_once(':') {
        // Some tools fill up with zeroes.
        Some((username, password)) => (username.to_owned(), password.trim_end_matches('\0').to_owned()),
        None => (text("username").to_owned(), text("password").to_owned()),
    };
    Login {
        username,
        password: Secret::new(password),
        identity_token: Secret::new(text("identitytoken")),
        registry_token: Secret::new(text("registrytoken")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        folder
    }

    #[test]
    fn a_login_is_kept_and_everything_else_stays() {
        let folder = folder("{\"zzz\":{\"b\":1,\"a\":2},\"auths\":{\"https://a:1/v1/\":{\"auth\":\"b2xk\"},\"b\":{}},\"credsStore\":\"\"}");
        let mut file = File::read(folder.path()).unwrap();
        let server = Server::parse("a:1");
        let path = file.keep(&server, &Login::new("user", Secret::new("pass:word"))).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        // printf 'user:pass:word' | base64
        let expected = "{\n\t\"zzz\": {\n\t\t\"b\": 1,\n\t\t\"a\": 2\n\t},\n\t\"auths\": {\n\t\t\"b\": {},\n\t\t\"a:1\": {\n\t\t\t\"auth\": \"dXNlcjpwYXNzOndvcmQ=\"\n\t\t}\n\t},\n\t\"credsStore\": \"\"\n}";
        assert_eq!(text, expected);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let read = File::read(folder.path()).unwrap().find(&Server::parse("https://a:1")).unwrap();
        assert_eq!(read, Login::new("user", Secret::new("pass:word")));
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = folder("{}");
        let other = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(folder.path().join("config.json"), other.path().join("config.json")).unwrap();
        File::read(other.path()).unwrap().keep(&Server::parse("a"), &Login::new("u", Secret::new("p"))).unwrap();
        assert!(other.path().join("config.json").is_symlink());
        assert!(File::read(folder.path()).unwrap().find(&Server::parse("a")).is_some());
    }

    #[test]
    fn forgetting_takes_every_name_of_the_registry() {
        let folder = folder("{\"auths\":{\"a\":{\"auth\":\"dTpw\"},\"https://a\":{\"auth\":\"dTpw\"}},\"x\":1}");
        let mut file = File::read(folder.path()).unwrap();
        assert!(file.forget(&Server::parse("a")).unwrap());
        assert!(!file.forget(&Server::parse("a")).unwrap());
        assert_eq!(std::fs::read_to_string(folder.path().join("config.json")).unwrap(), "{\n\t\"x\": 1\n}");
    }

    #[test]
    fn what_cannot_be_read_is_said_without_its_text() {
        let folder = folder("{\"auths\": T0KEN");
        let failure = File::read(folder.path()).err().unwrap();
        assert!(failure.to_string().contains("line 1") && !failure.to_string().contains("T0KEN"), "{failure}");
    }
}
