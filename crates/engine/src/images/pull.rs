//! `pull`: an image, or every tag of a repository, from a registry into the store.
//!
//! What must stay true: names change only when everything they stand for is durable, in one transaction; an image that is up to date costs one question.

use std::collections::BTreeMap;
use std::sync::Arc;

use shipway_model::{Digest, ImageId, Platform, Reference};
use shipway_registry::{Credentials, FetchedReferrer, PullRequest, Pulled, Registry, Scope, TransferEvent, TransferSink, Wanted};

use crate::{Engine, Error, Result, Subject, blocking};

/// What to pull.
#[derive(Debug, Clone)]
pub struct PullSpec {
    pub reference: Reference,
    /// Every tag of the repository; the reference has none then.
    pub all_tags: bool,
    pub platform: Option<Platform>,
    pub credentials: Option<Credentials>,
    /// What speaks of the image (signatures, attestations) comes with it.
    pub referrers: bool,
}

/// What a pull tells while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullMessage {
    /// The manifest was found.
    Begun {
        repository: String,
        tag: String,
    },
    Layer(TransferEvent),
    /// What the name stands for.
    Digest(Digest),
    /// The name, and whether it stands for something else than before.
    Finished {
        name: String,
        newer: bool,
    },
}

/// Takes the messages of a pull. Never blocks.
pub type PullSink = Arc<dyn Fn(PullMessage) + Send + Sync>;

impl Engine {
    /// Brings what `spec` names here.
    ///
    /// # Errors
    /// `Remote` in Docker's words, with the nearest names; the store's when there is no room.
    ///
    /// # Durability
    /// When this answers, the image and its names survive a power cut. A pull that broke leaves nothing visible; the next one goes on where it ended.
    pub async fn pull_image(&self, spec: PullSpec, messages: PullSink) -> Result<Vec<ImageId>> {
        let registry = self.registry_of(&spec.reference, spec.credentials.clone(), false)?;
        let references = if spec.all_tags {
            let tags = registry.tags(spec.reference.path()).await.map_err(|error| self.cannot_pull(&spec.reference, &error))?;
            let named = |tag: &String| spec.reference.clone().with_tag(tag).map_err(|error| Error::invalid(error.to_string()));
            // What speaks of an image is none.
            tags.iter().filter(|tag| !shipway_registry::is_referrer_tag(tag)).map(named).collect::<Result<Vec<_>>>()?
        } else {
            vec![spec.reference.clone().with_default_tag()]
        };
        let (mut pulled, mut newer) = (Vec::with_capacity(references.len()), false);
        for reference in &references {
            let (image, is_newer) = Box::pin(self.pull_one(&registry, reference, &spec, &messages)).await?;
            pulled.push(image);
            newer |= is_newer;
        }
        let name = if spec.all_tags { spec.reference.familiar() } else { spec.reference.with_default_tag().familiar() };
        messages(PullMessage::Finished { name, newer });
        Ok(pulled)
    }

    /// Pulls one tag or digest; the image, and whether the name stood for something else before.
    async fn pull_one(&self, registry: &Registry, reference: &Reference, spec: &PullSpec, messages: &PullSink) -> Result<(ImageId, bool)> {
        let platform = spec.platform.as_ref();
        let policy = self.policy_for(reference)?;
        let wanted = Wanted::of(reference);
        let begun = PullMessage::Begun { repository: reference.path().to_owned(), tag: wanted.to_string() };
        if let Some((image, digest)) = self.up_to_date(registry, reference, &wanted, platform).await {
            let own = self.inner.store.images().get(&image).and_then(|image| image.manifest.as_ref().map(|manifest| manifest.digest));
            let digests: Vec<Digest> = std::iter::once(digest).chain(own.filter(|own| *own != digest)).collect();
            let speaking = Box::pin(self.what_speaks(registry, reference, policy.as_ref(), &digests, spec.referrers)).await?;
            Box::pin(self.hold(image, speaking)).await?;
            messages(begun);
            messages(PullMessage::Digest(digest));
            return Ok((image, false));
        }
        let request = PullRequest { repository: reference.path().to_owned(), wanted, platform: platform.cloned() };
        let puller = &self.inner.remote.puller;
        let chosen = puller.choose(registry, &request).await.map_err(|error| self.cannot_pull(reference, &error))?;
        let speaking = Box::pin(self.what_speaks(registry, reference, policy.as_ref(), &chosen.digests(), spec.referrers)).await?;
        messages(begun);
        let told = Arc::clone(messages);
        let events: TransferSink = Arc::new(move |event| told(PullMessage::Layer(event)));
        let pulled = puller.fetch(registry, &request, chosen, &events).await.map_err(|error| self.cannot_pull(reference, &error))?;
        let digest = pulled.digest;
        let former = self.inner.store.images().tagged(reference);
        let image = self.name_pulled(reference, pulled, speaking).await?;
        let attributes = BTreeMap::from([("name".to_owned(), reference.familiar_repository())]);
        self.inner.events.publish(Subject::Image, "pull", reference.familiar(), attributes);
        messages(PullMessage::Digest(digest));
        Ok((image, former != Some(image)))
    }

    /// The image that `reference` means here, when the registry still means the same; one question, which counts against no limit of pulls.
    async fn up_to_date(
        &self,
        registry: &Registry,
        reference: &Reference,
        wanted: &Wanted,
        platform: Option<&Platform>,
    ) -> Option<(ImageId, Digest)> {
        let images = self.inner.store.images();
        let image = images.tagged(reference)?;
        let made_for = Platform::of_image(&images.get(&image)?.config);
        if !platform.is_none_or(|wanted| made_for.matches(wanted)) {
            return None;
        }
        if let Wanted::Digest(digest) = wanted {
            // What a digest means never changes.
            return Some((image, *digest));
        }
        let here: Vec<Digest> = images
            .digests(&image)
            .iter()
            .filter(|name| name.repository() == reference.repository())
            .filter_map(|name| name.digest().copied())
            .collect();
        if here.is_empty() {
            return None;
        }
        // A registry that answers this badly is asked in full.
        let there = registry.manifest_digest(reference.path(), wanted, &Scope::pull(reference.path())).await.ok().flatten()?;
        here.contains(&there).then_some((image, there))
    }

    /// Stores the image, what is known of its layers, and its names; one transaction.
    async fn name_pulled(&self, reference: &Reference, pulled: Pulled, speaking: Vec<FetchedReferrer>) -> Result<ImageId> {
        let bare = reference.clone().without_tag_and_digest();
        let mut names = vec![bare.with_digest(pulled.digest)];
        if reference.digest().is_none() {
            names.push(reference.clone());
        }
        let store = self.inner.store.clone();
        blocking::files(move || {
            let inside = store.clone();
            let Pulled { mut image, forms, lease, .. } = pulled;
            let referrers = super::trust::keep(&store, speaking, &lease)?;
            image.blobs.extend(super::trust::blobs_of(&referrers));
            let id = store.publish(move |txn| {
                let id = inside.images().put(txn, image)?;
                for (diff_id, form) in forms {
                    inside.remember_representation(txn, diff_id, form)?;
                }
                inside.images().hold_referrers(txn, &id, referrers)?;
                for name in &names {
                    inside.images().tag(txn, name, id)?;
                }
                Ok(id)
            })?;
            drop(lease);
            Ok(id)
        })
        .await
    }
}
