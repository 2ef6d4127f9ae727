//! From a name to a manifest: asked for by tag or digest, checked, and of an index the entry for a platform.
//!
//! What must stay true: bytes are parsed once, as what the header says they are (S-504); a digest that was asked for, or told, is the digest of the bytes
//! (S-508); no document is read beyond its limit (S-503).
//!
//! # Source
//! OCI distribution-spec 1.1, "Pulling manifests", "Listing Tags". OCI image-spec 1.1, "Image Index Property Descriptions".

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, LINK};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use shipway_model::manifest::MANIFEST_LIMIT;
use shipway_model::{Descriptor, Digest, Index, ManifestDocument, MediaType, Platform, Reference};

use super::access::Scope;
use super::refusal::{read, refusal};
use super::registry::Registry;
use super::transport::Response;
use crate::Error;

/// What we can read, in the order we like it.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                        application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// The digest of what an answer carries, by the registry's word.
const CONTENT_DIGEST: &str = "docker-content-digest";
/// Tags of one repository that are listed at most, in pages of any size.
const TAGS: usize = 100_000;
/// The largest page of tags.
const PAGE_LIMIT: usize = 4 << 20;

/// Which manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Tag(String),
    Digest(Digest),
}

impl Wanted {
    /// What `reference` means: its digest where it has one, else its tag, else `latest`.
    pub fn of(reference: &Reference) -> Self {
        match reference.digest() {
            Some(digest) => Self::Digest(*digest),
            None => Self::Tag(reference.tag().unwrap_or("latest").to_owned()),
        }
    }
}

/// A manifest as it came.
#[derive(Debug, Clone)]
pub struct FetchedManifest {
    /// What it is, and what names it.
    pub descriptor: Descriptor,
    /// Its exact bytes.
    pub bytes: Bytes,
    pub document: ManifestDocument,
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => out.write_str(tag),
            Self::Digest(digest) => write!(out, "{digest}"),
        }
    }
}

impl Registry {
    /// The manifest `wanted` names in `repository`.
    ///
    /// # Errors
    /// `Refused` in the registry's words; `Content` when what came is not what it should be.
    pub async fn manifest(&self, repository: &str, wanted: &Wanted) -> Result<FetchedManifest, Error> {
        let path = format!("{repository}/manifests/{wanted}");
        let mut response = self.get(&path, &Scope::pull(repository), &accept()).await?;
        if response.status != StatusCode::OK {
            return Err(refusal(response).await);
        }
        let what = || format!("the manifest of {}/{repository} ({wanted})", self.domain());
        let wrong = |reason: String| Error::Content { what: what(), reason };
        let bytes = read(&mut response.body, MANIFEST_LIMIT).await.map_err(|error| match error {
            Error::TooLarge { limit } => wrong(format!("it has more than {limit} bytes")),
            other => other,
        })?;
        let digest = match (wanted, told_digest(&response)?) {
            (Wanted::Digest(digest), _) => *digest,
            (Wanted::Tag(_), Some(digest)) => digest,
            (Wanted::Tag(_), None) => Digest::sha256_of(&bytes),
        };
        let found = Digest::of(digest.algorithm(), &bytes);
        if found != digest {
            return Err(wrong(format!("its bytes have the digest {found} instead of {digest}")));
        }
        let declared = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(MediaType::parse);
        let document = ManifestDocument::parse(&bytes, declared.as_ref()).map_err(|error| wrong(error.to_string()))?;
        let inside = match &document {
            ManifestDocument::Index(index) => {
                index.media_type.clone().or(declared.filter(MediaType::is_index)).unwrap_or(MediaType::OciIndex)
            }
            ManifestDocument::Manifest(manifest) => {
                manifest.media_type.clone().or(declared.filter(MediaType::is_manifest)).unwrap_or(MediaType::OciManifest)
            }
        };
        let descriptor = Descriptor::new(inside, digest, bytes.len() as u64);
        Ok(FetchedManifest { descriptor, bytes: bytes.into(), document })
    }

