//! What speaks of an image: signatures, lists of parts, accounts of how it was built. Found by the referrers of its manifest, or by tags made of its digest.
//!
//! What must stay true: nobody pays for this who does not ask for it; lists and documents are bounded (S-510); what is fetched has the digest it was
//! announced by.
//!
//! # Source
//! OCI distribution-spec 1.1, "Listing Referrers", "Unavailable Referrers API". cosign's tags: its SIGNATURE_SPEC.md, "Storage".

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, StatusCode};
use shipway_model::manifest::MANIFEST_LIMIT;
use shipway_model::{Descriptor, Digest, ManifestDocument, MediaType};

use super::access::Scope;
use super::manifests::{FetchedManifest, Wanted, next_page};
use super::refusal::{read, refusal};
use super::registry::Registry;
use crate::Error;

/// The endings of cosign's tags.
const ENDINGS: [&str; 3] = ["sig", "att", "sbom"];
/// The longest tag.
const TAG: usize = 128;
/// Referrers of one manifest that are listed, and pages they come in.
const LISTED: usize = 1000;
const PAGES: usize = 20;
/// Bytes of one referrer's blobs that are fetched.
const BLOBS: u64 = 64 << 20;

/// A manifest that speaks of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundReferrer {
    /// The manifest; its artifact type says what it is.
    pub descriptor: Descriptor,
    /// The tag it is known by, where it was found by one.
    pub tag: Option<String>,
}

/// A referrer with all it consists of.
#[derive(Debug, Clone)]
pub struct FetchedReferrer {
    /// What it speaks of.
    pub subject: Digest,
    pub found: FoundReferrer,
    pub manifest: Bytes,
    pub blobs: Vec<(Descriptor, Vec<u8>)>,
}

/// The tag that cosign gives to what speaks of `subject`.
pub(super) fn cosign_tag(subject: &Digest, ending: &str) -> String {
    format!("{}-{}.{ending}", subject.algorithm(), subject.hex())
}

/// What is said to be about `subject` by tag, where a registry keeps no referrers.
pub(super) fn fallback_tag(subject: &Digest) -> String {
    let tag = format!("{}-{}", subject.algorithm(), subject.hex());
    tag.chars().take(TAG).collect()
}

/// True for a tag that names no image, but what speaks of one: made of a digest, by cosign or in place of a registry's own list.
pub fn is_referrer_tag(tag: &str) -> bool {
    let of = |rest: &str, length: usize| {
        let (hex, ending) = rest.split_at_checked(length).unwrap_or_default();
        let known = ending.is_empty() || ending.strip_prefix('.').is_some_and(|ending| ENDINGS.contains(&ending));
        !hex.is_empty() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) && known
    };
    // The longer digest does not fit into a tag whole.
    tag.strip_prefix("sha256-").is_some_and(|rest| of(rest, 64)) || tag.strip_prefix("sha512-").is_some_and(|rest| of(rest, 121))
}

impl Registry {
    /// Everything that speaks of the manifest `subject`, each once, in the registry's order and then by tag.
    ///
    /// # Errors
    /// `Refused`, `Content`. That there is nothing is no error.
    ///
    /// # Cost
    /// Four questions, at once but for the last; one more where the registry keeps no referrers.
    pub async fn referrers(&self, repository: &str, subject: &Digest) -> Result<Vec<FoundReferrer>, Error> {
        let by_tag = try_join_all(ENDINGS.iter().map(|ending| Box::pin(self.by_tag(repository, cosign_tag(subject, ending)))));
        let (listed, by_tag) = futures_util::future::try_join(Box::pin(self.listed(repository, subject)), by_tag).await?;
        let mut found: Vec<FoundReferrer> = Vec::new();
        for referrer in listed.into_iter().chain(by_tag.into_iter().flatten()) {
            match found.iter_mut().find(|known| known.descriptor.digest == referrer.descriptor.digest) {
                Some(known) => known.tag = known.tag.take().or(referrer.tag),
                None => found.push(referrer),
            }
        }
        Ok(found)
    }

