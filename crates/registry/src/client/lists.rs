//! Manifest lists put together by hand (`manifest push`): the manifests they name are brought into the list's repository first.
//!
//! What must stay true: the list is written last, so that nobody reads one with holes; nothing is downloaded that the registry can mount.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use shipway_model::{Digest, ManifestDocument, MediaType};

use super::access::Scope;
use super::manifests::Wanted;
use super::refusal::refusal;
use super::registry::{Registry, Target};
use super::upload::Upload;
use crate::Error;

/// A manifest of a list, and the repository where it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    pub repository: String,
    pub digest: Digest,
}

impl Registry {
    /// Writes `list` as `repository:tag`, after the manifests it names.
    ///
    /// # Errors
    /// `Refused` by the registry; what keeps it from answering.
    pub async fn push_list(
        &self,
        repository: &str,
        tag: &str,
        media_type: &MediaType,
        list: Bytes,
        entries: &[ListEntry],
    ) -> Result<(), Error> {
        for entry in entries.iter().filter(|entry| entry.repository != repository) {
            self.bring(repository, entry).await?;
        }
        self.put_manifest(repository, tag, media_type, list).await
    }

    /// Makes a manifest of another repository, and what it names, one of `repository`.
    async fn bring(&self, repository: &str, entry: &ListEntry) -> Result<(), Error> {
        let found = self.manifest(&entry.repository, &Wanted::Digest(entry.digest)).await?;
        if let ManifestDocument::Manifest(manifest) = &found.document {
            for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                self.mount(repository, &entry.repository, &blob.digest).await?;
            }
        }
        self.put_manifest(repository, &entry.digest.to_string(), &found.descriptor.media_type, found.bytes).await
    }

    /// OCI distribution-spec 1.1, "Mounting a blob from another repository".
    async fn mount(&self, repository: &str, from: &str, digest: &Digest) -> Result<(), Error> {
        let scopes = [Scope::push(repository), Scope::pull(from)];
        let path = format!("{repository}/blobs/uploads/?mount={digest}&from={from}");
        let response = self.send(&Method::POST, Target::Path(&path), &scopes, &HeaderMap::new(), Upload::Empty).await?;
        match response.status {
            StatusCode::CREATED => Ok(()),
            // The registry wants the bytes instead.
            StatusCode::ACCEPTED => Err(Error::NoMount { digest: *digest, from: from.to_owned(), repository: repository.to_owned() }),
            _ => Err(refusal(response).await),
        }
    }

    async fn put_manifest(&self, repository: &str, reference: &str, media_type: &MediaType, bytes: Bytes) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(media_type.as_str()).map_err(|error| Error::Internal { what: error.to_string() })?;
        headers.insert(CONTENT_TYPE, value);
        let path = format!("{repository}/manifests/{reference}");
        let response = self.send(&Method::PUT, Target::Path(&path), &[Scope::push(repository)], &headers, Upload::Bytes(bytes)).await?;
        if response.status.is_success() { Ok(()) } else { Err(refusal(response).await) }
    }
}
