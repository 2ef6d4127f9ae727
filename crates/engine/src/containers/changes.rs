//! `diff` and `commit`: what a container has changed, as a list and as an image.

use std::collections::BTreeMap;
use std::sync::Arc;

use shipway_model::{ContainerDefaults, History, ImageConfig, ImageId, Platform, Reference, RootFs, env};
use shipway_store::{ChangeKind, LayerOrigin, NewImage};

use super::{Container, ContainerRecord, ContainerState};
use crate::{Engine, Error, Result, Subject, blocking, clock};

/// How often a commit without a pause is tried when something writes meanwhile.
const TRIES: u32 = 5;

/// How to make an image of a container.
#[derive(Debug, Clone, Default)]
pub struct CommitSpec {
    /// The name of the new image, if any.
    pub reference: Option<Reference>,
    pub author: String,
    pub message: String,
    /// Settings in place of the container's, where they say something.
    pub config: ContainerDefaults,
    /// Dockerfile instructions applied to the new image's settings.
    pub changes: Vec<String>,
    /// Hold the container's processes while its files are read.
    pub pause: bool,
}

impl Engine {
    /// What the container `name` has changed in the files of its image: absolute paths, in order.
    pub async fn changes_of_container(&self, name: &str) -> Result<Vec<(String, ChangeKind)>> {
        let container = self.container(name)?;
        let store = self.inner.store.clone();
        let changes = blocking::files(move || Ok(store.changes(&container.id.to_string())?)).await?;
        Ok(changes.into_iter().map(|(path, kind)| (format!("/{}", String::from_utf8_lossy(&path)), kind)).collect())
    }

    /// Makes an image of the container `name` as it is now; volumes and mounts are not part of it.
    ///
    /// # Errors
    /// `Invalid` for changes that are no settings; `Conflict` when files changed while they were read without a pause.
    ///
    /// # Durability
    /// When this answers, the image survives a power cut.
    pub async fn commit_container(&self, name: &str, spec: CommitSpec) -> Result<ImageId> {
        let container = self.container(name)?;
        let record = container.record();
        if matches!(record.state, ContainerState::Removing | ContainerState::Dead { .. }) {
            let reason = format!("You cannot commit container {} which is being removed", record.id);
            return Err(Error::Conflict { reason, hint: None });
        }
        if spec.reference.as_ref().is_some_and(|reference| reference.digest().is_some()) {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let changed = self.apply_changes_to(&env::merge(&record.process.env, &spec.config.env), &spec.changes).await?;
        let changed = over(&spec.config, changed);
        self.commit_files(&container, &record, spec, changed).await
    }

    async fn commit_files(
        &self,
        container: &Arc<Container>,
        record: &ContainerRecord,
        spec: CommitSpec,
        changed: ContainerDefaults,
    ) -> Result<ImageId> {
        // Held to the end: nobody starts, pauses or removes it meanwhile.
        let _turn = container.turn.lock().await;
        if container.milestones.borrow().removed {
            return Err(Error::NoSuchContainer { name: record.name.to_string(), hint: None });
        }
        let pauses = spec.pause && matches!(container.state(), ContainerState::Running { .. });
        if pauses {
            self.freeze(container).await?;
            self.publish_container(container, "pause", BTreeMap::new());
        }
        let (engine, held, wanted) = (self.clone(), record.clone(), spec.clone());
        let made = blocking::files(move || engine.make_image(&held, &wanted, changed)).await;
        if let Ok(id) = &made {
            self.publish_commit(container, id, spec);
        }
        if pauses {
            self.thaw(container).await?;
            self.publish_container(container, "unpause", BTreeMap::new());
        }
        made
    }

    fn publish_commit(&self, container: &Arc<Container>, id: &ImageId, spec: CommitSpec) {
        let mut attributes = BTreeMap::from([("comment".to_owned(), spec.message), ("imageID".to_owned(), id.to_string())]);
        if let Some(reference) = spec.reference.map(Reference::with_default_tag) {
            attributes.insert("imageRef".to_owned(), reference.familiar());
            let named = BTreeMap::from([("name".to_owned(), reference.familiar())]);
            self.inner.events.publish(Subject::Image, "tag", id.to_string(), named);
        }
        self.publish_container(container, "commit", attributes);
    }

    fn make_image(&self, record: &ContainerRecord, spec: &CommitSpec, changed: ContainerDefaults) -> Result<ImageId> {
        let store = &self.inner.store;
        let lease = store.lease();
        let now = clock::now();
        let layer = retried(|| store.copy_as_layer(&record.id.to_string(), now, &lease))?;
        let parent = store.images().get(&record.image);
        let mut config = match &parent {
            Some(image) => image.config.clone(),
            None => self.config_without_parent(record),
        };
        config.created = Some(now);
        config.author.clone_from(&spec.author);
        config.config = settings(record, config.config, changed, &spec.changes);
        config.history.push(History {
            created: Some(now),
            created_by: record.process.command.join(" "),
            author: spec.author.clone(),
            comment: spec.message.clone(),
            empty_layer: layer.is_none(),
        });
        let mut layers = record.layers.clone();
        if let Some(id) = layer {
            let layer = store.layer(&id).ok_or_else(|| Error::internal("a layer vanished while it was held"))?;
            config.rootfs.diff_ids.push(layer.diff_id);
            layers.push(id);
        }
        let image = NewImage {
            config_bytes: config.to_bytes(),
            layers,
            manifest: None,
            blobs: Vec::new(),
            parent: parent.map(|image| image.id),
            origin: LayerOrigin::Built,
        };
        let (inside, name) = (store.clone(), spec.reference.clone().map(Reference::with_default_tag));
        let id = store.publish(move |txn| {
            let id = inside.images().put(txn, image)?;
            if let Some(name) = name {
                inside.images().tag(txn, &name, id)?;
            }
            Ok(id)
        })?;
        drop(lease);
        Ok(id)
    }

    /// What is known when the image was removed by force: its layers.
    fn config_without_parent(&self, record: &ContainerRecord) -> ImageConfig {
        let platform = Platform::host();
        let diff_ids = record.layers.iter().filter_map(|id| self.inner.store.layer(id)).map(|layer| layer.diff_id).collect();
        ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            rootfs: RootFs { diff_ids, ..RootFs::default() },
            ..ImageConfig::default()
        }
    }
}

