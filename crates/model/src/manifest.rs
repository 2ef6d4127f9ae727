//! Manifests and indexes: lists of descriptors. The bytes are what was signed and hashed; whoever stores one stores its bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Classified, Descriptor, ErrorKind, MediaType};

/// Larger documents are refused unread (S-503).
pub const MANIFEST_LIMIT: usize = 4 << 20;

/// The layers and configuration of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    #[serde(deserialize_with = "crate::config::null_is_default")]
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::config::null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// Manifests for several platforms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(deserialize_with = "crate::config::null_is_default")]
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::config::null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// What a manifest digest can point at.
#[expect(clippy::large_enum_variant, reason = "one value at a time, taken apart at once: a box would only add a step")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestDocument {
    Manifest(Manifest),
    Index(Index),
}

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest has {size} bytes; more than {MANIFEST_LIMIT} are refused")]
    TooLarge { size: usize },
    #[error("the manifest is no valid JSON document: {reason}")]
    Json { reason: String },
    #[error("the manifest claims to be an image and an index at once")]
    Ambiguous,
    #[error("the manifest says it is {inside}, but it was sent as {declared}")]
    MediaType { inside: String, declared: String },
    #[error("manifests of schema version {version} are not supported; the image must be pushed again with a newer tool")]
    Version { version: u32 },
}

impl Classified for ManifestError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// Only the fields that tell the kinds apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<MediaType>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
}

impl ManifestDocument {
    /// Reads `bytes` as what they say they are; `declared` is what they were sent as.
    ///
    /// # Errors
    /// Documents that different readers could take for different things are refused (S-504, CVE-2021-41190).
    pub fn parse(bytes: &[u8], declared: Option<&MediaType>) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_LIMIT {
            return Err(ManifestError::TooLarge { size: bytes.len() });
        }
        let json = |error: serde_json::Error| ManifestError::Json { reason: error.to_string() };
        let shape: Shape = serde_json::from_slice(bytes).map_err(json)?;
        if shape.schema_version != 2 {
            return Err(ManifestError::Version { version: shape.schema_version });
        }
        let is_index = shape.manifests.is_some();
        let is_manifest = shape.layers.is_some() || shape.config.is_some();
        if is_index && is_manifest {
            return Err(ManifestError::Ambiguous);
        }
        for said in [shape.media_type.as_ref(), declared].into_iter().flatten() {
            let fits = if is_index { said.is_index() } else { said.is_manifest() };
            let known = said.is_index() || said.is_manifest();
            if known && !fits {
                return Err(ManifestError::Ambiguous);
            }
        }
        if let (Some(inside), Some(declared)) = (&shape.media_type, declared)
            && inside != declared
        {
            return Err(ManifestError::MediaType { inside: inside.to_string(), declared: declared.to_string() });
        }
        Ok(if is_index {
            Self::Index(serde_json::from_slice(bytes).map_err(json)?)
        } else {
            Self::Manifest(serde_json::from_slice(bytes).map_err(json)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> String {
        format!(r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}}"#, crate::Digest::sha256_of(b"{}"))
    }

    #[test]
    fn a_document_that_is_two_things_is_refused() {
        let config = descriptor();
        for text in [
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#),
            format!(r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":{config},"layers":[]}}"#),
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#.to_owned(),
        ] {
            assert_eq!(ManifestDocument::parse(text.as_bytes(), None), Err(ManifestError::Ambiguous), "{text}");
        }
    }

    #[test]
    fn what_it_was_sent_as_must_be_what_it_says() {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":null}}"#,
            descriptor()
        );
        assert!(matches!(ManifestDocument::parse(text.as_bytes(), None), Ok(ManifestDocument::Manifest(_))));
        assert!(matches!(ManifestDocument::parse(text.as_bytes(), Some(&MediaType::DockerManifest)), Err(ManifestError::MediaType { .. })));
        assert!(matches!(ManifestDocument::parse(b"{\"schemaVersion\":1}", None), Err(ManifestError::Version { version: 1 })));
        assert!(matches!(ManifestDocument::parse(b"null", None), Err(ManifestError::Json { .. })));
    }
}
