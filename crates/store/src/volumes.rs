//! Volumes: named folders that outlive containers. The bytes are the user's: nothing but `remove` deletes them.
//!
//! `volumes/<name>/_data` is what containers see; `volumes/<name>/fill`, for moments only, is what an image puts into an empty one (`volumes/fill.rs`).
//! Over `_data` a filesystem is mounted while containers use a volume with the options `type`, `device`, `o` (`volumes/local.rs`).
//!
//! Whoever makes, fills, mounts or removes a volume holds its turn; the engine keeps the turns.

mod copy;
mod fill;
mod local;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use shipway_archive::compress::decoder;
use shipway_archive::unpack::{Options, unpack_whole};
use shipway_model::{Timestamp, VolumeName};
use shipway_state::{Db, IntentLog, Table, WriteTxn};
use shipway_sys::durable::fault;
use shipway_sys::path::Root;

use crate::clock;
use crate::error::Doing as _;
use crate::layout::{create_dir, names_in};
use crate::memory::{PendingItem, Shared};
use crate::open::Store;
use crate::usage::folder_size;
use crate::{Error, Result};

pub use fill::{AtTarget, Seed};

pub(crate) const VOLUMES: Table<String, VolumeRecord> = Table::new("volumes");

/// The only driver of this version.
const LOCAL: &str = "local";

