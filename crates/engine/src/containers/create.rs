//! `create`: a record, a name, and a writable layer on the image's chain. No process yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use shipway_model::{ContainerDefaults, ContainerId, ContainerName, Platform, VolumeName, env};
use shipway_state::WriteTxn;
use shipway_store::{PrepareOptions, VolumeWish};

use super::mounts;
use super::spec::{CreateSpec, Created};
use super::{CONTAINERS, Container, ContainerRecord, ContainerState, NetworkMode, ResolvedProcess};
use crate::{Engine, Error, Result, Subject, blocking, clock};

/// How often a made-up name is tried before the id itself becomes the name.
const NAME_TRIES: u64 = 6;

impl Engine {
    /// Records a container made from an image. It does not run yet.
    ///
    /// # Errors
    /// `NoSuchImage`; `Conflict` when the name is taken; `Invalid`; `NotSupportedYet` for options this version does not know.
    ///
    /// # Durability
    /// When this answers, the container survives a power cut: one transaction with its name and its hold on the image's layers. One that removes
    /// itself (`--rm`) survives the death of the daemon only, because boot would remove it anyway.
    ///
    /// # Cost
    /// Two folders, one row, one sync of the filesystem and one of the log; none with `--rm`.
    pub async fn create_container(&self, mut spec: CreateSpec) -> Result<Created> {
        self.complete_log(&mut spec.host.log);
        super::refuse::refuse(&spec)?;
        let mut warnings = super::kernel::discard_unknown(&mut spec.host);
        self.join_by_id(&mut spec.host);
        let endpoints = self.endpoints_of(&spec)?;
        self.check_link_targets(&spec)?;
        warnings.extend(warnings_of(&spec.host));
        let image = self.resolve_image(&spec.image)?;
        let image =
            self.inner.store.images().get(&image).ok_or_else(|| Error::internal("an image vanished while a container was made from it"))?;
        refuse_foreign_platform(&spec, &image.config)?;
        let id = ContainerId::from_random(clock::random());
        let mut process = resolve_process(&spec, &image.config.config, id)?;
        if let NetworkMode::Container(other) = &spec.host.network
            && let Ok(other) = self.container(other)
        {
            // One stack is one machine: it has one name. That the other one is not there is said at the start: docker's client takes a "not found" here
            // for a missing image.
            let other = other.record();
            process.hostname = other.process.hostname;
            spec.domainname = other.spec.domainname;
        }
        let plan = self.plan_mounts(&spec, &process, &image.layers)?;
        let names = plan.volume_names();
        let _turn = self.inner.volumes.take(&names).await;
        let record = ContainerRecord {
            id,
            name: spec.name.clone().unwrap_or_else(|| made_up_name(id, 0)),
            created: clock::now(),
            image: image.id,
            layers: image.layers.clone(),
            process,
            mounts: plan.mounts,
            spec,
            state: ContainerState::Created { error: None },
            restart_count: 0,
            stopped_by_hand: false,
            health: None,
            started_at: None,
            endpoints,
        };
        let container = self.claim_name(record)?;
        match self.store_created(&container, plan.wishes).await {
            Ok(made) => self.tell_made(&made),
            Err(error) => {
                self.inner.containers.remove(&container);
                return Err(error);
            }
        }
        self.publish_container(&container, "create", BTreeMap::new());
        Ok(Created { id, warnings })
    }

    /// Puts the record under its name in memory; made-up names step aside for taken ones.
    fn claim_name(&self, mut record: ContainerRecord) -> Result<Arc<Container>> {
        let chosen = record.spec.name.is_some();
        for attempt in 1..=NAME_TRIES {
            let container = Arc::new(Container::new(record.clone()));
            match self.inner.containers.insert(Arc::clone(&container)) {
                Ok(()) => return Ok(container),
                Err(owner) if chosen => return Err(name_taken(&record.name, &owner)),
                Err(_) => record.name = made_up_name(record.id, attempt),
            }
        }
        Err(Error::internal("no free name could be made up"))
    }

