//! Verbs on volumes, one file per verb, and the turns that keep two of them from meeting on one volume.
//!
//! Which containers use a volume is read from the containers' own records; nothing is counted twice.

mod create;
mod list;
mod portable;
mod prune;
mod remove;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use shipway_model::VolumeName;
use shipway_store::Volume;
use tokio::sync::OwnedMutexGuard;

pub use create::VolumeSpec;
pub(crate) use create::{made_up_name, parse_name, refused};

use crate::containers::Container;
use crate::{Engine, Subject};

/// The label dockerd gives to volumes nobody named; `volume prune` looks for it.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// One turn per volume that somebody works on.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<VolumeName, Arc<tokio::sync::Mutex<()>>>>);

/// The turns of some volumes, until dropped.
pub(crate) struct Turn {
    _guards: Vec<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the turns of all of `names`. They are taken in the order of the names, so that two who want the same ones cannot block each other.
    pub(crate) async fn take(&self, names: &BTreeSet<VolumeName>) -> Turn {
        let mut guards = Vec::with_capacity(names.len());
        for name in names {
            let turn = {
                let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
                Arc::clone(turns.entry(name.clone()).or_default())
            };
            guards.push(turn.lock_owned().await);
        }
        Turn { _guards: guards }
    }
}

impl Engine {
    /// The containers whose record names the volume, running or not.
    pub(crate) fn users_of_volume(&self, name: &VolumeName) -> Vec<Arc<Container>> {
        self.inner.containers.all().into_iter().filter(|container| container.record().uses_volume(name)).collect()
    }

    /// How many containers use each volume.
    pub fn volume_users(&self) -> HashMap<VolumeName, usize> {
        let mut users = HashMap::new();
        for container in self.inner.containers.all() {
            for name in container.record().volume_names() {
                *users.entry(name).or_default() += 1;
            }
        }
        users
    }

    /// Publishes what happened to a volume.
    pub(crate) fn publish_volume(&self, volume: &Volume, action: &str, mut attributes: BTreeMap<String, String>) {
        attributes.insert("driver".to_owned(), volume.driver.clone());
        self.inner.events.publish(Subject::Volume, action, volume.name.to_string(), attributes);
    }
}
