//! Descriptors: media type, digest and size of something: a pointer that can be checked.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, Platform};

/// How a layer's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// What some bytes are. Unknown types are kept as their text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaType {
    OciManifest,
    OciIndex,
    OciConfig,
    OciLayerTar,
    OciLayerTarGzip,
    OciLayerTarZstd,
    OciEmpty,
    DockerManifest,
    DockerManifestList,
    DockerConfig,
    DockerLayerTar,
    DockerLayerTarGzip,
    /// In no table, but what builders write for zstd beside Docker's other types, and engines take.
    DockerLayerTarZstd,
    DockerForeignLayerTarGzip,
    Other(String),
}

const NAMES: &[(MediaType, &str)] = &[
    (MediaType::OciManifest, "application/vnd.oci.image.manifest.v1+json"),
    (MediaType::OciIndex, "application/vnd.oci.image.index.v1+json"),
    (MediaType::OciConfig, "application/vnd.oci.image.config.v1+json"),
    (MediaType::OciLayerTar, "application/vnd.oci.image.layer.v1.tar"),
    (MediaType::OciLayerTarGzip, "application/vnd.oci.image.layer.v1.tar+gzip"),
    (MediaType::OciLayerTarZstd, "application/vnd.oci.image.layer.v1.tar+zstd"),
    (MediaType::OciEmpty, "application/vnd.oci.empty.v1+json"),
    (MediaType::DockerManifest, "application/vnd.docker.distribution.manifest.v2+json"),
    (MediaType::DockerManifestList, "application/vnd.docker.distribution.manifest.list.v2+json"),
    (MediaType::DockerConfig, "application/vnd.docker.container.image.v1+json"),
    (MediaType::DockerLayerTar, "application/vnd.docker.image.rootfs.diff.tar"),
    (MediaType::DockerLayerTarGzip, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    (MediaType::DockerLayerTarZstd, "application/vnd.docker.image.rootfs.diff.tar.zstd"),
    (MediaType::DockerForeignLayerTarGzip, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
];

impl MediaType {
    /// The type that `text` names.
    pub fn parse(text: &str) -> Self {
        // A parameter such as "; charset=utf-8" does not change what it is.
        let bare = text.split(';').next().unwrap_or_default().trim();
        NAMES.iter().find(|(_, name)| *name == bare).map_or_else(|| Self::Other(bare.to_owned()), |(media_type, _)| media_type.clone())
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            known => NAMES.iter().find(|(media_type, _)| media_type == known).map_or("", |(_, name)| name),
        }
    }

    pub fn is_manifest(&self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest)
    }

    pub fn is_index(&self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerManifestList)
    }

    pub fn is_layer(&self) -> bool {
        self.layer_compression().is_some()
    }

    /// How a layer of this type is packed; `None` for what is no layer.
    pub fn layer_compression(&self) -> Option<Compression> {
        match self {
            Self::OciLayerTar | Self::DockerLayerTar => Some(Compression::None),
            Self::OciLayerTarGzip | Self::DockerLayerTarGzip | Self::DockerForeignLayerTarGzip => Some(Compression::Gzip),
            Self::OciLayerTarZstd | Self::DockerLayerTarZstd => Some(Compression::Zstd),
            _ => None,
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&String::deserialize(deserializer)?))
    }
}

/// A pointer that can be checked.
///
/// # Source
/// OCI image-spec 1.1, "Content Descriptors".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: MediaType,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::config::null_is_default")]
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::config::null_is_default")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor with nothing but the three facts.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self { media_type, digest, size, urls: Vec::new(), annotations: BTreeMap::new(), platform: None, artifact_type: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_type_keeps_its_text() {
        for (media_type, name) in NAMES {
            assert_eq!(MediaType::parse(name), *media_type);
            assert_eq!(media_type.as_str(), *name);
        }
        assert_eq!(MediaType::parse("text/plain; charset=utf-8"), MediaType::Other("text/plain".to_owned()));
    }
}
