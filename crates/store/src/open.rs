//! Opening a data root: taking the lock, reading the rows, sweeping what a dead process left.
//!
//! What is on disk without a row was never acknowledged and goes to the trash, except for blobs, which a pull may have fetched with patience: they wait
//! among the downloads for the next one. What has a row but no bytes is remembered as damaged, reported by fsck,
//! and refused where it would be used. The database is the only thing trusted.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use shipway_model::LayerId;
use shipway_state::{Db, ReadTxn};
use shipway_sys::durable::Barrier;

use crate::blobs::BLOBS;
use crate::cache::CACHE;
use crate::error::Doing as _;
use crate::holds::HOLDS;
use crate::images::{CONFIGS, IMAGES, Image, TAGS};
use crate::layers::{LAYERS, Layer};
use crate::layout::{Layout, names_in};
use crate::memory::{Memory, Shared, Tag};
use crate::representations::REPRESENTATIONS;
use crate::snapshots::{KEPT, random};
use crate::trash::Trash;
use crate::volumes::{VOLUMES, Volume};
use crate::worker::Worker;
use crate::writeback::Writeback;
use crate::{Error, Result, publish};

/// What the lock file says about its holder at most.
const LOCK_TEXT: u64 = 256;
/// How long the lock of a dead holder is waited for. A child it was just making keeps the lock until it executes its program, which closes it.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// Where the store is.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The data root; made when it is not there.
    pub root: PathBuf,
}

/// Everything content-addressed or mounted of one data root. Clones share it; the lock is let go with the last one.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// One open store. Fields are dropped in this order: threads first, the lock last.
pub(crate) struct Inner {
    pub(crate) publisher: Worker<()>,
    pub(crate) barrier: Barrier,
    pub(crate) db: Db,
    pub(crate) shared: Arc<Shared>,
    pub(crate) complaints: Vec<String>,
    _lock: File,
}

impl Store {
    /// Opens a data root, making it when it is new.
    ///
    /// # Errors
    /// `Locked` when another process has it; `State` with `NewerVersion` when a newer program wrote it; `NoSpace`.
    ///
    /// # Cost
    /// One read of every row and two stats for each layer; no fsync for a root that exists.
    pub fn open(config: StoreConfig) -> Result<Self> {
        let session = LayerId::from_random(random()).to_string();
        let layout = Layout::new(config.root, session);
        let new = layout.create()?;
        let lock = take_lock(&layout)?;
        refuse_lost_database(&layout)?;
        let db = Db::open(&layout.database())?;
        let (mut memory, complaints) = load(&db)?;
        let trash = Trash::open(layout.clone())?;
        find_damage(&layout, &mut memory)?;
        sweep(&layout, &memory, &trash)?;
        crate::downloads::sweep(&layout, &trash, crate::clock::now())?;
        for complaint in &complaints {
            tracing::error!(complaint, "a record of the store cannot be read");
        }
        let root = File::open(layout.root()).doing(|| format!("open {:?}", layout.root()))?;
        let barrier = Barrier::new(&root).doing(|| "prepare syncing".to_owned())?;
        let writeback = Writeback::start(layout.root())?;
        let shared = Arc::new(Shared::new(layout, trash, writeback, memory));
        if new {
            shared.mark_dirty();
        }
        crate::volumes::finish_interrupted(&db, &shared)?;
        // The publisher needs the store and the store owns the publisher; it gets a weak handle, so that it keeps nothing alive.
        let (sender, receiver) = std::sync::mpsc::channel::<std::sync::Weak<Inner>>();
        let publisher = Worker::start("store-publish", move |queue| {
            if let Ok(store) = receiver.recv() {
                publish::serve(&queue, &store);
            }
        })?;
        let inner = Arc::new(Inner { publisher, barrier, db, shared, complaints, _lock: lock });
        drop(sender.send(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// The database, in which the engine keeps its own tables too, so that one transaction spans a container and its holds.
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    /// The data root.
    pub fn root(&self) -> &Path {
        self.shared().layout.root()
    }

    /// Folder for the engine's files of one container; the engine makes it.
    pub fn container_dir(&self, id: &str) -> PathBuf {
        self.shared().layout.containers().join(id)
    }

    /// Folder for the event log of one build; the engine makes it.
    pub fn build_dir(&self, id: &str) -> PathBuf {
        self.shared().layout.builds().join(id)
    }

    /// Folder of the registry that shares our blobs, if there is one.
    pub fn registry_dir(&self) -> PathBuf {
        self.shared().layout.registry()
    }

    /// A path below `tmp/` that nobody used before; whatever is made there is swept at the next start.
    pub fn scratch_path(&self) -> PathBuf {
        self.shared().layout.fresh_tmp()
    }

    /// Moves a folder of ours to the trash; its bytes are deleted in the background.
    pub fn throw_away(&self, path: &Path) -> Result<()> {
        self.shared().trash.take(path)
    }

    /// Why the store no longer writes, when the disk failed.
    pub fn degraded(&self) -> Option<String> {
        self.db().degraded()
    }

    /// Publishes what is pending, for an orderly end. Other clones stay usable.
    pub fn flush(&self) -> Result<()> {
        let shared = Arc::clone(self.shared());
        self.publish(move |txn| crate::cache::put_touches(&shared, txn))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Store").field("root", &self.root()).finish_non_exhaustive()
    }
}

/// flock(2) on the lock file: gone with the process however it ends, so there is nothing stale to clean.
fn take_lock(layout: &Layout) -> Result<File> {
    let path = layout.lock();
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).doing(|| format!("open {path:?}"))?;
    let begun = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) => {
                let (pid, text) = holder(&mut file);
                if is_alive(pid) || begun.elapsed() > LOCK_PATIENCE {
                    return Err(Error::Locked { root: layout.root().to_owned(), pid, text });
                }
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(errno) => return Err(errno).doing(|| format!("flock({path:?})")),
        }
    }
    file.set_len(0).doing(|| format!("truncate {path:?}"))?;
    file.rewind().doing(|| format!("seek {path:?}"))?;
    // On a full disk the text may not fit; the lock holds all the same.
    drop(write!(file, "{} shipway {}", std::process::id(), env!("CARGO_PKG_VERSION")));
    Ok(file)
}

