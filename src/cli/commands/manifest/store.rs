//! Manifest lists being put together, kept between commands.
//!
//! ```text
//! <config folder>/manifests/<name with / as _ and : as ->.shipway.json
//!   {"list": "docker.io/library/app:1", "entries": [{"reference": "docker.io/library/app@sha256:..", "shown": "app:1-arm64", "descriptor": {..}}]}
//! ```
//!
//! What must stay true: a write is whole or not at all; what is kept holds no secret.

use crate::cli::exit::{Failure, Outcome};
use crate::cli::session::Session;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shipway_model::{Descriptor, MediaType, Reference};
use std::io;
use std::path::PathBuf;

/// A list being put together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct List {
    /// Its canonical name.
    pub(super) list: String,
    pub(super) entries: Vec<Entry>,
}

/// A manifest of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    /// `repository@digest`.
    pub(super) reference: String,
    /// As the person named it.
    pub(super) shown: String,
    /// With its platform.
    pub(super) descriptor: Descriptor,
}

impl List {
    /// The document that is pushed: Docker's type, unless one of the manifests is OCI's. The bytes are docker's own, so that its digest is, too.
    pub(super) fn document(&self) -> Outcome<String> {
        let is_oci = self.entries.iter().any(|entry| entry.descriptor.media_type == MediaType::OciManifest);
        let media_type = if is_oci { MediaType::OciIndex } else { MediaType::DockerManifestList };
        let manifests: Vec<Value> =
            self.entries.iter().map(|entry| described(&entry.descriptor, &["mediaType", "size", "digest"])).collect();
        let document = json!({ "schemaVersion": 2, "mediaType": media_type.as_str(), "manifests": manifests });
        indented(&document, b"   ")
    }

    /// Where the entry is that the person calls `name`.
    pub(super) fn position(&self, name: &Reference) -> Option<usize> {
        let (tagged, named) = (name.clone().with_default_tag().canonical(), name.canonical());
        self.entries.iter().position(|entry| entry.reference == named || entry.shown == tagged || entry.shown == named)
    }
}

/// A descriptor with its keys in this order, then its platform with docker's.
pub(super) fn described(descriptor: &Descriptor, order: &[&str]) -> Value {
    let mut keys = serde_json::Map::new();
    for name in order {
        let value = match *name {
            "mediaType" => json!(descriptor.media_type.as_str()),
            "size" => json!(descriptor.size),
            _ => json!(descriptor.digest.to_string()),
        };
        keys.insert((*name).to_owned(), value);
    }
    if let Some(platform) = &descriptor.platform {
        let mut inner = serde_json::Map::new();
        inner.insert("architecture".to_owned(), json!(platform.architecture));
        inner.insert("os".to_owned(), json!(platform.os));
        if let Some(version) = &platform.os_version {
            inner.insert("os.version".to_owned(), json!(version));
        }
        if !platform.os_features.is_empty() {
            inner.insert("os.features".to_owned(), json!(platform.os_features));
        }
        if let Some(variant) = &platform.variant {
            inner.insert("variant".to_owned(), json!(variant));
        }
        keys.insert("platform".to_owned(), Value::Object(inner));
    }
    Value::Object(keys)
}

/// A document as text, with `indent` for each level.
pub(super) fn indented(document: &Value, indent: &[u8]) -> Outcome<String> {
    let mut text = Vec::new();
    let mut pretty = serde_json::Serializer::with_formatter(&mut text, serde_json::ser::PrettyFormatter::with_indent(indent));
    document.serialize(&mut pretty).map_err(|error| Failure::new(error.to_string()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Reads the list called `name`.
pub(super) fn read(session: &Session, name: &Reference) -> Outcome<Option<List>> {
    let path = path(session, name);
    match std::fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|error| Failure::new(format!("cannot read \"{}\": {error}", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(format!("cannot read \"{}\": {error}", path.display()))),
    }
}

/// Keeps `list` under `name`.
pub(super) fn write(session: &Session, name: &Reference, list: &List) -> Outcome {
    let path = path(session, name);
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("cannot write \"{}\": {error}", path.display()));
    let (Some(folder), Some(file)) = (path.parent(), path.file_name().and_then(std::ffi::OsStr::to_str)) else {
        return Err(failed(&"it has no folder"));
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    let text = serde_json::to_vec_pretty(list).map_err(|error| failed(&error))?;
    let folder = std::fs::File::open(folder).map_err(|error| failed(&error))?;
    shipway_sys::durable::write_file(&folder, file, &text).map_err(|error| failed(&error))
}

/// Forgets the list called `name`. False when there is none.
pub(super) fn remove(session: &Session, name: &Reference) -> Outcome<bool> {
    let path = path(session, name);
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::new(format!("cannot remove \"{}\": {error}", path.display()))),
    }
}

/// References have neither `..` as a component's whole nor a slash once these are replaced, so that no name leads out of the folder.
fn path(session: &Session, name: &Reference) -> PathBuf {
    let file = name.clone().with_default_tag().canonical().replace('/', "_").replace([':', '@'], "-");
    session.config_folder().join("manifests").join(format!("{file}.shipway.json"))
}
