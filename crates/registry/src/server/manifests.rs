//! Manifests over HTTP: what is taken, what it must be, what its subject hears of it.
//!
//! What must stay true: bytes are kept exactly as they came; a document that two readers could take for two things is refused (S-504); what a manifest
//! needs is in its repository when it is taken, so that a reader never meets a hole.
//!
//! # Source
//! OCI distribution-spec 1.1, "Pulling manifests", "Pushing Manifests", "Pushing Manifests with Subject", "Deleting tags", "Deleting Manifests".

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, LOCATION};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use shipway_model::manifest::MANIFEST_LIMIT;
use shipway_model::{Algorithm, Descriptor, Digest, Index, Manifest, ManifestDocument, MediaType};
use std::time::Duration;

use super::blobs::{entity_tag, is_known, not_modified};
use super::blocking::with_storage;
use super::names::{ManifestReference, RepositoryName, Tag};
use super::reply::{Reply, ReplyBody, status};
use super::storage::{Kept, NewManifest, StoredManifest};
use super::uploads::header;
use super::{CONTENT_DIGEST, Registry};
use crate::codes::{Code, Refusal};

/// Tells a client that its manifest is listed at its subject.
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// How long a client may be silent in the middle of a manifest.
const SILENCE: Duration = Duration::from_secs(30);
/// Descriptors of one manifest at most: 127 layers are the most that engines run, an index has a few more.
const DESCRIPTORS: usize = 4096;

impl Registry {
    /// `GET` and `HEAD /v2/<name>/manifests/<reference>`; hyper leaves the body of an answer to `HEAD` away.
    pub(super) async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: ManifestReference,
        headers: &HeaderMap,
    ) -> Result<Reply, Refusal> {
        self.bring_manifest(repository, &reference).await?;
        let shown = reference.to_string();
        let found = match self.storage.manifest_at_hand(repository, &reference) {
            None => {
                let name = repository.clone();
                with_storage(&self.storage, "reading a manifest", move |storage| storage.manifest(&name, &reference)).await?
            }
            found => found,
        };
        let manifest = found.ok_or_else(|| unknown(&shown))?;
        if is_known(headers, &entity_tag(&manifest.digest)) {
            return Ok(not_modified(&manifest.digest));
        }
        let mut reply = status(StatusCode::OK);
        let answer = reply.headers_mut();
        answer.insert(CONTENT_TYPE, header(manifest.media_type.as_str()));
        answer.insert(CONTENT_LENGTH, manifest.bytes.len().into());
        answer.insert(CONTENT_DIGEST, header(&manifest.digest.to_string()));
        answer.insert(ETAG, header(&entity_tag(&manifest.digest)));
        *reply.body_mut() = ReplyBody::Whole(manifest.bytes);
        Ok(reply)
    }

    /// `PUT /v2/<name>/manifests/<reference>`
    pub(super) async fn put_manifest(
        &self,
        repository: &RepositoryName,
        reference: ManifestReference,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Reply, Refusal> {
        let bytes = read_limited(headers, body).await?;
        let location = format!("/v2/{repository}/manifests/{reference}");
        let new = understand(reference, headers, bytes)?;
        let (digest, subject) = (new.manifest.digest, new.refers_to.as_ref().map(|(subject, _)| *subject));
        let name = repository.clone();
        match with_storage(&self.storage, "keeping a manifest", move |storage| storage.keep_manifest(&name, &new)).await? {
            Kept::Done => {}
            Kept::Missing(missing) => {
                let missing = missing.iter().map(Digest::to_string);
                return Err(Refusal::about_each(Code::ManifestBlobUnknown, "the manifest needs what is not here", "digest", missing));
            }
        }
        let mut reply = status(StatusCode::CREATED);
        reply.headers_mut().insert(LOCATION, header(&location));
        reply.headers_mut().insert(CONTENT_DIGEST, header(&digest.to_string()));
        if let Some(subject) = subject {
            reply.headers_mut().insert(SUBJECT, header(&subject.to_string()));
        }
        Ok(reply)
    }

    /// `DELETE /v2/<name>/manifests/<reference>`
    pub(super) async fn delete_manifest(&self, repository: &RepositoryName, reference: ManifestReference) -> Result<Reply, Refusal> {
        let (name, shown) = (repository.clone(), reference.to_string());
        let removed = with_storage(&self.storage, "removing a manifest", move |storage| storage.remove_manifest(&name, &reference)).await?;
        if removed { Ok(status(StatusCode::ACCEPTED)) } else { Err(unknown(&shown)) }
    }
}

fn unknown(reference: &str) -> Refusal {
    Refusal::new(Code::ManifestUnknown, "manifest unknown").detail(serde_json::json!({ "reference": reference }))
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::ManifestInvalid, message)
}

