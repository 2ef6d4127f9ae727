//! Writable snapshots: prepared on a stack of layers, then committed as a new layer, kept for a container, or discarded.
//!
//! `active/<id>/` holds `upper` and `work`, both on the file system of `layers/`, so that committing is renaming. Nothing is synced here; a commit is
//! pending until the next publish. An uncommitted snapshot that is dropped goes to the trash, unless it was kept.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::AtFlags;
use serde::{Deserialize, Serialize};
use shipway_archive::diff::{ScanOptions, commit_scan_showing};
use shipway_archive::index::LayerIndex;
use shipway_model::{LayerId, Timestamp};
use shipway_state::{Table, WriteTxn};
use shipway_sys::durable::fault;
use shipway_sys::path::{Root, Time, set_times};

use crate::error::Doing as _;
use crate::layers::{Layer, LayerOrigin, TarSource};
use crate::layout::create_dir;
use crate::leases::Lease;
use crate::memory::{PendingItem, Shared};
use crate::open::Store;
use crate::usage::folder_size;
use crate::{Error, Result};

/// Snapshots that survive a restart, by id.
pub(crate) const KEPT: Table<String, KeptRecord> = Table::new("kept_snapshots");

/// What the row of a kept snapshot says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptRecord {
    pub(crate) parents: Vec<LayerId>,
}

/// A snapshot kept for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSnapshot {
    /// Its id, the container's.
    pub id: String,
    /// The layers below it, bottom first.
    pub parents: Vec<LayerId>,
}

/// How to prepare a snapshot.
#[derive(Debug, Clone, Default)]
pub struct PrepareOptions {
    /// Name of its folder; random when absent. A container's snapshot bears the container's id.
    pub name: Option<String>,
    /// Lease that the committed layer joins in the same step that makes it visible.
    pub lease: Option<Lease>,
}

/// What to write down about a layer being committed.
#[derive(Debug, Clone, Copy)]
pub struct CommitOptions {
    /// When it was made; ignored when an equal layer exists already.
    pub created: Timestamp,
    /// Where it came from.
    pub origin: LayerOrigin,
    /// File times after this one count as this one (`SOURCE_DATE_EPOCH`); seconds since 1970.
    pub newest: Option<i64>,
}

/// A writable snapshot. Dropping it discards it, unless it was committed or kept.
pub struct ActiveSnapshot {
    /// Name of its folder in `active/`.
    pub id: String,
    /// Where changes are written, in overlay form.
    pub upper: PathBuf,
    /// Overlayfs's own folder.
    pub work: PathBuf,
    /// The layers below it, bottom first.
    pub parents: Vec<LayerId>,
    shared: Arc<Shared>,
    lease: Option<Lease>,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Discard,
    Keep,
    Gone,
}

impl Store {
    /// Makes a writable snapshot on `parents`, bottom first. Nothing is synced.
    ///
    /// Its top folder, which a merged mount shows as `/`, is root's and anyone may enter it, whatever the layers say: a tar made of a fresh temporary
    /// folder begins with `./` of mode 0700, and no user but root could run anything in such an image. Docker's overlay driver has it this way.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt` when a parent is not usable; `Conflict` when the name is taken; `Invalid` when it cannot be a folder name.
    pub fn prepare(&self, parents: &[LayerId], options: PrepareOptions) -> Result<ActiveSnapshot> {
        let shared = self.shared();
        let id = match options.name {
            Some(name) => checked_id(name)?,
            None => LayerId::from_random(random()).to_string(),
        };
        claim(shared, &id, parents)?;
        let folder = shared.layout.active(&id);
        let snapshot = ActiveSnapshot {
            upper: folder.join("upper"),
            work: folder.join("work"),
            parents: parents.to_vec(),
            shared: Arc::clone(shared),
            lease: options.lease,
            fate: Fate::Discard,
            id,
        };
        create_dir(&folder, 0o700)?;
        create_dir(&snapshot.upper, 0o755)?;
        create_dir(&snapshot.work, 0o700)?;
        Ok(snapshot)
    }