    /// Makes the writable layer and the volumes and stores the record, all in one transaction; takes everything back when that fails. Answers the
    /// volumes that are new.
    async fn store_created(&self, container: &Container, wishes: Vec<VolumeWish>) -> Result<Vec<VolumeName>> {
        let record = container.record();
        let store = self.inner.store.clone();
        blocking::files(move || {
            let lease = store.lease();
            if !lease.add_image(&record.image) {
                return Err(Error::NoSuchImage { name: record.spec.image.clone(), nearest: Vec::new() });
            }
            let name = record.id.to_string();
            for (image, _) in record.mounts.iter().filter_map(|mount| mount.image.as_ref()) {
                if !lease.add_image(image) {
                    return Err(Error::NoSuchImage { name: image.to_string(), nearest: Vec::new() });
                }
            }
            let names = wishes.iter().map(|wish| wish.name.clone()).collect();
            let volumes = store.volumes().prepare(wishes).map_err(|error| mounts::refused(error, &names))?;
            let snapshot = store.prepare(&record.layers, PrepareOptions { name: Some(name.clone()), lease: None })?;
            let (held, id, made) = (store.clone(), record.id, volumes.clone());
            // What goes with the container may go with a power cut too; a volume that stays was promised.
            let own = record.anonymous_volumes();
            let until_reboot = record.spec.host.auto_remove && volumes.changed_names().iter().all(|name| own.contains(name));
            let rows = move |txn: &mut WriteTxn<'_>| {
                held.hold(txn, &hold_name(id), &record.layers, Some(record.image))?;
                for (number, (image, layers)) in record.mounts.iter().filter_map(|mount| mount.image.as_ref()).enumerate() {
                    held.hold(txn, &mount_hold_name(id, number), layers, Some(*image))?;
                }
                made.record(txn)?;
                txn.put(&CONTAINERS, &id, &record)?;
                Ok(())
            };
            let stored = if until_reboot {
                store.publish_until_reboot(&snapshot.keep_until_reboot(), rows)
            } else {
                snapshot.keep();
                store.publish(rows)
            };
            if stored.is_err() {
                store.remove_active(&name)?;
            }
            stored?;
            store.volumes().finish(&volumes)?;
            Ok(volumes.new_names())
        })
        .await
    }

    fn tell_made(&self, names: &[VolumeName]) {
        for volume in names.iter().filter_map(|name| self.inner.store.volumes().get(name)) {
            self.publish_volume(&volume, "create", BTreeMap::new());
        }
    }

    /// Publishes a container event with the attributes that every one has.
    pub(crate) fn publish_container(&self, container: &Container, action: &str, mut attributes: BTreeMap<String, String>) {
        let record = container.record();
        attributes.extend(record.process.labels.clone());
        attributes.insert("name".to_owned(), record.name.to_string());
        attributes.insert("image".to_owned(), record.spec.image.clone());
        self.inner.events.publish(Subject::Container, action, record.id.to_string(), attributes);
    }
}

/// The owner under which a container holds its layers.
pub(crate) fn hold_name(id: ContainerId) -> String {
    format!("container:{id}")
}

/// The owner under which it holds the layers of the image it mounts as its `number`-th.
pub(crate) fn mount_hold_name(id: ContainerId, number: usize) -> String {
    format!("container:{id}:mount:{number}")
}

fn made_up_name(id: ContainerId, attempt: u64) -> ContainerName {
    let seed = id.to_string().bytes().fold(attempt, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    shipway_model::name::random_container_name(seed)
}

/// The conflict that dockerd words this way and clients match (M-22).
pub(crate) fn name_taken(name: &ContainerName, owner: &Container) -> Error {
    let record = owner.record();
    Error::Conflict {
        reason: format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to remove (or rename) that container to be able to reuse that name.",
            record.id
        ),
        hint: Some(format!("{} is {}; to replace it: shipway rm -f {name}", record.id.short(), super::describe(&record.state))),
    }
}

fn refuse_foreign_platform(spec: &CreateSpec, config: &shipway_model::ImageConfig) -> Result<()> {
    let Some(wanted) = &spec.platform else { return Ok(()) };
    let found = Platform::of_image(config);
    if found.matches(wanted) {
        return Ok(());
    }
    // Clients pull the image for that platform when they hear that this one is not found.
    Err(Error::NotFoundInWords {
        reason: format!(
            "image with reference {} was found but does not match the specified platform: wanted {wanted}, actual: {found}",
            spec.image
        ),
        hint: Some("leave --platform away, or build the image for that platform".to_owned()),
    })
}

/// Merges request and image by Docker's rules: a given entrypoint clears the image's command.
fn resolve_process(spec: &CreateSpec, image: &ContainerDefaults, id: ContainerId) -> Result<ResolvedProcess> {
    let entrypoint = match &spec.entrypoint {
        Some(words) if words.len() == 1 && words[0].is_empty() => Vec::new(),
        Some(words) => words.clone(),
        None => image.entrypoint.clone().unwrap_or_default(),
    };
    let command = match (&spec.command, &spec.entrypoint) {
        (Some(words), _) if !words.is_empty() => words.clone(),
        (_, Some(_)) => Vec::new(),
        _ => image.cmd.clone().unwrap_or_default(),
    };
    if entrypoint.is_empty() && command.is_empty() {
        return Err(Error::InvalidWithHint {
            reason: "no command specified".to_owned(),
            hint: format!("image {image} has neither CMD nor ENTRYPOINT; give one: shipway run {image} <command>", image = spec.image),
        });
    }
    let mut labels = image.labels.clone();
    labels.extend(spec.labels.clone());
    Ok(ResolvedProcess {
        entrypoint,
        command,
        env: env::merge(&env::with_default_path(&image.env), &spec.env),
        working_dir: spec.working_dir.clone().filter(|dir| !dir.is_empty()).unwrap_or_else(|| image.working_dir.clone()),
        user: spec.user.clone().filter(|user| !user.is_empty()).unwrap_or_else(|| image.user.clone()),
        stop_signal: spec.stop_signal.clone().or_else(|| image.stop_signal.clone()),
        hostname: spec.hostname.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| id.short()),
        labels,
        exposed_ports: image.exposed_ports.union(&spec.exposed_ports).cloned().collect(),
        volumes: image.volumes.union(&spec.volumes).cloned().collect(),
        healthcheck: super::health::merge(spec.healthcheck.as_ref(), image.healthcheck.as_ref()),
        shell: image.shell.clone().unwrap_or_default(),
    })
}

/// What was accepted but will not work as asked.
fn warnings_of(host: &super::HostOptions) -> Option<String> {
    let published = !host.publish.is_empty() || host.publish_all;
    (host.network == NetworkMode::Host && published).then(|| "Published ports are discarded when using host network mode".to_owned())
}
