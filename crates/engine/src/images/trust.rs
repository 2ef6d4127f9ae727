//! What speaks of images: signatures where the administrator demands them, and whatever else is held beside an image and goes on with it.
//!
//! What must stay true: an ordinary pull asks nothing about any of this; where a signature is demanded nothing of the image is fetched before a good one was
//! seen, and what is fetched then is what the signature is about.

use shipway_model::{Algorithm, Descriptor, Digest, ImageId, Reference};
use shipway_registry::{Credentials, FetchedReferrer, Registry, Scope, SignaturePolicy, Wanted};
use shipway_store::{Lease, NewImage, Referrer, Store};

use crate::{Engine, Result, blocking};

/// A referrer at a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedReferrer {
    pub descriptor: Descriptor,
    /// The tag it goes by, where it was found by one.
    pub tag: Option<String>,
    /// It is here too, and goes on with the image.
    pub held: bool,
}

/// What is said about a name at its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrers {
    /// What the name stands for there.
    pub subject: Digest,
    pub listed: Vec<ListedReferrer>,
}

impl Engine {
    /// What speaks of the image that `reference` means at its registry.
    ///
    /// # Errors
    /// `Remote` in Docker's words.
    ///
    /// # Cost
    /// Five questions to the registry.
    pub async fn referrers(&self, reference: &Reference, credentials: Option<Credentials>) -> Result<Referrers> {
        let reference = reference.clone().with_default_tag();
        let registry = self.registry_of(&reference, credentials, false)?;
        let failed = |error: shipway_registry::Error| self.cannot_pull(&reference, &error);
        let subject = match Wanted::of(&reference) {
            Wanted::Digest(digest) => digest,
            wanted @ Wanted::Tag(_) => {
                let told = registry.manifest_digest(reference.path(), &wanted, &Scope::pull(reference.path())).await.map_err(failed)?;
                match told {
                    Some(digest) => digest,
                    // Either it is not there, which a GET says in words, or the registry tells no digests.
                    None => registry.manifest(reference.path(), &wanted).await.map_err(failed)?.descriptor.digest,
                }
            }
        };
        let found = Box::pin(registry.referrers(reference.path(), &subject)).await.map_err(failed)?;
        let name = reference.without_tag_and_digest().with_digest(subject);
        let here = match self.inner.store.images().tagged(&name) {
            Some(image) => self.held_referrers(&image)?,
            None => Vec::new(),
        };
        let listed = found
            .into_iter()
            .map(|found| ListedReferrer {
                held: here.iter().any(|held| held.manifest.digest == found.descriptor.digest),
                descriptor: found.descriptor,
                tag: found.tag,
            })
            .collect();
        Ok(Referrers { subject, listed })
    }

    /// What is held beside an image.
    pub fn held_referrers(&self, image: &ImageId) -> Result<Vec<Referrer>> {
        Ok(self.inner.store.images().referrers(image)?)
    }

    /// What is demanded of `reference`, if anything is.
    pub(super) fn policy_for(&self, reference: &Reference) -> Result<Option<SignaturePolicy>> {
        let policy = self.inner.remote.hosts().signature_policy(reference.domain()).map_err(|error| self.cannot_pull(reference, &error))?;
        Ok(policy.filter(|policy| policy.demands(reference.path())))
    }

    /// Sees to it that the policy is content with the manifests `digests` that `reference` means, and fetches what speaks of them: the signature that counted,
    /// and all else when `wants_all`.
    ///
    /// # Errors
    /// `Remote` of kind `Forbidden` when a signature is demanded and there is none that is good.
    pub(super) async fn what_speaks(
        &self,
        registry: &Registry,
        reference: &Reference,
        policy: Option<&SignaturePolicy>,
        digests: &[Digest],
        wants_all: bool,
    ) -> Result<Vec<FetchedReferrer>> {
        let failed = |error: shipway_registry::Error| self.cannot_pull(reference, &error);
        let mut fetched = Vec::new();
        if let Some(policy) = policy
            && let Some(verified) = Box::pin(registry.verify(policy, reference, digests)).await.map_err(failed)?
        {
            tracing::info!(image = reference.familiar(), digest = %verified.referrer.subject, key = verified.key, "a signature is good");
            fetched.push(verified.referrer);
        }
        if wants_all {
            for subject in digests {
                for found in Box::pin(registry.referrers(reference.path(), subject)).await.map_err(failed)? {
                    if fetched.iter().all(|known: &FetchedReferrer| known.found.descriptor.digest != found.descriptor.digest) {
                        fetched.push(Box::pin(registry.fetch_referrer(reference.path(), subject, &found)).await.map_err(failed)?);
                    }
                }
            }
        }
        Ok(fetched)
    }

    /// Holds `speaking` beside an image that is here already.
    pub(super) async fn hold(&self, id: ImageId, speaking: Vec<FetchedReferrer>) -> Result<()> {
        let held = self.held_referrers(&id)?;
        let new: Vec<FetchedReferrer> = speaking
            .into_iter()
            .filter(|fetched| held.iter().all(|held| held.manifest.digest != fetched.found.descriptor.digest))
            .collect();
        let Some(image) = self.inner.store.images().get(&id).filter(|_| !new.is_empty()) else { return Ok(()) };
        let store = self.inner.store.clone();
        blocking::files(move || {
            let lease = store.lease();
            if !lease.add_image(&id) {
                return Ok(());
            }
            let referrers = keep(&store, new, &lease)?;
            let stored = NewImage {
                config_bytes: store.images().config_bytes(&id)?,
                layers: image.layers.clone(),
                manifest: None,
                blobs: blobs_of(&referrers),
                parent: image.parent,
                origin: image.origin,
            };
            let inside = store.clone();
            store.publish(move |txn| {
                // Somebody may have removed it meanwhile; it does not come back by what speaks of it.
                if inside.images().get(&id).is_some() {
                    inside.images().put(txn, stored)?;
                    inside.images().hold_referrers(txn, &id, referrers)?;
                }
                Ok(())
            })?;
            drop(lease);
            Ok(())
        })
        .await
    }
}

/// Stores the bytes of what was fetched; `lease` keeps them. What is named by other digests than ours cannot be kept.
pub(super) fn keep(store: &Store, fetched: Vec<FetchedReferrer>, lease: &Lease) -> Result<Vec<Referrer>> {
    let mut kept = Vec::new();
    for FetchedReferrer { subject, found, manifest, blobs } in fetched {
        let digests = || std::iter::once(found.descriptor.digest).chain(blobs.iter().map(|(blob, _)| blob.digest));
        if digests().any(|digest| digest.algorithm() != Algorithm::Sha256) {
            tracing::info!(referrer = %found.descriptor.digest, "what speaks of an image under other digests than SHA-256 is not kept");
            continue;
        }
        store.blobs().put_kept(&manifest, Some(found.descriptor.digest), lease)?;
        for (blob, bytes) in &blobs {
            store.blobs().put_kept(bytes, Some(blob.digest), lease)?;
        }
        kept.push(Referrer {
            subject,
            manifest: found.descriptor,
            tag: found.tag,
            blobs: blobs.into_iter().map(|(blob, _)| blob).collect(),
        });
    }
    Ok(kept)
}

/// Every blob of these referrers, for the image to keep.
pub(super) fn blobs_of(referrers: &[Referrer]) -> Vec<Digest> {
    referrers.iter().flat_map(|held| std::iter::once(held.manifest.digest).chain(held.blobs.iter().map(|blob| blob.digest))).collect()
}
