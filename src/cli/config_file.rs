//! Docker's client configuration: `config.json` and the contexts stored beside it. Read leniently, never written except for `currentContext`.
//!
//! ```text
//! ~/.docker/config.json                             currentContext, psFormat, imagesFormat, detachKeys, proxies, ...
//! ~/.docker/contexts/meta/<sha256 of name>/meta.json   {"Name":..,"Metadata":{"Description":..},"Endpoints":{"docker":{"Host":..}}}
//! ```

use super::exit::{Failure, Outcome};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The keys of `config.json` we use.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ConfigFile {
    /// Name of the context in use; empty for `default`.
    pub(crate) current_context: String,
    /// Template of `ps`.
    pub(crate) ps_format: String,
    /// Template of `images`.
    pub(crate) images_format: String,
    /// Template of `network ls`.
    pub(crate) networks_format: String,
    /// Template of `volume ls`.
    pub(crate) volumes_format: String,
    /// Keys that detach from a container.
    pub(crate) detach_keys: String,
    /// Proxy settings handed to containers and builds, by daemon host or `default`.
    pub(crate) proxies: BTreeMap<String, ProxySettings>,
}

/// Proxies for containers.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ProxySettings {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    ftp_proxy: String,
    all_proxy: String,
}

impl ConfigFile {
    /// Reads `config.json` in `folder`.
    pub(crate) fn read(folder: &Path) -> Outcome<Self> {
        let path = folder.join("config.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied) => {
                return Ok(Self::default());
            }
            Err(error) => return Err(Failure::new(format!("cannot read \"{}\": {error}", path.display()))),
        };
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(&bytes).map_err(|error| Failure::new(format!("cannot read \"{}\": {error}", path.display())))
    }

    /// Proxy variables for a container, both spellings of each, as docker adds them.
    pub(crate) fn proxy_variables(&self) -> Vec<(String, String)> {
        let Some(settings) = self.proxies.get("default") else { return Vec::new() };
        let pairs = [
            ("HTTP_PROXY", &settings.http_proxy),
            ("HTTPS_PROXY", &settings.https_proxy),
            ("NO_PROXY", &settings.no_proxy),
            ("FTP_PROXY", &settings.ftp_proxy),
            ("ALL_PROXY", &settings.all_proxy),
        ];
        let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        given.flat_map(|(name, value)| [(name.to_owned(), value.clone()), (name.to_lowercase(), value.clone())]).collect()
    }
}

/// The stored contexts.
pub(crate) struct ContextStore {
    folder: PathBuf,
    config: PathBuf,
}

/// One stored context.
#[derive(Debug, Clone)]
pub(crate) struct StoredContext {
    /// Its name.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) description: String,
    /// The daemon's address.
    pub(crate) host: String,
    /// The whole document.
    pub(crate) document: Value,
    /// Where it is stored.
    pub(crate) folder: PathBuf,
}

impl ContextStore {
    /// Contexts below the configuration folder.
    pub(crate) fn new(config_folder: &Path) -> Self {
        Self { folder: config_folder.join("contexts/meta"), config: config_folder.join("config.json") }
    }

    /// All of them, by name.
    pub(crate) fn list(&self) -> Vec<StoredContext> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let mut found: Vec<StoredContext> = entries.flatten().filter_map(|entry| read_context(&entry.path())).collect();
        found.sort_by(|left, right| left.name.cmp(&right.name));
        found
    }

    /// The one named `name`.
    pub(crate) fn get(&self, name: &str) -> Outcome<StoredContext> {
        let mut names = Vec::new();
        for context in self.list() {
            if context.name == name {
                return Ok(context);
            }
            names.push(context.name);
        }
        let failure = Failure::new(format!("context \"{name}\" does not exist"));
        Err(match crate::cli::nearest::near(name, names.iter().map(String::as_str)) {
            Some(near) => failure.hint(format!("did you mean \"{near}\"?")),
            None => failure,
        })
    }

    /// The daemon's address in the context named `name`.
    pub(crate) fn host(&self, name: &str) -> Outcome<String> {
        let context = self.get(name)?;
        if context.host.is_empty() {
            return Err(Failure::new(format!("context \"{name}\" names no docker endpoint")));
        }
        Ok(context.host)
    }

    /// Makes `name` the current context, keeping every other key of `config.json`.
    pub(crate) fn make_current(&self, name: &str) -> Outcome {
        let mut document: Value = match std::fs::read(&self.config) {
            Ok(bytes) if !bytes.is_empty() => serde_json::from_slice(&bytes)
                .map_err(|error| Failure::new(format!("cannot read \"{}\": {error}", self.config.display())))?,
            _ => Value::Object(serde_json::Map::new()),
        };
        let Some(keys) = document.as_object_mut() else { return Err(Failure::new("config.json is not an object")) };
        if name == "default" {
            keys.remove("currentContext");
        } else {
            keys.insert("currentContext".to_owned(), Value::from(name));
        }
        let text = serde_json::to_string_pretty(&document).map_err(|error| Failure::new(error.to_string()))?;
        if let Some(parent) = self.config.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let staged = self.config.with_extension("json.new");
        std::fs::write(&staged, text)?;
        std::fs::rename(&staged, &self.config)?;
        Ok(())
    }
}

fn read_context(folder: &Path) -> Option<StoredContext> {
    let document: Value = serde_json::from_slice(&std::fs::read(folder.join("meta.json")).ok()?).ok()?;
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(StoredContext {
        name: text("/Name"),
        description: text("/Metadata/Description"),
        host: text("/Endpoints/docker/Host"),
        folder: folder.to_path_buf(),
        document: document.clone(),
    })
}
