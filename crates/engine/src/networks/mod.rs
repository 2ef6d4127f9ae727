//! Verbs on networks, and the wiring of containers into them.
//!
//! A network is one record, durable and in memory; its kernel form is the hand's. A container's endpoints are part of the container's record.
//! What must stay true: the record is written before the hand acts; whoever makes or removes a network holds the registry's turn; a network
//! whose endpoints live is never removed.

mod attach;
mod configuration;
mod connect;
mod create;
mod default_route;
mod doctor;
mod endpoint_options;
mod hand;
mod inspect;
mod links;
mod names;
mod options;
mod predefined;
pub(crate) mod record;
mod remove;
mod restore;
mod stacked;
mod step;
mod wishes;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use shipway_model::NetworkId;
use shipway_state::Table;
use tokio::sync::watch;

pub use create::{NetworkCreated, NetworkSpec};
pub use doctor::Diagnosis;
pub(crate) use hand::Hand;
pub use inspect::{Member, NetworkView};
pub(crate) use links::check_link;
pub use links::legacy_link_names;
pub use names::dns_names;
pub use record::{AddressRecord, AttachedEndpoint, EndpointRecord, EndpointWish, NetworkDriver, NetworkRecord, PoolRecord};
pub(crate) use step::WiredStep;

use crate::{Engine, Error, Result};

/// One row per network, the predefined bridge included.
pub(crate) const NETWORKS: Table<NetworkId, NetworkRecord> = Table::new("networks");

/// The network containers join when nobody says otherwise.
pub(crate) const BRIDGE: &str = "bridge";
/// The host's own stack.
pub(crate) const HOST: &str = "host";
/// Loopback only.
pub(crate) const NONE: &str = "none";

/// True for the names of the networks that are always there.
pub(crate) fn is_predefined(name: &str) -> bool {
    matches!(name, BRIDGE | HOST | NONE)
}

/// All networks, by id.
pub(crate) struct Registry {
    by_id: RwLock<BTreeMap<NetworkId, Arc<NetworkRecord>>>,
    /// Held by whoever makes or removes networks.
    turn: tokio::sync::Mutex<()>,
    /// Read by those who join a network, written by those who look whether anybody is in one.
    joining: RwLock<()>,
    /// True once boot has said again who has which address and port; nobody claims before.
    restored: watch::Sender<bool>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            by_id: RwLock::default(),
            turn: tokio::sync::Mutex::default(),
            joining: RwLock::default(),
            restored: watch::Sender::new(false),
        }
    }
}

impl Registry {
    fn insert(&self, record: NetworkRecord) -> Arc<NetworkRecord> {
        let record = Arc::new(record);
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).insert(record.id, Arc::clone(&record));
        record
    }

    /// Until the guard is dropped nobody joins a network.
    fn alone(&self) -> std::sync::RwLockWriteGuard<'_, ()> {
        self.joining.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the guard is dropped no network is removed.
    fn joining(&self) -> std::sync::RwLockReadGuard<'_, ()> {
        self.joining.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, id: NetworkId) {
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    pub(crate) fn all(&self) -> Vec<Arc<NetworkRecord>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn get(&self, id: NetworkId) -> Option<Arc<NetworkRecord>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The network of exactly this name.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<NetworkRecord>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).values().find(|network| network.name.as_str() == name).cloned()
    }
}

impl Engine {
    /// The network that `text` means: a full id, a name, or a unique prefix of an id.
    ///
    /// # Errors
    /// `NotFound` with the nearest name; `Invalid` for a prefix that several have.
    pub(crate) fn network(&self, text: &str) -> Result<Arc<NetworkRecord>> {
        let all = self.inner.networks.all();
        let text = if text == "default" { BRIDGE } else { text };
        if let Some(found) = text.parse::<NetworkId>().ok().and_then(|id| all.iter().find(|network| network.id == id)) {
            return Ok(Arc::clone(found));
        }
        if let Some(found) = all.iter().find(|network| network.name.as_str() == text) {
            return Ok(Arc::clone(found));
        }
        let mut matching = all.iter().filter(|network| !text.is_empty() && network.id.to_string().starts_with(text));
        match (matching.next(), matching.count()) {
            (Some(found), 0) => Ok(Arc::clone(found)),
            (Some(_), more) => Err(Error::invalid(format!("network {text} is ambiguous ({} matches found based on ID prefix)", more + 1))),
            (None, _) => {
                let nearest = shipway_model::suggest::nearest(text, all.iter().map(|network| network.name.as_str()), 2);
                Err(Error::no_such_network(text, nearest.map(|name| format!("did you mean {name}?"))))
            }
        }
    }

    /// Publishes an event about a network.
    fn publish_network(&self, network: &NetworkRecord, action: &str, container: Option<shipway_model::ContainerId>) {
        let mut attributes =
            BTreeMap::from([("name".to_owned(), network.name.to_string()), ("type".to_owned(), network.driver.word().to_owned())]);
        if let Some(container) = container {
            attributes.insert("container".to_owned(), container.to_string());
        }
        self.inner.events.publish(crate::Subject::Network, action, network.id.to_string(), attributes);
    }
}
