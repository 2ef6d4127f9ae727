//! `build`: context in, image out, named in one transaction.

use std::collections::BTreeMap;

use shipway_build::{BuildOutcome, BuildRequest, ProgressEvent, ProgressSink};
use shipway_model::{BuildId, Reference};
use shipway_store::{LayerOrigin, NewImage};
use tokio_util::sync::CancellationToken;

use super::familiar::Familiar;
use super::history::{BuildStatus, Ending, Recorder};
use super::{BuildFinished, BuildSpec};
use crate::{Engine, Error, Result, Subject, blocking, clock};

impl Engine {
    /// Builds an image and gives it its names. Events go to `progress` as they happen; the whole log is kept on disk.
    ///
    /// # Errors
    /// `Build` with every static finding of the Dockerfile at once, or with the step that failed; `Cancelled` when `cancel` fired.
    ///
    /// # Durability
    /// When this answers, the image and its names survive a power cut. Nothing is written or synced when everything was cached and the
    /// names mean the image already.
    pub async fn build(&self, spec: BuildSpec, progress: ProgressSink, cancel: CancellationToken) -> Result<BuildFinished> {
        let id = BuildId::from_random(clock::random());
        let tags: Vec<Reference> = spec.tags.into_iter().map(Reference::with_default_tag).collect();
        let recorder = Recorder::start(self, id, &tags);
        let familiar = Familiar::of(&self.inner.store, spec.options.flavour).await?;
        let sink = familiar.sink(recorder.sink(progress));
        sink(ProgressEvent::Begun { build: id });
        let mut options = spec.options;
        options.tags.clone_from(&tags);
        options.proxies.extend(self.inner.config.proxies.clone());
        let prepared = self.prepare_context(spec.source, spec.dockerfile).await;
        let result = match prepared {
            Ok(prepared) => {
                recorder.dockerfile(&prepared.dockerfile);
                let request =
                    BuildRequest { id, dockerfile: prepared.dockerfile, ignore: prepared.ignore, context: prepared.context, options };
                let outcome =
                    shipway_build::build(request, self.inner.store.clone(), self.build_ports(spec.credentials), sink, cancel).await;
                match outcome {
                    Ok(outcome) => self.name_image(&outcome, &tags).await.map(|changed| (outcome, changed)),
                    Err(shipway_build::BuildError::Cancelled) => Err(Error::Cancelled),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error),
        };
        familiar.keep(&self.inner.store);
        match result {
            Ok((outcome, changed)) => {
                recorder.finish(Ending {
                    status: BuildStatus::Completed,
                    image: Some(outcome.image),
                    cached_steps: outcome.cached_steps,
                    total_steps: outcome.total_steps,
                    unchanged: !changed && outcome.cached_steps == outcome.total_steps,
                });
                Ok(BuildFinished {
                    id,
                    image: outcome.image,
                    tags,
                    cached_steps: outcome.cached_steps,
                    total_steps: outcome.total_steps,
                    warnings: outcome.warnings,
                    unconsumed_args: outcome.unconsumed_args,
                })
            }
            Err(error) => {
                let status =
                    if matches!(error, Error::Cancelled) { BuildStatus::Cancelled } else { BuildStatus::Failed(error.to_string()) };
                recorder.finish(Ending { status, image: None, cached_steps: 0, total_steps: 0, unchanged: false });
                Err(error)
            }
        }
    }

    /// Stores the image and its names; false when all of it was so already.
    async fn name_image(&self, outcome: &BuildOutcome, tags: &[Reference]) -> Result<bool> {
        let images = self.inner.store.images();
        let known = images.get(&outcome.image).is_some();
        let moved: Vec<Reference> = tags.iter().filter(|tag| images.tagged(tag) != Some(outcome.image)).cloned().collect();
        let changed = !known || !moved.is_empty();
        if changed {
            let (store, rows, outcome) = (self.inner.store.clone(), moved.clone(), outcome.clone());
            blocking::files(move || {
                let inside = store.clone();
                store.publish(move |txn| {
                    let new = NewImage {
                        config_bytes: outcome.config_bytes.clone(),
                        layers: outcome.layers.clone(),
                        manifest: None,
                        blobs: Vec::new(),
                        parent: outcome.parent,
                        origin: LayerOrigin::Built,
                    };
                    let image = inside.images().put(txn, new)?;
                    for tag in &rows {
                        inside.images().tag(txn, tag, image)?;
                    }
                    Ok(())
                })?;
                Ok(())
            })
            .await?;
        }
        for tag in &moved {
            self.inner.events.publish(
                Subject::Image,
                "tag",
                outcome.image.to_string(),
                BTreeMap::from([("name".to_owned(), tag.familiar())]),
            );
        }
        Ok(changed)
    }
}
