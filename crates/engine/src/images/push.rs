//! `push`: an image, or every tag of a repository, from the store to a registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use shipway_model::{Digest, ImageId, Platform, Reference};
use shipway_registry::{Credentials, LayerCompression, PushRequest, Pushed, Registry, TransferEvent, TransferSink};
use shipway_store::NewImage;

use crate::{Engine, Error, Result, Subject, blocking};

/// What to push.
#[derive(Debug, Clone)]
pub struct PushSpec {
    pub reference: Reference,
    /// Every tag of the repository; the reference has none then.
    pub all_tags: bool,
    pub compression: LayerCompression,
    /// Only an image for this platform is what was meant.
    pub platform: Option<Platform>,
    pub credentials: Option<Credentials>,
    /// What is held here that speaks of the image (signatures, attestations) goes with it.
    pub referrers: bool,
}

/// What a push tells while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushMessage {
    /// Where it goes.
    Begun {
        repository: String,
    },
    Layer(TransferEvent),
    /// What speaks of the image is there; so many were not before.
    Referrers {
        held: usize,
        sent: usize,
    },
    /// A tag is there; the digest and size of its manifest.
    Finished {
        tag: String,
        digest: Digest,
        size: u64,
    },
}

/// Takes the messages of a push. Never blocks.
pub type PushSink = Arc<dyn Fn(PushMessage) + Send + Sync>;

impl Engine {
    /// Brings what `spec` names to its registry.
    ///
    /// # Errors
    /// `NotFoundInWords` for a name that is not here; `Remote` in the registry's words.
    ///
    /// # Durability
    /// The digest under which the image is there becomes one of its names here, and what was compressed is kept for the next push.
    pub async fn push_image(&self, spec: PushSpec, messages: PushSink) -> Result<()> {
        if spec.reference.digest().is_some() {
            return Err(Error::invalid("cannot push a digest reference"));
        }
        let images = self.inner.store.images();
        let wanted: Vec<(Reference, ImageId)> = if spec.all_tags {
            images
                .all_tags()
                .into_iter()
                .filter(|(name, _)| name.tag().is_some() && name.repository() == spec.reference.repository())
                .collect()
        } else {
            let reference = spec.reference.clone().with_default_tag();
            images.tagged(&reference).map(|image| (reference, image)).into_iter().collect()
        };
        if wanted.is_empty() {
            return Err(self.nothing_to_push(&spec));
        }
        for (reference, image) in &wanted {
            self.refuse_other_platform(&reference.familiar(), image, spec.platform.as_ref())?;
        }
        let registry = self.registry_of(&spec.reference, spec.credentials.clone(), true)?;
        messages(PushMessage::Begun { repository: spec.reference.repository() });
        for (reference, image) in wanted {
            self.push_one(&registry, &reference, image, &spec, &messages).await?;
        }
        Ok(())
    }

    async fn push_one(
        &self,
        registry: &Registry,
        reference: &Reference,
        image: ImageId,
        spec: &PushSpec,
        messages: &PushSink,
    ) -> Result<()> {
        let tag = reference.tag().unwrap_or("latest").to_owned();
        let request = PushRequest { image, repository: reference.path().to_owned(), tag: tag.clone(), compression: spec.compression };
        let told = Arc::clone(messages);
        let events: TransferSink = Arc::new(move |event| told(PushMessage::Layer(event)));
        let pushed =
            self.inner.remote.pusher.push(registry, &request, &events).await.map_err(|error| self.cannot_push(reference, &error))?;
        let (digest, size) = (pushed.manifest.digest, pushed.manifest.size);
        self.note_pushed(reference, image, pushed).await?;
        // What speaks of another manifest, of a list of platforms for instance, would point at nothing there.
        let mut held = if spec.referrers { self.held_referrers(&image)? } else { Vec::new() };
        held.retain(|referrer| referrer.subject == digest);
        if !held.is_empty() {
            let pusher = &self.inner.remote.pusher;
            let sent =
                pusher.push_referrers(registry, &request, &held, &events).await.map_err(|error| self.cannot_push(reference, &error))?;
            messages(PushMessage::Referrers { held: held.len(), sent });
        }
        let attributes = BTreeMap::from([("name".to_owned(), reference.familiar_repository())]);
        self.inner.events.publish(Subject::Image, "push", reference.familiar(), attributes);
        messages(PushMessage::Finished { tag, digest, size });
        Ok(())
    }

    /// Notes what the registry has now; writes nothing when all of it was known.
    async fn note_pushed(&self, reference: &Reference, id: ImageId, pushed: Pushed) -> Result<()> {
        let images = self.inner.store.images();
        let name = reference.clone().without_tag_and_digest().with_digest(pushed.manifest.digest);
        let Some(image) = images.get(&id) else { return Ok(()) };
        let known = |(diff_id, form): &(_, shipway_store::Representation)| {
            let forms = self.inner.store.representations(diff_id);
            forms.iter().any(|known| known.digest == form.digest && form.origins.iter().all(|origin| known.origins.contains(origin)))
        };
        let same_manifest = image.manifest.as_ref().is_some_and(|manifest| manifest.digest == pushed.manifest.digest);
        if same_manifest && images.tagged(&name) == Some(id) && pushed.forms.iter().all(known) {
            return Ok(());
        }
        let store = self.inner.store.clone();
        blocking::files(move || {
            let inside = store.clone();
            let config_bytes = store.images().config_bytes(&id)?;
            let new = NewImage {
                config_bytes,
                layers: image.layers.clone(),
                manifest: Some(pushed.manifest),
                blobs: Vec::new(),
                parent: image.parent,
                origin: image.origin,
            };
            store.publish(move |txn| {
                // Somebody may have removed it meanwhile; it does not come back by being pushed.
                if inside.images().get(&id).is_none() {
                    return Ok(());
                }
                inside.images().put(txn, new)?;
                for (diff_id, form) in pushed.forms {
                    inside.remember_representation(txn, diff_id, form)?;
                }
                inside.images().tag(txn, &name, id)?;
                Ok(())
            })?;
            drop(pushed.lease);
            Ok(())
        })
        .await
    }

    fn nothing_to_push(&self, spec: &PushSpec) -> Error {
        let repository = spec.reference.repository();
        let images = self.inner.store.images();
        let near = self.nearest_here(&spec.reference, false);
        let reason = match spec.reference.tag() {
            Some(tag) if !spec.all_tags && images.all_tags().iter().any(|(name, _)| name.repository() == repository) => {
                format!("tag does not exist: {repository}:{tag}")
            }
            _ => format!("An image does not exist locally with the tag: {repository}"),
        };
        let hint = near.map_or_else(
            || Some(format!("name an image so first: shipway tag IMAGE {}", spec.reference.familiar())),
            |near| Some(format!("did you mean {near}?")),
        );
        Error::NotFoundInWords { reason, hint }
    }
}