    /// The digest of the manifest `wanted` names, by the registry's word; `None` when there is no such manifest or the registry does not say.
    ///
    /// # Errors
    /// Whatever keeps the registry from answering.
    pub async fn manifest_digest(&self, repository: &str, wanted: &Wanted, scope: &Scope) -> Result<Option<Digest>, Error> {
        let response = self.head(&format!("{repository}/manifests/{wanted}"), scope, &accept()).await?;
        if response.status != StatusCode::OK {
            return Ok(None);
        }
        told_digest(&response)
    }

    /// A small blob, such as a config, in memory.
    ///
    /// # Errors
    /// `Content` when it is larger than `limit` or not what its descriptor says.
    pub async fn small_blob(&self, repository: &str, descriptor: &Descriptor, limit: usize) -> Result<Vec<u8>, Error> {
        let what = || format!("blob {} of {}/{repository}", descriptor.digest, self.domain());
        let wrong = |reason: String| Error::Content { what: what(), reason };
        if descriptor.size > limit as u64 {
            return Err(wrong(format!("it has {} bytes; more than {limit} are refused", descriptor.size)));
        }
        let mut response =
            self.get(&format!("{repository}/blobs/{}", descriptor.digest), &Scope::pull(repository), &HeaderMap::new()).await?;
        if response.status != StatusCode::OK {
            return Err(refusal(response).await);
        }
        let size = usize::try_from(descriptor.size).unwrap_or(limit);
        let bytes = read(&mut response.body, size).await.map_err(|error| match error {
            Error::TooLarge { limit } => wrong(format!("more than its {limit} bytes came")),
            other => other,
        })?;
        let found = Digest::of(descriptor.digest.algorithm(), &bytes);
        if found != descriptor.digest || bytes.len() != size {
            return Err(wrong(format!("its {} bytes have the digest {found}", bytes.len())));
        }
        Ok(bytes)
    }

    /// Every tag of a repository, in the registry's order.
    ///
    /// # Errors
    /// `Refused`; `Content` for a list that is none or has no end.
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let what = || format!("the list of tags of {}/{repository}", self.domain());
        let mut tags = Vec::new();
        let first = format!("{repository}/tags/list");
        let mut path = first.clone();
        loop {
            let mut response = self.get(&path, &Scope::pull(repository), &HeaderMap::new()).await?;
            if response.status != StatusCode::OK {
                return Err(refusal(response).await);
            }
            let bytes = read(&mut response.body, PAGE_LIMIT).await?;
            let page: Page = serde_json::from_slice(&bytes).map_err(|error| Error::Content { what: what(), reason: error.to_string() })?;
            let page = page.tags.unwrap_or_default();
            let is_last = page.is_empty();
            tags.extend(page);
            if tags.len() > TAGS {
                return Err(Error::Content { what: what(), reason: format!("it has more than {TAGS} tags") });
            }
            match next_page(&response.headers, &first) {
                Some(next) if !is_last && next != path => path = next,
                _ => return Ok(tags),
            }
        }
    }
}

fn accept() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))])
}

/// The digest an answer names.
fn told_digest(response: &Response) -> Result<Option<Digest>, Error> {
    let Some(value) = response.headers.get(CONTENT_DIGEST) else { return Ok(None) };
    let digest = value.to_str().ok().and_then(|text| text.parse().ok());
    digest.map(Some).ok_or_else(|| Error::Content {
        what: format!("the answer of {}", response.url.origin().authority()),
        reason: "the digest it names is none".to_owned(),
    })
}

/// The path of the next page of the list that is at `first` below `/v2/` (RFC 8288); only ever one of the same list.
pub(super) fn next_page(headers: &HeaderMap, first: &str) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = rest.split(';').any(|part| matches!(part.trim(), "rel=\"next\"" | "rel=next"));
    let query = target.split_once('?').map_or("", |(_, query)| query);
    (is_next && !query.is_empty()).then(|| format!("{first}?{query}"))
}