/// Tries again when a file changed while it was read.
fn retried<T>(mut work: impl FnMut() -> std::result::Result<T, shipway_store::Error>) -> Result<T> {
    for _ in 1..TRIES {
        match work() {
            Err(shipway_store::Error::Archive(shipway_archive::Error::Changed { .. })) => {}
            other => return Ok(other?),
        }
    }
    Ok(work()?)
}

/// Settings with changes on top. An entrypoint alone clears the command, as in a Dockerfile.
fn over(below: &ContainerDefaults, changed: ContainerDefaults) -> ContainerDefaults {
    let or = |text: String, below: &str| if text.is_empty() { below.to_owned() } else { text };
    let (entrypoint, cmd) = match (changed.entrypoint, changed.cmd) {
        (None, cmd) => (below.entrypoint.clone(), cmd.or_else(|| below.cmd.clone())),
        asked => asked,
    };
    let mut labels = below.labels.clone();
    labels.extend(changed.labels);
    ContainerDefaults {
        user: or(changed.user, &below.user),
        exposed_ports: below.exposed_ports.union(&changed.exposed_ports).copied().collect(),
        env: env::merge(&below.env, &changed.env),
        entrypoint,
        cmd,
        volumes: below.volumes.union(&changed.volumes).cloned().collect(),
        working_dir: or(changed.working_dir, &below.working_dir),
        labels,
        stop_signal: changed.stop_signal.or_else(|| below.stop_signal.clone()),
        healthcheck: changed.healthcheck.or_else(|| below.healthcheck.clone()),
        on_build: [&below.on_build[..], &changed.on_build].concat(),
        shell: changed.shell.or_else(|| below.shell.clone()),
        ..changed
    }
}

/// The settings of the new image: what the container was made with, then the changes.
fn settings(record: &ContainerRecord, image: ContainerDefaults, changed: ContainerDefaults, asked: &[String]) -> ContainerDefaults {
    let process = &record.process;
    let words = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    // `HEALTHCHECK NONE` is a change as well.
    let says_health = asked.iter().any(|change| change.trim_start().to_uppercase().starts_with("HEALTHCHECK"));
    let made_with = ContainerDefaults {
        user: process.user.clone(),
        exposed_ports: process.exposed_ports.clone(),
        env: process.env.clone(),
        entrypoint: words(&process.entrypoint),
        cmd: words(&process.command),
        volumes: process.volumes.clone(),
        working_dir: process.working_dir.clone(),
        labels: process.labels.clone(),
        stop_signal: process.stop_signal.clone(),
        healthcheck: process.healthcheck.clone().filter(|_| !says_health),
        shell: image.shell,
        ..ContainerDefaults::default()
    };
    ContainerDefaults { args_escaped: false, other: image.other, ..over(&made_with, changed) }
}
