//! The verbs: every thing a user can ask for, as one documented function of [`Engine`].
//!
//! **Lives here**: records of containers, images in use, builds; the order of steps with their undo; events; what happens at boot.
//! **Never here**: HTTP, JSON of any API, the terminal, environment variables.
//! **Nouns**: `Engine`, `ContainerRecord`, `ContainerState`, `CreateSpec`, `Event`, `BuildSpec`.
//! **Invariants**: the record is written before the hands act; a verb that was answered survives `kill -9` and a power cut;
//! only this crate composes `store`, `runtime` and `build`.
//! **Start reading at**: this file, then `containers/mod.rs` and `builds/build.rs`.

mod archives;
pub mod blocking;
pub mod builds;
pub mod clock;
pub mod config;
pub mod containers;
pub mod error;
pub mod events;
pub mod filters;
pub mod images;
pub mod networks;
mod reconcile;
pub mod system;
pub mod volumes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use shipway_runtime::{Runtime, RuntimeConfig};
use shipway_store::{Store, StoreConfig};

pub use config::{EngineConfig, NetworkDefaults};
pub use error::Error;
pub use events::{Event, Events, Subject};
pub use filters::Filters;

/// Values of lower floors that appear in the verbs' signatures, so that `server` needs no arrow to them.
pub mod values {
    pub use shipway_build::{
        BuildError, BuildOptions, ExtraHost, ExtraHostAddress, Flavour, LogStream, PlannedStep, ProgressEvent, ProgressSink, RunNetwork,
        VertexId,
    };
    pub use shipway_network::doctor::{Finding as NetworkFinding, Severity};
    pub use shipway_network::facts::{NetworkFacts, Origin, PublishedFacts, Reach};
    pub use shipway_network::{AddressPool, ClaimedPort, Error as NetworkError, Forwarding, HostFirewall, MacAddress, PlanRequest, Subnet};
    pub use shipway_registry::{Credentials, LayerCompression, TransferEvent, TransferState};
    pub use shipway_runtime::profile::{default_masked_paths, default_readonly_paths};
    pub use shipway_runtime::{BlockUsage, StreamKind};
    pub use shipway_store::{ChangeKind, FsckOptions, Referrer, Volume};
    pub use shipway_sys::path::FileKind;
}

/// The result of every verb.
pub type Result<T> = std::result::Result<T, Error>;

/// A running engine. Clones share it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
    pub(crate) hand: networks::Hand,
    pub(crate) networks: networks::Registry,
    pub(crate) events: Events,
    pub(crate) containers: containers::Registry,
    pub(crate) execs: containers::exec::Execs,
    pub(crate) builds: builds::Builds,
    pub(crate) volumes: volumes::Turns,
    pub(crate) remote: images::Remote,
    pub(crate) exchange: images::Exchange,
    /// Verbs being served; an on-demand daemon stays while there are any.
    active: AtomicUsize,
    /// The daemon is taking its containers down with it: nothing is started by policy any more.
    pub(crate) stopping: AtomicBool,
    started: shipway_model::Timestamp,
}

impl Engine {
    /// Opens the data root, starts the hands, and brings records and kernel back into agreement.
    ///
    /// # Errors
    /// The store's `Locked` when another daemon owns this data root; anything that makes the data unreadable.
    pub async fn start(config: EngineConfig) -> Result<Self> {
        containers::logging::check_defaults(&config.log_driver, &config.log_options)?;
        let root = config.data_root.clone();
        let store = blocking::files(move || Ok(Store::open(StoreConfig { root })?)).await?;
        let mut hands = RuntimeConfig::new(config.exec_root.clone(), system::cgroup_root_name(&config));
        hands.pool_size = config.pool_size;
        if let Some(binary) = &config.monitor_binary {
            hands.binary.clone_from(binary);
        }
        hands.stubs = Some(config.data_root.join("stubs"));
        let runtime = Runtime::start(hands).map_err(|error| Error::internal(format!("cannot start the runtime: {error}")))?;
        let hand = networks::Hand::open(&config)?;
        let remote = images::Remote::new(&config, &store)?;
        let engine = Self {
            inner: Arc::new(Inner {
                hand,
                networks: networks::Registry::default(),
                config,
                store,
                runtime,
                events: Events::default(),
                containers: containers::Registry::default(),
                execs: containers::exec::Execs::default(),
                builds: builds::Builds::default(),
                volumes: volumes::Turns::default(),
                remote,
                exchange: images::Exchange::default(),
                active: AtomicUsize::new(0),
                stopping: AtomicBool::new(false),
                started: clock::now(),
            }),
        };
        engine.read_networks().await?;
        engine.reconcile().await?;
        Ok(engine)
    }

    /// Settings this engine runs with.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    /// The store below, for reading.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The event bus.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// When this engine started.
    pub fn started(&self) -> shipway_model::Timestamp {
        self.inner.started
    }

    /// True when nothing runs and nobody is being served: an on-demand daemon may leave.
    pub fn is_idle(&self) -> bool {
        self.inner.active.load(Ordering::Acquire) == 0 && !self.inner.containers.any_alive()
    }

    /// True when the daemon is taking its containers down with it.
    pub(crate) fn is_stopping(&self) -> bool {
        self.inner.stopping.load(Ordering::Acquire)
    }

    /// Stops: parked monitors end, containers go on (or stop, without live restore), everything pending is made durable.
    pub async fn shutdown(&self) {
        if !self.inner.config.live_restore {
            self.stop_all().await;
        }
        let store = self.inner.store.clone();
        let engine = self.clone();
        let flushed = blocking::files(move || {
            engine.inner.builds.history.wait();
            Ok(store.flush()?)
        })
        .await;
        if let Err(error) = flushed {
            tracing::warn!(%error, "cannot make the last results durable; they will be made again");
        }
    }

    /// Marks a request as being served until the guard is dropped.
    pub fn serving(&self) -> Serving {
        self.inner.active.fetch_add(1, Ordering::AcqRel);
        Serving { engine: self.clone() }
    }
}

/// A request being served. An on-demand daemon stays while one exists.
pub struct Serving {
    engine: Engine,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.engine.inner.active.fetch_sub(1, Ordering::AcqRel);
    }
}