/// The entry of `index` for `wanted`, or the best for this machine when nothing is wanted in particular.
///
/// # Errors
/// `NoPlatform` with what there is.
pub fn choose<'a>(index: &'a Index, wanted: Option<&Platform>) -> Result<&'a Descriptor, Error> {
    let host = Platform::host();
    // What has no platform may be anything; what is for nobody is an attestation.
    let entries = || index.manifests.iter().filter(|entry| entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown"));
    let normal = |platform: &Platform| Platform::new(&platform.os, &platform.architecture, platform.variant.as_deref());
    let rank = |entry: &Descriptor| -> Option<u32> {
        let platform = normal(entry.platform.as_ref()?);
        match wanted {
            Some(wanted) if platform == *wanted => Some(0),
            Some(wanted) => platform.matches(wanted).then_some(1),
            None => platform.rank_on(&host),
        }
    };
    if let Some((_, entry)) = entries().filter_map(|entry| Some((rank(entry)?, entry))).min_by_key(|(rank, _)| *rank) {
        return Ok(entry);
    }
    let mut nameless = entries().filter(|entry| entry.platform.is_none());
    if let (Some(entry), None) = (nameless.next(), nameless.next()) {
        return Ok(entry);
    }
    let mut available: Vec<String> = entries().filter_map(|entry| entry.platform.as_ref()).map(ToString::to_string).collect();
    available.sort();
    available.dedup();
    Err(Error::NoPlatform { wanted: wanted.unwrap_or(&host).to_string(), available })
}

/// Layers of the types that say that they are not to be passed on (image-spec 1.1, "Non-Distributable Layers"; Docker's "foreign" ones).
pub(super) fn is_foreign(media_type: &MediaType) -> bool {
    let text = media_type.as_str();
    text.contains(".foreign.") || text.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use shipway_model::{Descriptor, Digest, Index, MediaType, Platform};

    use super::{choose, next_page};
    use crate::Error;

    fn index(platforms: &[Option<&str>]) -> Index {
        let manifests = platforms
            .iter()
            .map(|platform| {
                let digest = Digest::sha256_of(platform.unwrap_or("none").as_bytes());
                let mut descriptor = Descriptor::new(MediaType::OciManifest, digest, 1);
                descriptor.platform = platform.map(|text| {
                    let mut parts = text.split('/');
                    let (os, architecture) = (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned());
                    Platform { os, architecture, variant: parts.next().map(str::to_owned), os_version: None, os_features: Vec::new() }
                });
                descriptor
            })
            .collect();
        Index { schema_version: 2, media_type: None, artifact_type: None, manifests, subject: None, annotations: Default::default() }
    }

    #[test]
    fn the_entry_for_a_platform_is_found() {
        for (platforms, wanted, found) in [
            (&[Some("linux/arm64/v8"), Some("linux/amd64")][..], Some("linux/arm64"), Some(0)),
            (&[Some("linux/arm/v6"), Some("linux/arm/v7")], Some("linux/arm/v6"), Some(0)),
            (&[Some("linux/arm/v6"), Some("linux/arm/v7")], Some("linux/arm"), Some(1)),
            (&[Some("unknown/unknown"), None], Some("linux/arm64"), Some(1)),
            (&[Some("unknown/unknown"), Some("linux/amd64")], Some("linux/arm64"), None),
            (&[None, None], Some("linux/arm64"), None),
            (&[], None, None),
        ] {
            let wanted: Option<Platform> = wanted.map(|text: &str| text.parse().unwrap());
            let index = index(platforms);
            match (choose(&index, wanted.as_ref()), found) {
                (Ok(entry), Some(at)) => assert_eq!(*entry, index.manifests[at]),
                (Err(Error::NoPlatform { available, .. }), None) => assert!(!available.contains(&"unknown/unknown".to_owned())),
                (other, _) => panic!("{platforms:?} {wanted:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn only_the_next_page_of_the_same_list_is_followed() {
        let next =
            |text: &str| next_page(&HeaderMap::from_iter([(http::header::LINK, HeaderValue::from_str(text).unwrap())]), "x/y/tags/list");
        assert_eq!(next("</v2/x/y/tags/list?n=2&last=b>; rel=\"next\"").as_deref(), Some("x/y/tags/list?n=2&last=b"));
        assert_eq!(next("<https://evil.test/v2/other/tags/list?last=b>; rel=\"next\"").as_deref(), Some("x/y/tags/list?last=b"));
        for none in ["", "</v2/x/y/tags/list?n=2>; rel=\"prev\"", "</v2/x/y/tags/list>; rel=\"next\"", "garbage"] {
            assert_eq!(next(none), None, "{none}");
        }
    }
}