/// Kind of the intent that stands while what an image has is moved into a volume.
const FILLING: &str = "store.fill-volume";

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
    /// `Conflict` when the name is taken by a volume of another driver or other options; `NotFound` when the driver is unknown; `Invalid` for an
    /// option the driver does not know.
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
        let wish = VolumeWish { name: name.clone(), driver: driver.to_owned(), options, labels, seed: None };
        let prepared = self.prepare(vec![wish])?;
        if prepared.is_nothing_new() {
            return self.get(name).ok_or_else(|| Error::not_found("volume", name));
        }
        let rows = prepared.clone();
        self.store.publish(move |txn| rows.record(txn))?;
        self.finish(&prepared)?;
        self.get(name).ok_or_else(|| Error::not_found("volume", name))
    }

    /// Makes the folders of volumes that a container is about to use, and puts together what empty ones are filled with. Nothing is visible before
    /// [`PreparedVolumes::record`], and what is not recorded is gone with the last copy of the answer.
    ///
    /// # Errors
    /// As [`Volumes::create`], for each.
    pub fn prepare(&self, wishes: Vec<VolumeWish>) -> Result<PreparedVolumes> {
        let shared = self.store.shared();
        let mut prepared = Preparation { shared: Arc::clone(shared), items: Vec::new(), recorded: AtomicBool::new(false) };
        for wish in wishes {
            let item = self.prepare_one(wish)?;
            prepared.items.push(item);
        }
        Ok(PreparedVolumes(Arc::new(prepared)))
    }

    fn prepare_one(&self, wish: VolumeWish) -> Result<Item> {
        let shared = self.store.shared();
        let driver = if wish.driver.is_empty() { LOCAL } else { &wish.driver };
        if driver != LOCAL {
            return Err(Error::not_found("volume driver", driver));
        }
        let existing = self.get(&wish.name);
        if let Some(existing) = &existing
            && (existing.driver != driver || !wish.options.is_empty() && existing.options != wish.options)
        {
            let reason = "exists with other options".to_owned();
            return Err(Error::Conflict { noun: "volume", name: wish.name.to_string(), reason });
        }
        let record = match existing {
            Some(_) => None,
            None => {
                local::check(&wish.options)?;
                create_dir(&shared.layout.volume(wish.name.as_str()), 0o701)?;
                create_dir(&self.path(&wish.name), 0o755)?;
                shared.mark_dirty();
                fault::point("store.volume.created");
                Some(VolumeRecord { driver: driver.to_owned(), options: wish.options, labels: wish.labels, created: clock::now() })
            }
        };
        let mut item = Item { name: wish.name, record, staged: false };
        if let Some(seed) = wish.seed
            && fill::is_empty(&self.path(&item.name))?
        {
            let stage = self.fresh_stage(&item.name, 0o700)?;
            item.staged = true;
            if let Err(error) = seed.copy_to(&stage) {
                item.discard(shared);
                return Err(error);
            }
            shared.mark_dirty();
            fault::point("store.volume.staged");
        }
        Ok(item)
    }

    /// Puts the files of an archive (compressed or not) into a volume, which is made when it does not exist.
    ///
    /// # Errors
    /// `Conflict` when something is in it; what is wrong with the archive. Then the volume is as it was.
    ///
    /// # Durability
    /// All of it survives a power cut after it returns; a crash before leaves nothing of it.
    pub fn import(&self, name: &VolumeName, archive: impl Read + Send) -> Result<Arc<Volume>> {
        self.fill_with(name, |stage| {
            let options = Options::default();
            let (_, tar) = decoder(archive, &options.limits)?;
            unpack_whole(tar, stage, &options)?;
            Ok(())
        })
    }

    /// Copies everything in the volume `name` into the volume `new`, which is made when it does not exist. Blocks are shared where the filesystem can.
    ///
    /// # Errors
    /// As [`Volumes::import`]; `NotFound`.
    pub fn clone_to(&self, name: &VolumeName, new: &VolumeName) -> Result<Arc<Volume>> {
        let source = self.open(name)?.top().doing(|| format!("open volume \"{name}\""))?;
        self.fill_with(new, |stage| copy::copy_tree(source, stage).doing(|| format!("copy volume \"{name}\"")))
    }

    /// Lets `put` put the first content of a volume together.
    fn fill_with(&self, name: &VolumeName, put: impl FnOnce(&Root) -> Result<()>) -> Result<Arc<Volume>> {
        let shared = self.store.shared();
        let wish = VolumeWish { name: name.clone(), driver: String::new(), options: BTreeMap::new(), labels: BTreeMap::new(), seed: None };
        let item = self.prepare_one(wish)?;
        let mut preparation = Preparation { shared: Arc::clone(shared), items: vec![item], recorded: AtomicBool::new(false) };
        if !fill::is_empty(&self.path(name))? {
            let reason = "has something in it already".to_owned();
            return Err(Error::Conflict { noun: "volume", name: name.to_string(), reason });
        }
        let stage = self.fresh_stage(name, 0o755)?;
        preparation.items[0].staged = true;
        put(&Root::open(&stage).doing(|| format!("open {stage:?}"))?)?;
        shared.mark_dirty();
        fault::point("store.volume.staged");
        let prepared = PreparedVolumes(Arc::new(preparation));
        let rows = prepared.clone();
        self.store.publish(move |txn| rows.record(txn))?;
        self.finish(&prepared)?;
        self.get(name).ok_or_else(|| Error::not_found("volume", name))
    }

    /// An empty folder in which the first content of a volume is put together.
    fn fresh_stage(&self, name: &VolumeName, mode: u32) -> Result<PathBuf> {
        let shared = self.store.shared();
        let stage = fill::stage_of(&shared.layout.volume(name.as_str()));
        if stage.exists() {
            // That of the time before goes with its note, or was left by an attempt that failed.
            self.store.publish(|_| Ok(()))?;
            shared.trash.take(&stage)?;
        }
        create_dir(&stage, mode)?;
        Ok(stage)
    }

    /// Moves what was put together into the volumes, after the transaction that recorded them.
    pub fn finish(&self, prepared: &PreparedVolumes) -> Result<()> {
        let shared = self.store.shared();
        for item in prepared.0.items.iter().filter(|item| item.staged) {
            let folder = shared.layout.volume(item.name.as_str());
            fill::move_in(&fill::stage_of(&folder), &self.path(&item.name))?;
            shared.mark_dirty();
            // The note is struck out only once what it speaks of is on the disk.
            shared.write().pending.push(PendingItem::Filled(item.name.to_string()));
        }
        Ok(())
    }

    /// The volume with this name.
    pub fn get(&self, name: &VolumeName) -> Option<Arc<Volume>> {
        self.store.shared().read().volumes.get(name.as_str()).cloned()
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
                let _moving = shared.moving();
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
        self.store.shared().layout.volume(name.as_str()).join("_data")
    }

    /// Opens the folder that is mounted into containers; a volume with driver options is mounted first, when it is not yet.
    ///
    /// # Errors
    /// `NotFound`; `Mount` in Docker's words when the driver's options cannot be mounted.
    pub fn open(&self, name: &VolumeName) -> Result<Root> {
        let volume = self.get(name).ok_or_else(|| Error::not_found("volume", name))?;
        let path = self.path(name);
        if local::has_device(&volume.options) && !local::is_mounted(&path)? {
            local::mount(&volume.options, &path)?;
        }
        Root::open(&path).doing(|| format!("open volume \"{name}\""))
    }

    /// Takes away what was mounted over a volume's folder for its driver options; nothing happens when nothing was.
    pub fn unmount(&self, name: &VolumeName) -> Result<()> {
        let Some(volume) = self.get(name) else { return Ok(()) };
        if !local::has_device(&volume.options) {
            return Ok(());
        }
        local::unmount(&self.path(name))
    }

    /// Bytes and inodes of a volume.
    pub fn usage(&self, name: &VolumeName) -> Result<(u64, u64)> {
        folder_size(&self.path(name))
    }
}

