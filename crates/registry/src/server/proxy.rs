//! A cache in front of another registry: what is asked for and not here is fetched, checked, kept, and answered from here.
//!
//! What must stay true: nothing is kept that does not match its digest; a tag is asked about upstream again after a minute, and answered from here when
//! nobody answers there; many who want one blob cause one download; clients change nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use shipway_model::manifest::MANIFEST_LIMIT;
use shipway_model::{Algorithm, Digest, ManifestDocument, MediaType};
use tokio::time::Instant;

use super::blocking::{files, with_storage};
use super::names::{ManifestReference, RepositoryName};
use super::storage::{Committed, NewManifest, StoredManifest, Upload};
use super::{CONTENT_DIGEST, Registry};
use crate::client::{Access, HostSettings, Hosts, Response, Scope, Transport, TransportConfig};
use crate::codes::{Code, Refusal};
use crate::{Error, Url, client};

/// How long a tag is answered from here without asking.
const FRESH: Duration = Duration::from_secs(60);
/// Tags whose freshness is remembered; a cache that serves more asks a little more often.
const REMEMBERED: usize = 100_000;
/// Bytes gathered before they are written.
const BATCH: usize = 256 * 1024;
/// Every kind of manifest we can keep.
const KINDS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// The registry that a cache stands in front of.
pub struct Upstream {
    registry: client::Registry,
    fresh: Mutex<HashMap<String, Instant>>,
    downloads: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

impl Upstream {
    /// The registry at `url` (`https://host[:port]`), asked anonymously. An `http` address is taken at its word.
    ///
    /// # Errors
    /// `InvalidUrl` for what is no address of a registry, `Settings` for a transport that cannot be.
    pub fn new(url: &str, transport: TransportConfig) -> Result<Self, Error> {
        let url = Url::parse(url)?;
        if url.path_and_query() != "/" {
            return Err(Error::InvalidUrl { reason: "a registry's address has no path".to_owned() });
        }
        let domain = url.origin().authority();
        let insecure_registries = if url.is_secure() { Vec::new() } else { vec![domain.clone()] };
        let hosts = Hosts::new(&HostSettings { insecure_registries, ..HostSettings::default() })?;
        let registry = client::Registry::new(Transport::new(transport)?, &hosts, &domain, &Access::anonymous(), false)?;
        Ok(Self { registry, fresh: Mutex::default(), downloads: Mutex::default() })
    }

    async fn get(&self, path: &str, repository: &RepositoryName, headers: &HeaderMap) -> Result<Response, Refusal> {
        let answer = self.registry.get(path, &Scope::pull(repository.as_str()), headers).await;
        answer.map_err(|error| unreachable(&error))
    }
}

impl Registry {
    /// Brings a manifest here as it is upstream now.
    pub(super) async fn bring_manifest(&self, repository: &RepositoryName, reference: &ManifestReference) -> Result<(), Refusal> {
        let Some(upstream) = &self.upstream else { return Ok(()) };
        let (name, wanted) = (repository.clone(), reference.clone());
        let here = with_storage(&self.storage, "reading a manifest", move |storage| storage.manifest(&name, &wanted)).await?;
        let key = format!("{repository}:{reference}");
        let is_fresh = || lock(&upstream.fresh).get(&key).is_some_and(|since| since.elapsed() < FRESH);
        if here.is_some() && (matches!(reference, ManifestReference::Digest(_)) || is_fresh()) {
            return Ok(());
        }
        match self.fetch_manifest(upstream, repository, reference, here.as_ref()).await {
            Ok(()) => {
                let mut fresh = lock(&upstream.fresh);
                if fresh.len() >= REMEMBERED {
                    fresh.clear();
                }
                fresh.insert(key, Instant::now());
                Ok(())
            }
            // Yesterday's is better than none while nobody answers; a clear "no" is passed on.
            Err(refusal) if here.is_some() && refusal.code() == Code::Unknown => {
                tracing::warn!(%repository, %reference, %refusal, "answered without upstream");
                Ok(())
            }
            Err(refusal) => Err(refusal),
        }
    }

