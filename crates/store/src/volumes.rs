//! Volumes: named folders that outlive containers. The bytes are the user's: nothing here looks inside, nothing but `remove` deletes them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shipway_model::{Timestamp, VolumeName};
use shipway_state::{Db, IntentLog, Table};
use shipway_sys::durable::fault;

use crate::clock;
use crate::layout::create_dir;
use crate::memory::Shared;
use crate::open::Store;
use crate::usage::folder_size;
use crate::{Error, Result};

pub(crate) const VOLUMES: Table<String, VolumeRecord> = Table::new("volumes");

/// The only driver of this version.
const LOCAL: &str = "local";

/// Kind of the intent that stands while the folder of a removed volume is on its way to the trash.
const REMOVING: &str = "store.remove-volume";

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: VolumeName,
    /// Its driver, always `local`.
    pub driver: String,
    /// Options of the driver, as given.
    pub options: BTreeMap<String, String>,
    /// Labels, as given.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    driver: String,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    created: Timestamp,
}

/// The volumes of a store.
#[derive(Clone, Copy)]
pub struct Volumes<'a> {
    store: &'a Store,
}

impl Store {
    /// The volumes of this store.
    pub fn volumes(&self) -> Volumes<'_> {
        Volumes { store: self }
    }
}

impl Volume {
    pub(crate) fn from_record(name: &str, record: VolumeRecord) -> Result<Self> {
        let name = name.parse().map_err(|_| Error::corrupt(format!("volume \"{name}\""), "its name is not a volume name"))?;
        Ok(Self { name, driver: record.driver, options: record.options, labels: record.labels, created: record.created })
    }
}

impl Volumes<'_> {
    /// Makes a volume, or answers with the one that has the name already, as Docker does.
    ///
    /// # Errors
    /// `Conflict` when the name is taken by a volume of another driver or other options; `NotFound` when the driver is unknown.
    ///
    /// # Durability
    /// The folder and the record survive a power cut after it returns.
    pub fn create(
        &self,
        name: &VolumeName,
        driver: &str,
        options: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
    ) -> Result<Arc<Volume>> {
        let driver = if driver.is_empty() { LOCAL } else { driver };
        if driver != LOCAL {
            return Err(Error::not_found("volume driver", driver));
        }
        if let Some(existing) = self.get(name) {
            if existing.driver == driver && (options.is_empty() || existing.options == options) {
                return Ok(existing);
            }
            return Err(Error::Conflict { noun: "volume", name: name.to_string(), reason: "exists with other options".to_owned() });
        }
        let shared = self.store.shared();
        create_dir(&shared.layout.volume(&name.to_string()), 0o701)?;
        create_dir(&self.path(name), 0o755)?;
        shared.mark_dirty();
        fault::point("store.volume.created");
        let record = VolumeRecord { driver: driver.to_owned(), options, labels, created: clock::now() };
        let (rows, key) = (Arc::clone(shared), name.to_string());
        self.store.publish(move |txn| {
            // Someone may have been faster; the first one stays.
            let record = match txn.get(&VOLUMES, &key)? {
                Some(former) => former,
                None => {
                    txn.put(&VOLUMES, &key, &record)?;
                    record
                }
            };
            let volume = Arc::new(Volume::from_record(&key, record)?);
            let answer = Arc::clone(&volume);
            txn.on_commit(move || drop(rows.write().volumes.insert(key, volume)));
            Ok(answer)
        })
    }

    /// The volume with this name.
    pub fn get(&self, name: &VolumeName) -> Option<Arc<Volume>> {
        self.store.shared().read().volumes.get(&name.to_string()).cloned()
    }

    /// Every volume in order of names.
    pub fn list(&self) -> Vec<Arc<Volume>> {
        self.store.shared().read().volumes.values().cloned().collect()
    }

    /// Removes a volume: the record durably, the bytes in the background; false when there is none. Whether it is in use the caller knows.
    pub fn remove(&self, name: &VolumeName) -> Result<bool> {
        let (shared, key) = (Arc::clone(self.store.shared()), name.to_string());
        let intent = self.store.db().write(move |txn| -> Result<_> {
            if !txn.remove(&VOLUMES, &key)? {
                return Ok(None);
            }
            // A volume's folder without a row is otherwise never touched; this says that this one is meant to go.
            let intent = IntentLog::open(txn, REMOVING, &key, serde_json::Value::Null)?;
            txn.on_commit(move || {
                shared.write().volumes.remove(&key);
                fault::point("store.volume.removed");
                shared.trash.take_or_log(&shared.layout.volume(&key));
            });
            Ok(Some(intent))
        })?;
        let Some(intent) = intent else { return Ok(false) };
        self.store.db().write_lazy(move |txn| IntentLog::close(txn, intent))?;
        Ok(true)
    }

    /// The folder that is mounted into containers.
    pub fn path(&self, name: &VolumeName) -> PathBuf {
        self.store.shared().layout.volume(&name.to_string()).join("_data")
    }

    /// Bytes and inodes of a volume.
    pub fn usage(&self, name: &VolumeName) -> Result<(u64, u64)> {
        folder_size(&self.path(name))
    }
}

/// At start: the folders of volumes whose removal was interrupted go to the trash.
pub(crate) fn finish_removals(db: &Db, shared: &Shared) -> Result<()> {
    for intent in db.read(IntentLog::pending)? {
        if intent.kind != REMOVING {
            continue;
        }
        if !shared.read().volumes.contains_key(&intent.subject) {
            shared.trash.take(&shared.layout.volume(&intent.subject))?;
        }
        db.write_lazy(move |txn| IntentLog::close(txn, intent.id))?;
    }
    Ok(())
}

impl std::fmt::Debug for Volumes<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Volumes")
    }
}