    /// The layer that changes nothing, for steps that must give a layer all the same; made when first asked for, pending until the next publish.
    pub fn empty_layer(&self, lease: Option<&Lease>) -> Result<Arc<Layer>> {
        let snapshot = self.prepare(&[], PrepareOptions { name: None, lease: lease.cloned() })?;
        // Its only entry is the top folder, whose time is part of the tar: the same for everyone, so that there is one such layer.
        let epoch = Time { seconds: 0, nanoseconds: 0 };
        let top = std::fs::File::open(&snapshot.upper).doing(|| format!("open {:?}", snapshot.upper))?;
        set_times(&top, epoch).doing(|| format!("set the time of {:?}", snapshot.upper))?;
        snapshot.commit(CommitOptions { created: Timestamp::default(), origin: LayerOrigin::Built, newest: None })
    }

    /// Opens the snapshot kept under `id`.
    pub fn open_active(&self, id: &str) -> Result<ActiveSnapshot> {
        let mut memory = self.shared().write();
        let Some(kept) = memory.kept.get(id).cloned() else { return Err(Error::not_found("snapshot", id)) };
        memory.open_snapshots.insert(id.to_owned(), kept.parents.clone());
        let folder = self.shared().layout.active(id);
        Ok(ActiveSnapshot {
            id: id.to_owned(),
            upper: folder.join("upper"),
            work: folder.join("work"),
            parents: kept.parents,
            shared: Arc::clone(self.shared()),
            lease: None,
            fate: Fate::Keep,
        })
    }

    /// Every kept snapshot; after a crash the engine compares this list with its containers.
    pub fn list_active(&self) -> Vec<KeptSnapshot> {
        let memory = self.shared().read();
        let mut kept: Vec<_> =
            memory.kept.iter().map(|(id, kept)| KeptSnapshot { id: id.clone(), parents: kept.parents.clone() }).collect();
        kept.sort_by(|one, other| one.id.cmp(&other.id));
        kept
    }

    /// Forgets the kept snapshot `id` in `txn` and moves its folder to the trash after the commit. It must not be mounted.
    pub fn forget_active(&self, txn: &mut WriteTxn<'_>, id: &str) -> Result<bool> {
        let in_rows = txn.remove(&KEPT, &id.to_owned())?;
        let known = self.shared().read().kept.contains_key(id);
        let (shared, id) = (Arc::clone(self.shared()), id.to_owned());
        txn.on_commit(move || {
            let _moving = shared.moving();
            let mut memory = shared.write();
            memory.kept.remove(&id);
            memory.open_snapshots.remove(&id);
            memory.pending.items.retain(|_, item| !matches!(item, PendingItem::Kept(name, _) if *name == id));
            drop(memory);
            shared.trash.take_or_log(&shared.layout.active(&id));
        });
        Ok(in_rows || known)
    }

    /// Removes the kept snapshot `id`: its row, then its folder in the background; false when there was none. Nothing is synced: after a power cut
    /// it may be back, and its owner is not, so boot removes it again.
    pub fn remove_active(&self, id: &str) -> Result<bool> {
        let (store, id) = (self.clone(), id.to_owned());
        self.db().write_lazy(move |txn| store.forget_active(txn, &id))
    }

    /// Whether the folders of the kept snapshot `id` are there; they may not be after a power cut, see [`Store::publish_until_reboot`].
    pub fn active_is_whole(&self, id: &str) -> bool {
        self.shared().layout.active(id).join("upper").is_dir()
    }
}

impl ActiveSnapshot {
    /// Freezes the snapshot as a layer. It must not be mounted any more.
    ///
    /// When a layer with the same uncompressed digest exists, that one is returned, with its own time, and this one is discarded.
    ///
    /// # Durability
    /// Visible at once, pending until the next publish.
    ///
    /// # Cost
    /// One read of every changed file, at the speed of SHA-256; one rename. The disk begins to write large files meanwhile.
    pub fn commit(self, options: CommitOptions) -> Result<Arc<Layer>> {
        self.commit_over(None, options)
    }

