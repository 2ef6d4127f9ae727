//! What the store knows, in memory: a copy of the rows, the work not yet published, and who uses what right now.
//!
//! Every read of the store is answered from here. Rows change first and this copy follows in the `on_commit` callback of the same transaction; only
//! unpublished work (`pending`), leases and live snapshots exist here alone. A thing in `pending` is visible to everyone in this process, it just is
//! not promised yet.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use shipway_model::{DiffId, Digest, ImageId, LayerId, Reference, Timestamp};

use crate::cache::{CacheKey, CacheMemory, CacheRecord};
use crate::holds::Hold;
use crate::images::Image;
use crate::layers::{IndexCache, Layer};
use crate::layout::Layout;
use crate::leases::LeaseContents;
use crate::representations::Representation;
use crate::snapshots::KeptRecord;
use crate::trash::Trash;
use crate::volumes::Volume;
use crate::writeback::Writeback;
use crate::{Error, Result};

/// What the handles, the background threads and the commit callbacks of one store share.
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) trash: Trash,
    pub(crate) writeback: Writeback,
    pub(crate) indexes: IndexCache,
    memory: RwLock<Memory>,
    /// How often folders and memory began to differ for a moment, and agreed again.
    moves: (AtomicU64, AtomicU64),
    /// Blobs on their way, and how many bring each: nobody else touches their files.
    pub(crate) downloading: std::sync::Mutex<HashMap<Digest, usize>>,
    /// Raised after every write of files that a later row will speak of.
    dirty: AtomicU64,
    /// The value of `dirty` up to which everything is known to be on disk.
    synced: AtomicU64,
}

/// The copy of the rows and what exists only in this process.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) layers: HashMap<LayerId, Arc<Layer>>,
    pub(crate) by_diff_id: HashMap<DiffId, LayerId>,
    /// Layers whose row stands but whose folder is missing or torn, with what was found at start.
    pub(crate) damaged: BTreeMap<LayerId, String>,
    pub(crate) blobs: HashMap<Digest, u64>,
    pub(crate) representations: HashMap<DiffId, Arc<[Representation]>>,
    /// From the digest of stored bytes to the layer they are.
    pub(crate) by_stored: HashMap<Digest, DiffId>,
    pub(crate) images: HashMap<ImageId, Arc<Image>>,
    pub(crate) tags: BTreeMap<String, Tag>,
    pub(crate) names: HashMap<ImageId, BTreeSet<String>>,
    pub(crate) cache: CacheMemory,
    pub(crate) holds: HashMap<String, Hold>,
    pub(crate) volumes: BTreeMap<String, Arc<Volume>>,
    pub(crate) kept: HashMap<String, KeptRecord>,
    pub(crate) leases: HashMap<u64, LeaseContents>,
    pub(crate) next_lease: u64,
    /// Parents of every snapshot some handle in this process has open.
    pub(crate) open_snapshots: HashMap<String, Vec<LayerId>>,
    pub(crate) pending: Pending,
}

/// One name of an image.
#[derive(Debug, Clone)]
pub(crate) struct Tag {
    pub(crate) reference: Reference,
    pub(crate) image: ImageId,
    pub(crate) at: Timestamp,
}

/// Work that is visible but not yet promised, in the order it was done.
#[derive(Default)]
pub(crate) struct Pending {
    next: u64,
    pub(crate) items: BTreeMap<u64, PendingItem>,
}

/// One thing a publish will write a row for.
#[derive(Clone)]
pub(crate) enum PendingItem {
    Layer(Arc<Layer>),
    Blob(Digest, u64),
    Cache(Arc<CacheRecord>),
    Kept(String, KeptRecord),
    /// What an image has was moved into the volume of this name.
    Filled(String),
}

/// See [`Shared::moving`].
pub(crate) struct Moving<'a>(&'a Shared);

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.moves.1.fetch_add(1, Ordering::SeqCst);
    }
}

