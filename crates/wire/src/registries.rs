//! Registries: logging in, searching, manifest lists.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::images::OciDescriptor;

/// Answer to `POST /auth`. Holds a secret: it is no `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LoggedIn {
    pub status: String,
    /// To be kept in place of the password; empty when the password is to be kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identity_token: String,
}

/// One line of the answer to `GET /images/search`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchHit {
    pub star_count: i64,
    pub is_official: bool,
    pub name: String,
    pub is_automated: bool,
    pub description: String,
}

/// Answer to `GET /shipway/manifests/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RawManifest {
    pub descriptor: OciDescriptor,
    /// The document, byte by byte.
    pub raw: String,
}

/// Body of `POST /shipway/manifests/{name}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PushList {
    /// The document, byte by byte.
    pub list: String,
    /// `repository@digest` of each manifest it names.
    pub sources: Vec<String>,
}

/// Answer to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ListPushed {
    pub digest: String,
}

/// One line of the answer to `GET /shipway/referrers/{name}`, and of what is held in an inspected image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReferrerItem {
    pub digest: String,
    /// What it is: `application/vnd.dev.cosign.simplesigning.v1+json` for a signature.
    pub artifact_type: String,
    pub media_type: String,
    pub size: u64,
    /// The digest of the manifest it speaks of.
    pub subject: String,
    /// The tag it goes by, where it is known by one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// It is here too.
    pub held: bool,
}
