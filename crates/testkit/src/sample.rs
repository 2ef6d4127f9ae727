//! An honest image that a scripted registry has, made in memory: its documents, their digests, and what a registry answers that behaves.

use std::collections::HashMap;
use std::io::Write as _;

use crate::{Asked, Reply};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image of some layers for this machine's kind.
#[derive(Debug, Clone)]
pub struct SampleImage {
    /// Digests of the compressed layers, bottom first.
    pub layers: Vec<String>,
    /// Digest of the config.
    pub config: String,
    /// Digest of the manifest.
    pub manifest: String,
    documents: HashMap<String, Vec<u8>>,
}

impl SampleImage {
    /// One layer for each archive, compressed with gzip.
    pub fn of(tars: &[Vec<u8>]) -> Self {
        let diff_ids: Vec<String> = tars.iter().map(|tar| format!("\"{}\"", sha256(tar))).collect();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        );
        let compressed: Vec<Vec<u8>> = tars.iter().map(|tar| gzip(tar)).collect();
        let entries: Vec<String> = compressed.iter().map(|bytes| descriptor(GZIP, bytes)).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
            descriptor(CONFIG, config.as_bytes()),
            entries.join(",")
        );
        let (layers, config_digest) = (compressed.iter().map(|bytes| sha256(bytes)).collect(), sha256(config.as_bytes()));
        let manifest_digest = sha256(manifest.as_bytes());
        let documents = compressed.into_iter().chain([config.into_bytes(), manifest.into_bytes()]);
        let documents = documents.map(|bytes| (sha256(&bytes), bytes)).collect();
        Self { layers, config: config_digest, manifest: manifest_digest, documents }
    }

    /// Bytes of one of its documents.
    ///
    /// # Panics
    /// When it has none of this digest.
    pub fn bytes(&self, digest: &str) -> &[u8] {
        &self.documents[digest]
    }

    /// What a registry answers that has this image under every name and tag, and knows ranges.
    pub fn answer(&self, asked: &Asked) -> Reply {
        let name = asked.path().rsplit('/').next().unwrap_or_default();
        if asked.path() == "/v2/" {
            return Reply::new(200, "{}");
        }
        let is_manifest = asked.path().contains("/manifests/");
        let digest = if is_manifest && !name.contains(':') { self.manifest.as_str() } else { name };
        let Some(bytes) = self.documents.get(digest) else { return Reply::refusal(404, "MANIFEST_UNKNOWN", "manifest unknown") };
        let from = asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let reply = match from {
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Reply::new(206, bytes[from..].to_vec()).with("Content-Range", &range)
            }
            None => Reply::new(200, bytes.clone()),
        };
        reply.with("Content-Type", if is_manifest { MANIFEST } else { "application/octet-stream" }).with("Docker-Content-Digest", digest)
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, sha256(bytes), bytes.len())
}

/// `sha256:` and the hash in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    hash.as_ref().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// `sha512:` and the hash in hexadecimal.
pub fn sha512(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA512, bytes);
    hash.as_ref().iter().fold("sha512:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Compresses as quickly as can be.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).and_then(|()| out.finish()).expect("memory takes everything")
}

/// Bytes that hardly compress; the same `seed` gives the same ones.
pub fn noise(seed: u32, size: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}