/// What the holder of the lock wrote: its process number and name. Only for the message and for our patience; unreadable means nobody.
fn holder(file: &mut File) -> (u32, String) {
    let mut text = String::new();
    if file.rewind().is_ok() {
        drop(file.take(LOCK_TEXT).read_to_string(&mut text));
    }
    let (pid, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    (pid.parse().unwrap_or(0), rest.to_owned())
}

/// True unless the process is gone or only waits to be buried (proc_pid_stat(5): the state stands behind the name in parentheses).
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Refuses a root whose database was lost. The sweep below would take a new, empty one at its word and delete every layer there is.
fn refuse_lost_database(layout: &Layout) -> Result<()> {
    let path = layout.database();
    // An existing database is never empty: its first page is synced before anything else is written below the root.
    if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
        return Ok(());
    }
    for folder in [layout.layers(), layout.volumes(), layout.containers()] {
        let count = names_in(&folder)?.len();
        if count > 0 {
            return Err(Error::corrupt(
                format!("the database {path:?}"),
                format!("it is missing or empty, although {folder:?} has {count} entries"),
            ));
        }
    }
    Ok(())
}

/// Reads every row. Rows that cannot be read are left out and told, so that one bad record does not hide all the others.
fn load(db: &Db) -> Result<(Memory, Vec<String>)> {
    db.read(|txn| -> Result<_> {
        let mut memory = Memory::default();
        let mut complaints = Vec::new();
        load_layers(txn, &mut memory, &mut complaints)?;
        load_images(txn, &mut memory, &mut complaints)?;
        let (blobs, errors) = txn.scan_lenient(&BLOBS)?;
        memory.blobs.extend(blobs);
        complain(&mut complaints, errors);
        let (representations, errors) = txn.scan_lenient(&REPRESENTATIONS)?;
        representations.into_iter().for_each(|(diff_id, forms)| memory.set_representations(diff_id, forms));
        complain(&mut complaints, errors);
        let (records, errors) = txn.scan_lenient(&CACHE)?;
        records.into_iter().for_each(|(key, entry)| memory.cache.add(key, entry));
        complain(&mut complaints, errors);
        let (holds, errors) = txn.scan_lenient(&HOLDS)?;
        memory.holds.extend(holds);
        complain(&mut complaints, errors);
        let (kept, errors) = txn.scan_lenient(&KEPT)?;
        memory.kept.extend(kept);
        complain(&mut complaints, errors);
        let (volumes, errors) = txn.scan_lenient(&VOLUMES)?;
        complain(&mut complaints, errors);
        for (name, record) in volumes {
            match Volume::from_record(&name, record) {
                Ok(volume) => drop(memory.volumes.insert(name, Arc::new(volume))),
                Err(error) => complaints.push(error.to_string()),
            }
        }
        Ok((memory, complaints))
    })
}

fn load_layers(txn: &ReadTxn<'_>, memory: &mut Memory, complaints: &mut Vec<String>) -> Result<()> {
    let (layers, errors) = txn.scan_lenient(&LAYERS)?;
    complain(complaints, errors);
    for (id, record) in layers {
        match Layer::from_record(id, &record) {
            Ok(layer) => memory.add_layer(Arc::new(layer)),
            Err(error) => complaints.push(error.to_string()),
        }
    }
    Ok(())
}