/// What a container asks of a volume.
#[derive(Debug, Clone)]
pub struct VolumeWish {
    /// Its name.
    pub name: VolumeName,
    /// Driver of one that is made for this; `local` when empty.
    pub driver: String,
    /// Options for the driver.
    pub options: BTreeMap<String, String>,
    /// Labels of one that is made for this.
    pub labels: BTreeMap<String, String>,
    /// What it gets when it is empty.
    pub seed: Option<Seed>,
}

/// Volumes about to be recorded. Copies are the same thing; dropping the last unrecorded one takes back what was made.
#[derive(Clone)]
pub struct PreparedVolumes(Arc<Preparation>);

struct Preparation {
    shared: Arc<Shared>,
    items: Vec<Item>,
    recorded: AtomicBool,
}

struct Item {
    name: VolumeName,
    /// Of a new one.
    record: Option<VolumeRecord>,
    staged: bool,
}

impl PreparedVolumes {
    /// Writes the rows of new volumes and notes which are to be filled.
    pub fn record(&self, txn: &mut WriteTxn<'_>) -> Result<()> {
        for item in &self.0.items {
            let key = item.name.to_string();
            if let Some(record) = &item.record {
                // Someone may have been faster; the first one stays.
                let record = match txn.get(&VOLUMES, &key)? {
                    Some(former) => former,
                    None => {
                        txn.put(&VOLUMES, &key, record)?;
                        record.clone()
                    }
                };
                let volume = Arc::new(Volume::from_record(&key, record)?);
                let (rows, name) = (Arc::clone(&self.0.shared), key.clone());
                txn.on_commit(move || drop(rows.write().volumes.insert(name, volume)));
            }
            if item.staged {
                IntentLog::open(txn, FILLING, &key, serde_json::Value::Null)?;
            }
        }
        let this = self.clone();
        txn.on_commit(move || this.0.recorded.store(true, Ordering::Release));
        Ok(())
    }

    /// The names of those that did not exist before.
    pub fn new_names(&self) -> Vec<VolumeName> {
        self.0.items.iter().filter(|item| item.record.is_some()).map(|item| item.name.clone()).collect()
    }

    /// The names of those that recording changes: made or filled.
    pub fn changed_names(&self) -> Vec<VolumeName> {
        self.0.items.iter().filter(|item| item.record.is_some() || item.staged).map(|item| item.name.clone()).collect()
    }

    /// True when recording would change nothing.
    pub fn is_nothing_new(&self) -> bool {
        self.0.items.iter().all(|item| item.record.is_none() && !item.staged)
    }
}

impl Item {
    /// Takes back what was made for it.
    fn discard(&self, shared: &Shared) {
        let folder = shared.layout.volume(self.name.as_str());
        if self.staged {
            shared.trash.take_or_log(&fill::stage_of(&folder));
        }
        if self.record.is_some() && !shared.read().volumes.contains_key(self.name.as_str()) {
            shared.trash.take_or_log(&folder);
        }
    }
}

impl Drop for Preparation {
    fn drop(&mut self) {
        if !self.recorded.load(Ordering::Acquire) {
            for item in &self.items {
                item.discard(&self.shared);
            }
        }
    }
}

/// Strikes out the notes that a volume is being filled, in the transaction after the sync; only then the stage goes.
pub(crate) fn filled(shared: &Arc<Shared>, txn: &mut WriteTxn<'_>, name: &str) -> Result<()> {
    let (later, stage) = (Arc::clone(shared), fill::stage_of(&shared.layout.volume(name)));
    txn.on_commit(move || later.trash.take_or_log(&stage));
    for intent in IntentLog::pending(txn)?.into_iter().filter(|intent| intent.kind == FILLING && intent.subject == name) {
        IntentLog::close(txn, intent.id)?;
    }
    Ok(())
}

/// At start: what was interrupted is finished. Folders of volumes being removed go to the trash, volumes being filled get the rest.
pub(crate) fn finish_interrupted(db: &Db, shared: &Shared) -> Result<()> {
    for intent in db.read(IntentLog::pending)? {
        let folder = shared.layout.volume(&intent.subject);
        match intent.kind.as_str() {
            REMOVING => {
                if !shared.read().volumes.contains_key(&intent.subject) {
                    shared.trash.take(&folder)?;
                }
                db.write_lazy(move |txn| IntentLog::close(txn, intent.id))?;
            }
            FILLING => {
                fill::move_in(&fill::stage_of(&folder), &folder.join("_data"))?;
                shared.mark_dirty();
                shared.write().pending.push(PendingItem::Filled(intent.subject));
            }
            _ => {}
        }
    }
    // What was put together and promised to nobody.
    let finished: Vec<String> = shared.read().pending.filled().collect();
    for name in names_in(&shared.layout.volumes())?.into_iter().filter(|name| !finished.contains(name)) {
        shared.trash.take(&fill::stage_of(&shared.layout.volume(&name)))?;
    }
    Ok(())
}

impl std::fmt::Debug for Volumes<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Volumes")
    }
}
