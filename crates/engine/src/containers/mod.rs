//! Verbs on containers, one file per verb, and the registry they work on.
//!
//! A container is one record (durable, in the database and in memory) and, while it lives, one handle to its monitor.
//! Whoever changes its life holds its *turn*; whoever only looks takes a copy of the record.

mod attach;
mod cdi;
mod changes;
mod copy;
mod create;
mod devices;
pub mod exec;
mod files;
mod health;
mod inspect;
mod kernel;
mod kill;
mod launch;
mod list;
pub(crate) mod logging;
mod logs;
mod modes;
mod mounts;
mod pause;
mod prune;
mod record;
mod refuse;
mod remove;
mod rename;
mod resolve;
pub(crate) mod restart;
mod roots;
mod save;
pub mod spec;
mod start;
mod stats;
mod stop;
mod supervise;
mod top;
mod update;
mod wait;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use shipway_model::{ContainerId, ContainerName, ExecId};
use shipway_runtime::Handle;
use shipway_state::Table;
use tokio::sync::watch;

pub use attach::{AttachOptions, Attachment, Input};
pub use changes::CommitSpec;
pub use copy::{ExtractOptions, ExtractedOwner, OtherKindInTheWay, PathStat};
pub use devices::{DeviceRequest, Throttle, Throttled};
pub use exec::{ExecSpec, ExecView};
pub(crate) use files::NameSettings;
pub use health::{Health, HealthResult, HealthStatus};
pub use list::ContainerFilter;
pub use logs::{LogLine, LogOptions, LogStream};
pub use mounts::ContainerMount;
pub use record::{ContainerRecord, ContainerSize, ContainerState, ContainerView, ResolvedProcess, StartFailure};
pub(crate) use refuse::limits as refuse_limits;
pub use remove::RemoveOptions;
pub(crate) use resolve::Accounts;
pub use spec::{CreateSpec, Created, Echo, HostOptions, LogSpec, NetworkMode, RestartPolicy, SeccompOption, SecurityOptions};
pub use stats::{Counted, StatsReader, StatsReading};
pub use stop::StopOptions;
pub use top::ProcessTable;
pub use update::UpdateSpec;
pub use wait::{WaitCondition, WaitHandle, WaitOutcome};

use crate::{Engine, Error, Result};

/// One row per container.
pub(crate) const CONTAINERS: Table<ContainerId, ContainerRecord> = Table::new("containers");

/// A container in memory.
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    record: Mutex<ContainerRecord>,
    /// The monitor of the running process, while there is one.
    handle: Mutex<Option<Handle>>,
    /// The monitor of the process that ended last, until its root is unmounted.
    ended: Mutex<Option<Handle>>,
    /// Clients that attached before the start.
    lobby: attach::Lobby,
    /// Those who look into its files from outside.
    roots: roots::Roots,
    /// Exec instances, for inspect.
    pub(crate) execs: Mutex<Vec<ExecId>>,
    /// The restart policy's last wait in this life of the daemon.
    last_wait: Mutex<std::time::Duration>,
    /// Held by whoever changes its life.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Held while the end of its process is being dealt with: what that gives back must not be what a new start has just claimed.
    ending: tokio::sync::Mutex<()>,
    /// Restarts by hand under way: the end that one causes is not the end of a container that removes itself.
    restarts: std::sync::atomic::AtomicU32,
    /// Told to those who wait.
    pub(crate) milestones: watch::Sender<Milestones>,
}

/// How far a container's life has come; only ever grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Milestones {
    /// How many times a process ended for good (a restart by policy is not an end).
    pub(crate) exits: u64,
    /// How the last one ended.
    pub(crate) last: WaitOutcome,
    pub(crate) removed: bool,
}

impl Container {
    pub(crate) fn new(record: ContainerRecord) -> Self {
        let last = WaitOutcome { code: record.state.exit_code().unwrap_or(0), error: None };
        Self {
            id: record.id,
            record: Mutex::new(record),
            handle: Mutex::new(None),
            ended: Mutex::default(),
            lobby: Mutex::default(),
            roots: roots::Roots::default(),
            execs: Mutex::default(),
            last_wait: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            ending: tokio::sync::Mutex::default(),
            restarts: std::sync::atomic::AtomicU32::default(),
            milestones: watch::Sender::new(Milestones { exits: 0, last, removed: false }),
        }
    }

    /// A consistent copy of the record.
    pub(crate) fn record(&self) -> ContainerRecord {
        self.lock().clone()
    }

    /// Looks at the record without copying it.
    pub(crate) fn with_record<T>(&self, look: impl FnOnce(&ContainerRecord) -> T) -> T {
        look(&self.lock())
    }

    /// The state alone, cheaper than the record.
    pub(crate) fn state(&self) -> ContainerState {
        self.lock().state.clone()
    }

    pub(crate) fn name(&self) -> ContainerName {
        self.lock().name.clone()
    }

    fn lock(&self) -> MutexGuard<'_, ContainerRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn handle(&self) -> Option<Handle> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_handle(&self, handle: Option<Handle>) {
        let before = std::mem::replace(&mut *self.handle.lock().unwrap_or_else(PoisonError::into_inner), handle);
        if before.is_some() {
            *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = before;
        }
    }

    /// The process before the present one; its root may still be mounted.
    pub(crate) fn ended_handle(&self) -> Option<Handle> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until everything that the last process had is given back.
    async fn ended_whole(&self) {
        drop(self.ending.lock().await);
    }

    /// Changes the record in memory and answers the copy to store.
    pub(crate) fn change(&self, change: impl FnOnce(&mut ContainerRecord)) -> ContainerRecord {
        let mut record = self.lock();
        change(&mut record);
        record.clone()
    }
}