fn load_images(txn: &ReadTxn<'_>, memory: &mut Memory, complaints: &mut Vec<String>) -> Result<()> {
    let (images, errors) = txn.scan_lenient(&IMAGES)?;
    complain(complaints, errors);
    for (id, record) in images {
        let image = match txn.get(&CONFIGS, &id)? {
            Some(config) => Image::from_record(id, record, &config),
            None => Err(Error::corrupt(format!("image {id}"), "its config is missing")),
        };
        match image {
            Ok(image) => drop(memory.images.insert(id, Arc::new(image))),
            Err(error) => complaints.push(error.to_string()),
        }
    }
    let (tags, errors) = txn.scan_lenient(&TAGS)?;
    complain(complaints, errors);
    for (key, record) in tags {
        match key.parse() {
            Ok(reference) => memory.add_tag(key, Tag { reference, image: record.image, at: record.at }),
            Err(_) => complaints.push(format!("name \"{key}\" is not a reference")),
        }
    }
    Ok(())
}

fn complain(complaints: &mut Vec<String>, errors: Vec<shipway_state::Error>) {
    complaints.extend(errors.into_iter().map(|error| error.to_string()));
}

/// The cheap check: has every layer with a row its folder and an index of the right length?
fn find_damage(layout: &Layout, memory: &mut Memory) -> Result<()> {
    let present: HashSet<String> = names_in(&layout.layers())?.into_iter().collect();
    for (id, layer) in &memory.layers {
        if let Some(reason) = damage_of(layout, layer, &present) {
            tracing::error!(layer = %id, reason, "a layer is damaged");
            memory.damaged.insert(*id, reason);
        }
    }
    let sound = |id: &LayerId| memory.layers.contains_key(id) && !memory.damaged.contains_key(id);
    let baseless: Vec<(LayerId, LayerId)> =
        memory.layers.values().filter_map(|layer| Some((layer.id, layer.base.filter(|base| !sound(base))?))).collect();
    for (id, base) in baseless {
        memory.damaged.entry(id).or_insert_with(|| format!("layer {base}, from which it differs, is missing or damaged"));
    }
    Ok(())
}

fn damage_of(layout: &Layout, layer: &Layer, present: &HashSet<String>) -> Option<String> {
    if !present.contains(&layer.id.to_string()) {
        return Some("its folder is missing".to_owned());
    }
    if !layout.diff(&layer.id).is_dir() {
        return Some("its folder has no tree".to_owned());
    }
    match std::fs::metadata(layout.index(&layer.id)) {
        Ok(metadata) if metadata.len() == layer.index_size => None,
        Ok(metadata) => Some(format!("its index has {} bytes instead of {}", metadata.len(), layer.index_size)),
        Err(_) => Some("its index is missing".to_owned()),
    }
}

/// Takes away what has no row: unpublished layers and blobs, snapshots of builds, unfinished ingests, half-made volumes.
fn sweep(layout: &Layout, memory: &Memory, trash: &Trash) -> Result<()> {
    let known_layer = |name: &str| name.parse().is_ok_and(|id: LayerId| memory.layers.contains_key(&id));
    let known_blob = |name: &str| format!("sha256:{name}").parse().is_ok_and(|digest| memory.blobs.contains_key(&digest));
    sweep_folder(&layout.layers(), trash, known_layer)?;
    crate::downloads::take_back(layout, known_blob)?;
    sweep_folder(&layout.blobs(), trash, known_blob)?;
    sweep_folder(&layout.actives(), trash, |name| memory.kept.contains_key(name))?;
    sweep_folder(&layout.tmp(), trash, |_| false)?;
    sweep_volumes(layout, memory, trash)
}

fn sweep_folder(folder: &Path, trash: &Trash, known: impl Fn(&str) -> bool) -> Result<()> {
    for name in names_in(folder)? {
        if !known(&name) {
            trash.take(&folder.join(&name))?;
        }
    }
    Ok(())
}

/// A volume folder without a row is removed only while it is empty: if the database was ever lost, the user's bytes must not follow it.
fn sweep_volumes(layout: &Layout, memory: &Memory, trash: &Trash) -> Result<()> {
    for name in names_in(&layout.volumes())? {
        if !memory.volumes.contains_key(&name) {
            // What was put together for it was promised to nobody.
            trash.take(&layout.volume(&name).join("fill"))?;
            // Failing means that there is something inside; fsck tells of it.
            drop(std::fs::remove_dir(layout.volume(&name).join("_data")));
            drop(std::fs::remove_dir(layout.volume(&name)));
        }
    }
    Ok(())
}
