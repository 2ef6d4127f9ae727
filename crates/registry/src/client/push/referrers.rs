//! Referrers on their way out, after the manifest they speak of: their blobs, then their manifest, by its digest or by the tag it goes by.
//!
//! # Source
//! OCI distribution-spec 1.1, "Pushing Manifests with Subject", "Unavailable Referrers API" (who pushes keeps the list under a tag then).

use bytes::Bytes;
use shipway_model::manifest::MANIFEST_LIMIT;
use shipway_model::{Descriptor, Digest, Index, ManifestDocument, MediaType};
use shipway_store::Referrer;

use super::{Push, PushRequest, Pusher};
use crate::Error;
use crate::client::manifests::Wanted;
use crate::client::referrers::fallback_tag;
use crate::client::registry::Registry;
use crate::client::transfer::TransferSink;

/// By this header a registry says that it keeps the list of referrers itself.
const KEPT: &str = "oci-subject";

impl Pusher {
    /// Sends what speaks of the manifest that was just pushed; how many of them were not there.
    ///
    /// # Errors
    /// As a push. What came before the failure stays: it is whole.
    pub async fn push_referrers(
        &self,
        registry: &Registry,
        request: &PushRequest,
        referrers: &[Referrer],
        events: &TransferSink,
    ) -> Result<usize, Error> {
        let lease = self.store.lease();
        let push = Push { pusher: self, registry, request, lease: &lease, events };
        let mut sent = 0;
        for referrer in referrers {
            // One that is gone since is not sent; the image is.
            if lease.add_blob(&referrer.manifest.digest) && referrer.blobs.iter().all(|blob| lease.add_blob(&blob.digest)) {
                sent += usize::from(Box::pin(push.referrer(referrer)).await?);
            }
        }
        Ok(sent)
    }
}

impl Push<'_> {
    /// Sends one; false when it was there.
    async fn referrer(&self, referrer: &Referrer) -> Result<bool, Error> {
        let repository = &self.request.repository;
        let name = referrer.tag.clone().unwrap_or_else(|| referrer.manifest.digest.to_string());
        let wanted = referrer.tag.clone().map_or(Wanted::Digest(referrer.manifest.digest), Wanted::Tag);
        match self.registry.manifest_digest(repository, &wanted, &self.scope()).await.unwrap_or_default() {
            Some(there) if there == referrer.manifest.digest => return Ok(false),
            // Under the tag stand other signatures of the same image, perhaps newer ones: they are not ours to replace.
            Some(there) if referrer.tag.is_some() => {
                tracing::info!(repository, tag = name, %there, "what speaks of the image there is another; it stays");
                return Ok(false);
            }
            _ => {}
        }
        for blob in &referrer.blobs {
            if !self.exists(&blob.digest, blob.size).await? {
                let bytes = self.blob(&blob.digest, blob.size).await?;
                self.send_bytes(&blob.digest, bytes).await?;
            }
        }
        let bytes = self.blob(&referrer.manifest.digest, MANIFEST_LIMIT as u64).await?;
        let response = self.put_document(&name, &referrer.manifest.media_type, &bytes).await?;
        if referrer.tag.is_none() && !response.headers.contains_key(KEPT) {
            self.list(referrer).await?;
        }
        Ok(true)
    }

    /// Adds the referrer to the list under a tag, for a registry that keeps none.
    async fn list(&self, referrer: &Referrer) -> Result<(), Error> {
        let tag = fallback_tag(&referrer.subject);
        let there = self.registry.manifest_if_there(&self.request.repository, &Wanted::Tag(tag.clone())).await?;
        let mut manifests: Vec<Descriptor> = match there.map(|there| there.document) {
            Some(ManifestDocument::Index(index)) => index.manifests,
            _ => Vec::new(),
        };
        if manifests.iter().any(|known| known.digest == referrer.manifest.digest) {
            return Ok(());
        }
        manifests.push(referrer.manifest.clone());
        let index = Index {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: std::collections::BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&index).map_err(|error| Error::Internal { what: error.to_string() })?;
        self.put_document(&tag, &MediaType::OciIndex, &bytes.into()).await.map(drop)
    }

    async fn blob(&self, digest: &Digest, limit: u64) -> Result<Bytes, Error> {
        let (store, digest) = (self.pusher.store.clone(), *digest);
        crate::client::blocking(move || Ok(store.blobs().read(&digest, limit)?)).await.map(Bytes::from)
    }
}