/// All containers, by id and by name.
#[derive(Default)]
pub(crate) struct Registry {
    index: RwLock<Index>,
}

#[derive(Default)]
struct Index {
    by_id: BTreeMap<ContainerId, Arc<Container>>,
    by_name: HashMap<ContainerName, ContainerId>,
}

impl Registry {
    /// Adds a container.
    ///
    /// # Errors
    /// The id of the container that has the name already.
    pub(crate) fn insert(&self, container: Arc<Container>) -> std::result::Result<(), Arc<Container>> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let name = container.name();
        if let Some(owner) = index.by_name.get(&name).and_then(|id| index.by_id.get(id)) {
            return Err(Arc::clone(owner));
        }
        index.by_name.insert(name, container.id);
        index.by_id.insert(container.id, container);
        Ok(())
    }

    pub(crate) fn remove(&self, container: &Container) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let name = container.name();
        if index.by_name.get(&name) == Some(&container.id) {
            index.by_name.remove(&name);
        }
        index.by_id.remove(&container.id);
    }

    /// Gives a container another name.
    pub(crate) fn rename(&self, container: &Container, new: ContainerName) -> std::result::Result<(), Arc<Container>> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = index.by_name.get(&new).and_then(|id| index.by_id.get(id)) {
            return Err(Arc::clone(owner));
        }
        let old = container.name();
        index.by_name.remove(&old);
        index.by_name.insert(new.clone(), container.id);
        container.change(|record| record.name = new);
        Ok(())
    }

    /// All containers, in the order of their ids.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).by_id.values().cloned().collect()
    }

    pub(crate) fn any_alive(&self) -> bool {
        self.all().iter().any(|container| container.lock().state.is_going_on())
    }

    /// The container that `text` means: a full id, a name (with or without its slash), or a unique prefix of an id.
    fn find(&self, text: &str) -> Result<Option<Arc<Container>>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(container) = text.parse::<ContainerId>().ok().and_then(|id| index.by_id.get(&id)) {
            return Ok(Some(Arc::clone(container)));
        }
        let bare = text.strip_prefix('/').unwrap_or(text);
        if let Some(id) = bare.parse::<ContainerName>().ok().and_then(|name| index.by_name.get(&name)) {
            return Ok(index.by_id.get(id).cloned());
        }
        let is_prefix = !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_prefix {
            return Ok(None);
        }
        let mut matching = index.by_id.values().filter(|container| container.id.to_string().starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(_), Some(_)) => Err(Error::AmbiguousPrefix { prefix: text.to_owned() }),
            (found, _) => Ok(found.cloned()),
        }
    }

    /// Names that exist, for "did you mean".
    fn names(&self) -> Vec<String> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.by_name.keys().map(ToString::to_string).collect()
    }
}

impl Engine {
    /// The container that `text` means.
    ///
    /// # Errors
    /// `NoSuchContainer` with the nearest name, or with what `text` is instead (an image, M-19); `AmbiguousPrefix`.
    pub(crate) fn container(&self, text: &str) -> Result<Arc<Container>> {
        if let Some(container) = self.inner.containers.find(text)? {
            return Ok(container);
        }
        Err(Error::NoSuchContainer { name: text.to_owned(), hint: self.explain_missing(text) })
    }

    /// What a name that is no container is instead.
    fn explain_missing(&self, text: &str) -> Option<String> {
        if let Ok(image) = self.inner.store.images().resolve(text) {
            let made = self.inner.containers.all().into_iter().map(|container| container.record()).filter(|record| record.image == image);
            return Some(match made.max_by_key(|record| record.created) {
                Some(record) => {
                    let state = describe(&record.state);
                    let name = &record.name;
                    let shell = if record.process.entrypoint.is_empty() { "-it" } else { "-it --entrypoint sh" };
                    let command = if record.process.entrypoint.is_empty() { " sh" } else { "" };
                    let shell = format!("For a shell: shipway run {shell} {text}{command}");
                    match record.state {
                        ContainerState::Running { .. } => {
                            format!("{text} is an image. Container {name} was made from it and runs: shipway exec -it {name} sh")
                        }
                        ContainerState::Exited { .. } => {
                            let ran = record.process.args().join(" ");
                            format!("{text} is an image. Container {name} was made from it but {state} - \"{ran}\" finished. {shell}")
                        }
                        _ => format!("{text} is an image. Container {name} was made from it and is {state}. {shell}"),
                    }
                }
                None => format!("{text} is an image, not a container; run it first: shipway run -it {text} sh"),
            });
        }
        let names = self.inner.containers.names();
        shipway_model::suggest::nearest(text, names.iter().map(String::as_str), 2).map(|name| format!("did you mean {name}?"))
    }
}

/// A state as a person says it: "exited (0)".
pub(crate) fn describe(state: &ContainerState) -> String {
    match state {
        ContainerState::Exited { code, finished, .. } => format!("exited ({code}) {}", finished.ago(crate::clock::now())),
        other => other.word().to_owned(),
    }
}