impl Shared {
    pub(crate) fn new(layout: Layout, trash: Trash, writeback: Writeback, memory: Memory) -> Self {
        let indexes = IndexCache::default();
        Self {
            layout,
            trash,
            writeback,
            indexes,
            memory: RwLock::new(memory),
            moves: <_>::default(),
            downloading: std::sync::Mutex::default(),
            dirty: AtomicU64::new(0),
            synced: AtomicU64::new(0),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held from the first to the second when a folder appears or goes and memory follows, or the other way round.
    pub(crate) fn moving(&self) -> Moving<'_> {
        self.moves.0.fetch_add(1, Ordering::SeqCst);
        Moving(self)
    }

    /// A number that is the same before and after a look at folders and memory during which they agreed; none while they differ.
    pub(crate) fn settled(&self) -> Option<u64> {
        // The ends first: one that is missed makes the numbers differ.
        let ended = self.moves.1.load(Ordering::SeqCst);
        (self.moves.0.load(Ordering::SeqCst) == ended).then_some(ended)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called after files were written and before anything in memory speaks of them.
    pub(crate) fn mark_dirty(&self) {
        self.dirty.fetch_add(1, Ordering::SeqCst);
    }

    /// The mark a barrier has to reach, or `None` when everything up to now is on disk.
    pub(crate) fn unsynced(&self) -> Option<u64> {
        let dirty = self.dirty.load(Ordering::SeqCst);
        (dirty > self.synced.load(Ordering::SeqCst)).then_some(dirty)
    }

    pub(crate) fn mark_synced(&self, mark: u64) {
        self.synced.fetch_max(mark, Ordering::SeqCst);
    }
}

impl Memory {
    /// The layer, or why it cannot be used.
    pub(crate) fn need_layer(&self, id: &LayerId) -> Result<&Arc<Layer>> {
        if let Some(reason) = self.damaged.get(id) {
            return Err(Error::corrupt(format!("layer {id}"), reason.clone()));
        }
        self.layers.get(id).ok_or_else(|| Error::not_found("layer", id))
    }

    pub(crate) fn add_layer(&mut self, layer: Arc<Layer>) {
        self.by_diff_id.insert(layer.diff_id, layer.id);
        self.layers.insert(layer.id, layer);
    }

    pub(crate) fn remove_layer(&mut self, id: &LayerId) -> Option<Arc<Layer>> {
        let layer = self.layers.remove(id)?;
        if self.by_diff_id.get(&layer.diff_id) == Some(id) {
            self.by_diff_id.remove(&layer.diff_id);
        }
        Some(layer)
    }

    pub(crate) fn add_tag(&mut self, key: String, tag: Tag) {
        self.remove_tag(&key);
        self.names.entry(tag.image).or_default().insert(key.clone());
        self.tags.insert(key, tag);
    }

    pub(crate) fn remove_tag(&mut self, key: &str) {
        let Some(former) = self.tags.remove(key) else { return };
        if let Some(names) = self.names.get_mut(&former.image) {
            names.remove(key);
            if names.is_empty() {
                self.names.remove(&former.image);
            }
        }
    }

    /// Every layer something needs: images, holds, cache records, leases, kept and open snapshots, unpublished work.
    pub(crate) fn reachable_layers(&self) -> HashSet<LayerId> {
        let mut reached: HashSet<LayerId> = HashSet::new();
        reached.extend(self.images.values().flat_map(|image| image.layers.iter().copied()));
        reached.extend(self.holds.values().flat_map(|hold| hold.layers.iter().copied()));
        reached.extend(self.cache.results());
        reached.extend(self.leases.values().flat_map(|lease| lease.layers.iter().copied()));
        reached.extend(self.kept.values().flat_map(|kept| kept.parents.iter().copied()));
        reached.extend(self.open_snapshots.values().flatten().copied());
        for item in self.pending.items.values() {
            match item {
                PendingItem::Layer(layer) => drop(reached.insert(layer.id)),
                PendingItem::Kept(_, kept) => reached.extend(kept.parents.iter().copied()),
                PendingItem::Cache(record) => reached.extend(record.result),
                PendingItem::Blob(..) | PendingItem::Filled(_) => {}
            }
        }
        let bases: Vec<LayerId> = reached.iter().filter_map(|id| self.layers.get(id)?.base).collect();
        reached.extend(bases);
        reached
    }

    /// Every blob something needs: manifests and blobs of images, stored forms of the layers `layers`, leases, unpublished work.
    pub(crate) fn reachable_blobs(&self, layers: &HashSet<LayerId>) -> HashSet<Digest> {
        let mut reached: HashSet<Digest> = HashSet::new();
        for image in self.images.values() {
            reached.extend(image.manifest.iter().map(|manifest| manifest.digest));
            reached.extend(image.blobs.iter().copied());
        }
        for (diff_id, forms) in &self.representations {
            if self.by_diff_id.get(diff_id).is_some_and(|layer| layers.contains(layer)) {
                reached.extend(forms.iter().map(|form| form.digest));
            }
        }
        reached.extend(self.leases.values().flat_map(|lease| lease.blobs.iter().copied()));
        reached.extend(self.pending.items.values().filter_map(|item| match item {
            PendingItem::Blob(digest, _) => Some(*digest),
            _ => None,
        }));
        reached
    }
}

impl Pending {
    pub(crate) fn push(&mut self, item: PendingItem) -> u64 {
        self.next += 1;
        self.items.insert(self.next, item);
        self.next
    }

    /// Number of the newest item; 0 before the first.
    pub(crate) fn newest(&self) -> u64 {
        self.next
    }

    pub(crate) fn up_to(&self, newest: u64) -> Vec<(u64, PendingItem)> {
        self.items.range(..=newest).map(|(number, item)| (*number, item.clone())).collect()
    }

    /// Volumes that were filled and whose note still stands.
    pub(crate) fn filled(&self) -> impl Iterator<Item = String> {
        self.items.values().filter_map(|item| if let PendingItem::Filled(volume) = item { Some(volume.clone()) } else { None })
    }

    pub(crate) fn forget_cache(&mut self, key: &CacheKey) {
        self.items.retain(|_, item| !matches!(item, PendingItem::Cache(record) if record.key == *key));
    }
}