    /// As [`ActiveSnapshot::commit`] for a snapshot that has only the difference to the layer `base`, of which the caller has a lease: the layer is what
    /// overlayfs shows of the one over the other.
    ///
    /// # Errors
    /// `Invalid` when `base` is a patch itself.
    pub fn commit_over(mut self, base: Option<LayerId>, options: CommitOptions) -> Result<Arc<Layer>> {
        let mut known = None;
        let mut folders = vec![Root::open(&self.upper).doing(|| format!("open {:?}", self.upper))?];
        if let Some(base) = base {
            if self.shared.read().need_layer(&base)?.base.is_some() {
                return Err(Error::invalid("base of a layer", "it is a patch itself"));
            }
            let folder = self.shared.layout.diff(&base);
            folders.push(Root::open(&folder).doing(|| format!("open {folder:?}"))?);
            known = Some(self.shared.layer_index(&base)?);
        }
        let writeback = &self.shared.writeback;
        let options_of_scan = ScanOptions { newest: options.newest };
        let scanned = commit_scan_showing(&folders, known.as_deref(), &options_of_scan, &mut |large| writeback.soon(large))?;
        fault::point("store.commit.scanned");
        let layer = Layer {
            id: LayerId::from_random(random()),
            diff_id: scanned.diff_id,
            tar_size: scanned.tar_size,
            content_size: scanned.content_size,
            tree_digest: scanned.index.digest()?,
            created: options.created,
            origin: options.origin,
            tar: TarSource::Written,
            newest: options.newest,
            index_size: 0,
            base,
            below: None,
        };
        let folder = self.shared.layout.active(&self.id);
        let id = layer.id;
        let layer = install(&self.shared, &folder, "upper", &scanned.index, layer, self.lease.as_ref())?;
        self.fate = Fate::Gone;
        if layer.id == id && scanned.index.is_held() {
            // The next step builds on this layer and looks into it at once.
            self.shared.indexes.add(id, Arc::new(scanned.index));
        }
        Ok(layer)
    }

    /// Bytes and inodes of what was written so far.
    pub fn usage(&self) -> Result<(u64, u64)> {
        folder_size(&self.upper)
    }

    /// Keeps the folder beyond this handle: its row is written by the next publish, which is the one that makes the container visible.
    pub fn keep(self) -> KeptSnapshot {
        self.shared.mark_dirty();
        self.keep_until_reboot()
    }

    /// As [`ActiveSnapshot::keep`], for a snapshot that a power cut may take: no publish waits for its folders.
    pub fn keep_until_reboot(mut self) -> KeptSnapshot {
        let kept = KeptRecord { parents: self.parents.clone() };
        let mut memory = self.shared.write();
        memory.kept.insert(self.id.clone(), kept.clone());
        memory.pending.push(PendingItem::Kept(self.id.clone(), kept));
        drop(memory);
        self.fate = Fate::Keep;
        KeptSnapshot { id: self.id.clone(), parents: self.parents.clone() }
    }

    /// Throws everything written away. A kept snapshot is removed with [`Store::remove_active`] instead.
    pub fn discard(self) {
        drop(self);
    }
}

/// Turns `folder` (with its tree under `tree`) into the layer's folder, writes its index and makes the layer visible, or answers with the equal one that exists and
/// throws the folder away.
pub(crate) fn install(
    shared: &Arc<Shared>,
    folder: &std::path::Path,
    tree: &str,
    index: &LayerIndex,
    mut layer: Layer,
    lease: Option<&Lease>,
) -> Result<Arc<Layer>> {
    if let Some(existing) = reuse(shared, &layer, lease) {
        shared.trash.take_or_log(folder);
        return Ok(existing);
    }
    let file = std::fs::File::create_new(folder.join("index")).doing(|| format!("create {:?}", folder.join("index")))?;
    layer.index_size = index.write_to(&file)?;
    rustix::fs::rename(folder.join(tree), folder.join("diff")).doing(|| format!("rename {:?}", folder.join(tree)))?;
    remove_work(shared, folder)?;
    let target = shared.layout.layer(&layer.id);
    let _moving = shared.moving();
    rustix::fs::rename(folder, &target).doing(|| format!("rename({folder:?}, {target:?})"))?;
    fault::point("store.commit.renamed");
    shared.mark_dirty();
    let mut memory = shared.write();
    if let Some(existing) = memory.by_diff_id.get(&layer.diff_id).and_then(|id| memory.layers.get(id)).cloned()
        && !memory.damaged.contains_key(&existing.id)
    {
        if let Some(lease) = lease {
            memory.leases.entry(lease.number()).or_default().layers.insert(existing.id);
        }
        drop(memory);
        shared.trash.take_or_log(&target);
        return Ok(existing);
    }
    let layer = Arc::new(layer);
    memory.add_layer(Arc::clone(&layer));
    memory.pending.push(PendingItem::Layer(Arc::clone(&layer)));
    if let Some(lease) = lease {
        memory.leases.entry(lease.number()).or_default().layers.insert(layer.id);
    }
    Ok(layer)
}

