//! An image's configuration: what runs, with which settings, made of which layers by which steps.
//!
//! Docker writes fields that the OCI specification does not have (`Healthcheck`, `OnBuild`, `Shell`, `ArgsEscaped`), and tools add
//! their own. Keys we do not know survive at both levels, so that reading and writing a configuration loses nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::time::Timestamp;
use crate::{Classified, DiffId, Digest, ErrorKind, ImageId, port::Port};

/// Larger documents are refused unread (S-503).
pub const CONFIG_LIMIT: usize = 8 << 20;

/// The configuration of an image.
///
/// # Source
/// OCI image-spec 1.1, "Image Configuration"; moby's image JSON for the rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub author: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: ContainerDefaults,
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub history: Vec<History>,
    /// Keys of others.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a container made from the image does unless told otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerDefaults {
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub user: String,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", serialize_with = "set_as_map", deserialize_with = "map_as_ports")]
    pub exposed_ports: BTreeSet<Port>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", serialize_with = "set_as_map", deserialize_with = "map_as_set")]
    pub volumes: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub working_dir: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// The command is one line for a shell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "null_is_default")]
    pub args_escaped: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub on_build: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Keys of others.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How to find out whether a container works. Times are nanoseconds, 0 means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub interval: i64,
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub timeout: i64,
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub start_period: i64,
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub start_interval: i64,
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub retries: i64,
}

/// The layers, bottom first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type", default = "layers", deserialize_with = "null_is_default")]
    pub kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<DiffId>,
}

fn layers() -> String {
    "layers".to_owned()
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: layers(), diff_ids: Vec::new() }
    }
}

/// One step that made the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub created_by: String,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub author: String,
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub comment: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "null_is_default")]
    pub empty_layer: bool,
}

/// Why bytes are no image configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("the image configuration has {size} bytes; more than {CONFIG_LIMIT} are refused")]
    TooLarge { size: usize },
    #[error("the image configuration is no valid JSON document: {reason}")]
    Json { reason: String },
}

impl Classified for ConfigError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

impl ImageConfig {
    /// Reads a configuration. Nulls count as absent, unknown keys are kept.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > CONFIG_LIMIT {
            return Err(ConfigError::TooLarge { size: bytes.len() });
        }
        serde_json::from_slice(bytes).map_err(|error| ConfigError::Json { reason: error.to_string() })
    }

    /// The one JSON form of this configuration: compact, keys sorted. Equal configurations have equal bytes, hence equal ids.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Serializing strings, numbers and maps with text keys cannot fail.
        let value = serde_json::to_value(self).unwrap_or(Value::Null);
        serde_json::to_vec(&sorted(value)).unwrap_or_default()
    }

    /// The identity of the image whose configuration has these bytes.
    pub fn id(bytes: &[u8]) -> ImageId {
        ImageId(Digest::sha256_of(bytes))
    }
}

/// The same value with the keys of every object in byte order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<String, Value> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Go writes `null` for empty lists, maps and strings.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Go's sets are maps to empty objects.
fn set_as_map<S: Serializer, T: ToString>(set: &BTreeSet<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(set.iter().map(|item| (item.to_string(), Map::new())))
}

fn map_as_set<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let map: Option<BTreeMap<String, Value>> = Option::deserialize(deserializer)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

fn map_as_ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Port>, D::Error> {
    let names = map_as_set(deserializer)?;
    names.iter().map(|name| name.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_docker_s_own_survive() {
        let text = r#"{"architecture":"amd64","config":{"ArgsEscaped":true,"Cmd":["sh"],"Env":["A=b"],"ExposedPorts":{"80/tcp":{}},"OnBuild":["RUN x"],"Shell":["/bin/sh","-c"],"Volumes":{"/data":{}},"X-Own":1},"history":[{"created_by":"x","empty_layer":true}],"moby.buildkit.cache.v0":"abc","os":"linux","rootfs":{"diff_ids":[],"type":"layers"}}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), text);
    }

    #[test]
    fn go_s_nulls_count_as_absent() {
        let text = r#"{"architecture":null,"os":"linux","config":{"Env":null,"Cmd":null,"Labels":null,"ExposedPorts":null,"Volumes":null,"OnBuild":null},"rootfs":null,"history":null}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert!(config.config.env.is_empty() && config.config.cmd.is_none() && config.rootfs.diff_ids.is_empty());
        assert!(ImageConfig::parse(b"[]").is_err());
        assert!(ImageConfig::parse(b"{\"config\":3}").is_err());
    }

    #[test]
    fn the_id_does_not_depend_on_the_order_of_keys() {
        let one = ImageConfig::parse(br#"{"os":"linux","architecture":"amd64","z":1,"a":2}"#).unwrap();
        let other = ImageConfig::parse(br#"{"a":2,"z":1,"architecture":"amd64","os":"linux"}"#).unwrap();
        assert_eq!(ImageConfig::id(&one.to_bytes()), ImageConfig::id(&other.to_bytes()));
    }
}