    async fn fetch_manifest(
        &self,
        upstream: &Upstream,
        repository: &RepositoryName,
        reference: &ManifestReference,
        here: Option<&StoredManifest>,
    ) -> Result<(), Refusal> {
        let path = format!("{repository}/manifests/{reference}");
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(KINDS))]);
        if let Some(here) = here {
            let scope = Scope::pull(repository.as_str());
            let head = upstream.registry.head(&path, &scope, &headers).await.map_err(|error| unreachable(&error))?;
            let there = head.headers.get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
            if head.status.is_success() && there == Some(here.digest.to_string().as_str()) {
                return Ok(());
            }
        }
        let response = upstream.get(&path, repository, &headers).await?;
        let refusal = || Refusal::new(Code::ManifestUnknown, "manifest unknown");
        let response = accepted(response, refusal)?;
        let declared = response.headers.get(CONTENT_TYPE).map(|value| MediaType::parse(&String::from_utf8_lossy(value.as_bytes())));
        let bytes = read_limited(response).await?;
        let (digest, tag) = match reference {
            ManifestReference::Digest(digest) => (*digest, None),
            ManifestReference::Tag(tag) => (Digest::of(Algorithm::Sha256, &bytes), Some(tag.clone())),
        };
        let document = ManifestDocument::parse(&bytes, declared.as_ref());
        if Digest::of(digest.algorithm(), &bytes) != digest || document.is_err() {
            return Err(dishonest("a manifest that is not what was asked for"));
        }
        let inside = match document {
            Ok(ManifestDocument::Index(index)) => index.media_type.unwrap_or(MediaType::OciIndex),
            Ok(ManifestDocument::Manifest(manifest)) => manifest.media_type.unwrap_or(MediaType::OciManifest),
            Err(_) => MediaType::OciManifest,
        };
        let media_type = declared.filter(|declared| declared.is_manifest() || declared.is_index()).unwrap_or(inside);
        // What it needs comes when it is asked for.
        let manifest = StoredManifest { digest, media_type, bytes };
        let new = NewManifest { manifest, tag, blobs: Vec::new(), children: Vec::new(), refers_to: None };
        let name = repository.clone();
        with_storage(&self.storage, "keeping a manifest", move |storage| storage.keep_manifest(&name, &new)).await?;
        Ok(())
    }

    /// Brings a blob here.
    pub(super) async fn bring_blob(&self, repository: &RepositoryName, digest: Digest) -> Result<(), Refusal> {
        let Some(upstream) = &self.upstream else { return Ok(()) };
        if self.has_blob(repository, digest).await? {
            return Ok(());
        }
        let turn = Arc::clone(lock(&upstream.downloads).entry(digest).or_default());
        let outcome = {
            let _turn = turn.lock().await;
            // Whoever had the turn before us may have brought it.
            if self.has_blob(repository, digest).await? { Ok(()) } else { self.fetch_blob(upstream, repository, digest).await }
        };
        drop(turn);
        // Two hands hold a turn that nobody waits for: the table's and this look.
        lock(&upstream.downloads).retain(|_, turn| Arc::strong_count(turn) > 1);
        outcome
    }

    async fn has_blob(&self, repository: &RepositoryName, digest: Digest) -> Result<bool, Refusal> {
        let name = repository.clone();
        let found = with_storage(&self.storage, "looking for a blob", move |storage| storage.lease_blob(&name, &digest)).await?;
        Ok(found.is_some())
    }

    async fn fetch_blob(&self, upstream: &Upstream, repository: &RepositoryName, digest: Digest) -> Result<(), Refusal> {
        let response = upstream.get(&format!("{repository}/blobs/{digest}"), repository, &HeaderMap::new()).await?;
        let mut response = accepted(response, || Refusal::new(Code::BlobUnknown, "blob unknown to registry"))?;
        let (name, id) = (repository.clone(), super::uploads::new_id()?);
        let mut upload = with_storage(&self.storage, "beginning an upload", move |storage| storage.begin_upload(&name, &id)).await?;
        let mut done = false;
        while !done {
            let (mut pieces, mut weight) = (Vec::new(), 0);
            while weight < BATCH && !done {
                match response.body.next().await {
                    Some(Ok(piece)) => {
                        weight += piece.len();
                        pieces.push(piece);
                    }
                    Some(Err(error)) => {
                        discard(upload).await?;
                        return Err(unreachable(&error));
                    }
                    None => done = true,
                }
            }
            if let Err(refusal) = self.check_quota(weight as u64) {
                discard(upload).await?;
                return Err(refusal);
            }
            upload = append(upload, pieces).await?;
        }
        match files("ending an upload", move || upload.commit(&digest)).await? {
            Committed::Done => Ok(()),
            Committed::Mismatch { .. } => Err(dishonest("a blob with another digest")),
        }
    }
}

async fn append(mut upload: Box<dyn Upload>, pieces: Vec<Bytes>) -> Result<Box<dyn Upload>, Refusal> {
    files("receiving a blob", move || {
        let offset = upload.received();
        upload.append(offset, &pieces).map(|()| upload)
    })
    .await
}

async fn discard(mut upload: Box<dyn Upload>) -> Result<(), Refusal> {
    files("cancelling an upload", move || upload.discard()).await
}

/// An answer that brings something, or what the client hears instead.
fn accepted(response: Response, unknown: impl FnOnce() -> Refusal) -> Result<Response, Refusal> {
    match response.status {
        status if status.is_success() => Ok(response),
        // Registries hide what is private behind 401 and 403, and so do we.
        StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(unknown()),
        StatusCode::TOO_MANY_REQUESTS => Err(Refusal::new(Code::TooManyRequests, "the upstream registry limits us")),
        status => {
            tracing::warn!(%status, "upstream answers with trouble");
            Err(Refusal::new(Code::Unknown, "the upstream registry is in trouble").status(StatusCode::BAD_GATEWAY))
        }
    }
}

async fn read_limited(mut response: Response) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = response.body.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| unreachable(&error))?);
        if bytes.len() > MANIFEST_LIMIT {
            return Err(dishonest("a manifest of more than 4 MiB"));
        }
    }
    Ok(bytes.freeze())
}

fn unreachable(error: &Error) -> Refusal {
    tracing::warn!(%error, "upstream does not answer");
    Refusal::new(Code::Unknown, "the upstream registry does not answer").status(StatusCode::BAD_GATEWAY)
}

fn dishonest(what: &str) -> Refusal {
    tracing::error!(what, "upstream sent something wrong");
    Refusal::new(Code::DigestInvalid, format!("the upstream registry sent {what}")).status(StatusCode::BAD_GATEWAY)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