    /// A referrer with its blobs.
    ///
    /// # Errors
    /// `Content` for more than 64 MiB, and for what is not as it was announced.
    pub async fn fetch_referrer(&self, repository: &str, subject: &Digest, found: &FoundReferrer) -> Result<FetchedReferrer, Error> {
        let manifest = self.manifest(repository, &Wanted::Digest(found.descriptor.digest)).await?;
        let mut blobs = Vec::new();
        if let ManifestDocument::Manifest(document) = &manifest.document {
            let wanted: Vec<&Descriptor> = std::iter::once(&document.config).chain(&document.layers).collect();
            if wanted.iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.size)) > BLOBS {
                let what = format!("the referrer {}", found.descriptor.digest);
                return Err(Error::Content { what, reason: format!("it has more than {BLOBS} bytes") });
            }
            for blob in wanted {
                let limit = usize::try_from(BLOBS).unwrap_or(usize::MAX);
                blobs.push((blob.clone(), self.small_blob(repository, blob, limit).await?));
            }
        }
        Ok(FetchedReferrer { subject: *subject, found: found.clone(), manifest: manifest.bytes, blobs })
    }

    /// The manifest, or `None` when the registry says that there is none.
    pub(super) async fn manifest_if_there(&self, repository: &str, wanted: &Wanted) -> Result<Option<FetchedManifest>, Error> {
        // A tag made of a long digest and an ending is none.
        if matches!(wanted, Wanted::Tag(tag) if tag.len() > TAG) {
            return Ok(None);
        }
        match self.manifest(repository, wanted).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(Error::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn by_tag(&self, repository: &str, tag: String) -> Result<Option<FoundReferrer>, Error> {
        let found = self.manifest_if_there(repository, &Wanted::Tag(tag.clone())).await?;
        Ok(found.map(|manifest| FoundReferrer { descriptor: described(&manifest), tag: Some(tag) }))
    }

    /// The list that the registry keeps, or that clients keep under a tag.
    pub(super) async fn listed(&self, repository: &str, subject: &Digest) -> Result<Vec<FoundReferrer>, Error> {
        let mut found = Vec::new();
        let first = format!("{repository}/referrers/{subject}");
        let mut path = first.clone();
        for _ in 0..PAGES {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/vnd.oci.image.index.v1+json"))]);
            let mut response = self.get(&path, &Scope::pull(repository), &headers).await?;
            match response.status {
                StatusCode::OK => {}
                // Registries of before 1.1 do not know the path.
                StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED if path == first => {
                    let index = self.manifest_if_there(repository, &Wanted::Tag(fallback_tag(subject))).await?;
                    return match index.map(|index| index.document) {
                        Some(ManifestDocument::Index(index)) => entries(index.manifests, repository),
                        _ => Ok(Vec::new()),
                    };
                }
                _ => return Err(refusal(response).await),
            }
            let bytes = read(&mut response.body, MANIFEST_LIMIT).await?;
            let wrong = |reason: String| Error::Content { what: format!("the list of referrers of {subject}"), reason };
            let document = ManifestDocument::parse(&bytes, Some(&MediaType::OciIndex)).map_err(|error| wrong(error.to_string()))?;
            let ManifestDocument::Index(index) = document else { return Err(wrong("it is no index".to_owned())) };
            let is_last = index.manifests.is_empty();
            found.extend(entries(index.manifests, repository)?);
            if found.len() > LISTED {
                return Err(wrong(format!("it has more than {LISTED} entries")));
            }
            match next_page(&response.headers, &first) {
                Some(next) if !is_last && next != path => path = next,
                _ => break,
            }
        }
        Ok(found)
    }
}

fn entries(manifests: Vec<Descriptor>, repository: &str) -> Result<Vec<FoundReferrer>, Error> {
    if manifests.len() > LISTED {
        let what = format!("a list of referrers of {repository}");
        return Err(Error::Content { what, reason: format!("it has more than {LISTED} entries") });
    }
    Ok(manifests.into_iter().map(|descriptor| FoundReferrer { descriptor, tag: None }).collect())
}

/// A manifest as a list of referrers would have it.
pub(super) fn described(manifest: &FetchedManifest) -> Descriptor {
    let mut descriptor = manifest.descriptor.clone();
    if let ManifestDocument::Manifest(document) = &manifest.document {
        let by_parts = document.layers.first().map(|layer| layer.media_type.as_str().to_owned());
        descriptor.artifact_type = document.artifact_type.clone().or(by_parts);
        descriptor.annotations.clone_from(&document.annotations);
    }
    descriptor
}

#[cfg(test)]
mod tests {
    use super::is_referrer_tag;

    #[test]
    fn tags_of_referrers_are_told_from_tags_of_images() {
        let hex = "ab".repeat(32);
        for tag in [format!("sha256-{hex}"), format!("sha256-{hex}.sig"), format!("sha256-{hex}.att"), format!("sha256-{hex}.sbom")] {
            assert!(is_referrer_tag(&tag), "{tag}");
        }
        for tag in ["latest".to_owned(), "sha256-1".to_owned(), format!("sha256-{hex}.txt"), format!("sha256-{}", hex.to_uppercase()), hex]
        {
            assert!(!is_referrer_tag(&tag), "{tag}");
        }
    }
}