/// A manifest's bytes, as many as one may have.
async fn read_limited(headers: &HeaderMap, mut body: Incoming) -> Result<Bytes, Refusal> {
    let too_large = || invalid(format!("manifests of more than {MANIFEST_LIMIT} bytes are refused")).status(StatusCode::PAYLOAD_TOO_LARGE);
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MANIFEST_LIMIT) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(SILENCE, body.frame()).await;
        match frame.map_err(|_| invalid("the body stopped").status(StatusCode::REQUEST_TIMEOUT))? {
            None => return Ok(bytes.freeze()),
            Some(Err(_)) => return Err(invalid("the body broke off")),
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    bytes.extend_from_slice(&piece);
                }
                if bytes.len() > MANIFEST_LIMIT {
                    return Err(too_large());
                }
            }
        }
    }
}

/// Checks a manifest against what it was sent as and what it was called.
fn understand(reference: ManifestReference, headers: &HeaderMap, bytes: Bytes) -> Result<NewManifest, Refusal> {
    let declared = headers.get(CONTENT_TYPE).map(|value| MediaType::parse(&String::from_utf8_lossy(value.as_bytes())));
    if let Some(other @ MediaType::Other(_)) = &declared {
        return Err(invalid(format!("manifests of type \"{other}\" are not supported")));
    }
    let (digest, tag) = match reference {
        ManifestReference::Tag(tag) => (Digest::of(Algorithm::Sha256, &bytes), Some(tag)),
        ManifestReference::Digest(named) => {
            let actual = Digest::of(named.algorithm(), &bytes);
            if actual != named {
                return Err(Refusal::new(Code::DigestInvalid, "the manifest has another digest")
                    .detail(serde_json::json!({ "digest": named.to_string(), "actual": actual.to_string() })));
            }
            (named, None)
        }
    };
    let document = ManifestDocument::parse(&bytes, declared.as_ref()).map_err(|error| invalid(error.to_string()))?;
    match document {
        ManifestDocument::Manifest(document) => of_image(document, declared, tag, digest, bytes),
        ManifestDocument::Index(document) => of_index(document, declared, tag, digest, bytes),
    }
}

fn of_image(
    document: Manifest,
    declared: Option<MediaType>,
    tag: Option<Tag>,
    digest: Digest,
    bytes: Bytes,
) -> Result<NewManifest, Refusal> {
    let media_type = chosen(document.media_type.as_ref(), declared, MediaType::OciManifest)?;
    let mut blobs = vec![document.config.digest];
    blobs.extend(document.layers.iter().filter(|layer| !is_foreign(layer)).map(|layer| layer.digest));
    check_count(document.layers.len())?;
    let artifact_type = document.artifact_type.filter(|text| !text.is_empty()).unwrap_or_else(|| document.config.media_type.to_string());
    let refers_to = document.subject.map(|subject| {
        let mut descriptor = Descriptor::new(media_type.clone(), digest, bytes.len() as u64);
        descriptor.artifact_type = Some(artifact_type);
        descriptor.annotations = document.annotations;
        (subject.digest, descriptor)
    });
    Ok(NewManifest { manifest: StoredManifest { digest, media_type, bytes }, tag, blobs, children: Vec::new(), refers_to })
}

fn of_index(document: Index, declared: Option<MediaType>, tag: Option<Tag>, digest: Digest, bytes: Bytes) -> Result<NewManifest, Refusal> {
    let media_type = chosen(document.media_type.as_ref(), declared, MediaType::OciIndex)?;
    check_count(document.manifests.len())?;
    let children = document.manifests.iter().filter(|child| child.urls.is_empty()).map(|child| child.digest).collect();
    let refers_to = document.subject.map(|subject| {
        let mut descriptor = Descriptor::new(media_type.clone(), digest, bytes.len() as u64);
        descriptor.artifact_type = document.artifact_type.filter(|text| !text.is_empty());
        descriptor.annotations = document.annotations;
        (subject.digest, descriptor)
    });
    Ok(NewManifest { manifest: StoredManifest { digest, media_type, bytes }, tag, blobs: Vec::new(), children, refers_to })
}

/// The type to keep it under: what it was sent as, what it says, what it must be.
fn chosen(inside: Option<&MediaType>, declared: Option<MediaType>, otherwise: MediaType) -> Result<MediaType, Refusal> {
    let media_type = declared.or_else(|| inside.cloned()).unwrap_or(otherwise);
    if media_type.is_manifest() || media_type.is_index() {
        return Ok(media_type);
    }
    Err(invalid(format!("manifests of type \"{media_type}\" are not supported")))
}

/// Layers that live elsewhere: they need not be here.
fn is_foreign(layer: &Descriptor) -> bool {
    let text = layer.media_type.as_str();
    !layer.urls.is_empty() || text.contains(".foreign.") || text.contains(".nondistributable.")
}

fn check_count(count: usize) -> Result<(), Refusal> {
    if count <= DESCRIPTORS { Ok(()) } else { Err(invalid(format!("more than {DESCRIPTORS} descriptors in one manifest are refused"))) }
}