/// Removes what overlayfs leaves inside `work`, and `work` itself, which may not hide among the layers.
fn remove_work(shared: &Shared, folder: &std::path::Path) -> Result<()> {
    let work = folder.join("work");
    let remove = |name: &str, flags| rustix::fs::unlinkat(rustix::fs::CWD, work.join(name), flags);
    // A volatile mount leaves its mark below folders of fixed names; five calls here are cheaper than waking the trash. Anything else waits below.
    if remove("work/incompat/volatile/dirty", AtFlags::empty()).is_ok() {
        for name in ["work/incompat/volatile", "work/incompat"] {
            let _ = remove(name, AtFlags::REMOVEDIR);
        }
    }
    for name in ["work", "index", ""] {
        match remove(name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => shared.trash.take(&work.join(name))?,
            Err(errno) => return Err(errno).doing(|| format!("rmdir {:?}", work.join(name))),
        }
    }
    Ok(())
}

fn reuse(shared: &Shared, layer: &Layer, lease: Option<&Lease>) -> Option<Arc<Layer>> {
    let mut memory = shared.write();
    let existing = memory.by_diff_id.get(&layer.diff_id).and_then(|id| memory.layers.get(id)).cloned()?;
    if memory.damaged.contains_key(&existing.id) {
        return None;
    }
    if let Some(lease) = lease {
        memory.leases.entry(lease.number()).or_default().layers.insert(existing.id);
    }
    Some(existing)
}

impl Drop for ActiveSnapshot {
    fn drop(&mut self) {
        let _moving = self.shared.moving();
        self.shared.write().open_snapshots.remove(&self.id);
        if self.fate == Fate::Discard {
            self.shared.trash.take_or_log(&self.shared.layout.active(&self.id));
        }
    }
}

impl std::fmt::Debug for ActiveSnapshot {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ActiveSnapshot")
            .field("id", &self.id)
            .field("parents", &self.parents)
            .field("fate", &self.fate)
            .finish_non_exhaustive()
    }
}

/// Bytes of the kernel's random generator; it cannot fail once the machine is up.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => unreachable!("getrandom(2) refused {N} bytes: {errno}"),
        }
    }
    bytes
}

/// Takes the name and protects the parents from the collector, in one step; or says why not.
fn claim(shared: &Shared, id: &str, parents: &[LayerId]) -> Result<()> {
    let mut memory = shared.write();
    for parent in parents {
        memory.need_layer(parent)?;
    }
    let taken = memory.open_snapshots.contains_key(id) || memory.kept.contains_key(id) || shared.layout.active(id).exists();
    if taken {
        return Err(Error::Conflict { noun: "snapshot", name: id.to_owned(), reason: "exists already".to_owned() });
    }
    memory.open_snapshots.insert(id.to_owned(), parents.to_vec());
    Ok(())
}

/// An id given from outside must be a plain folder name.
fn checked_id(id: String) -> Result<String> {
    let plain = !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if plain { Ok(id) } else { Err(Error::invalid(format!("snapshot id \"{id}\""), "only letters, digits, - and _ are allowed")) }
}
