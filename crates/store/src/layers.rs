//! Committed layers: what is known of each, and their content indexes.
//!
//! A layer is a folder in overlay form that never changes again. Its id is random and ours alone; its `diff_id` is what images name it by. When only little
//! differs from another layer it may be a *patch*: its folder has the difference and lies over that other layer's, its *base*, which is never a patch.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use shipway_archive::index::LayerIndex;
use shipway_model::{DiffId, Digest, LayerId, Timestamp};
use shipway_state::Table;
use shipway_sys::path::Root;

use crate::error::Doing as _;
use crate::layout::Layout;
use crate::memory::{Memory, Shared};
use crate::open::Store;
use crate::{Error, Result};

pub(crate) const LAYERS: Table<LayerId, LayerRecord> = Table::new("layers");

/// Memory for indexes looked into lately, some hundred thousand entries; more is read again when asked for.
const INDEX_CACHE: usize = 24 << 20;

/// Where a layer came from. Loaded, pulled and imported layers are never cache candidates by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerOrigin {
    /// A build step or `commit` made it.
    Built,
    /// It came out of a `load`.
    Loaded,
    /// It came from a registry.
    Pulled,
    /// It came out of an `import`.
    Imported,
}

/// How the exact bytes of the layer's tar come back when it is saved or pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TarSource {
    /// The tar is the one our own writer makes of the folder.
    Written,
    /// The tar came from elsewhere; the recipe beside the folder has the bytes between the files.
    Recipe,
    /// The tar came from elsewhere and holds something a recipe cannot point at (two bodies for one path), or more beside its
    /// files than is kept.
    Lost,
}

/// A committed layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Name of its folder.
    pub id: LayerId,
    /// Digest of its uncompressed tar.
    pub diff_id: DiffId,
    /// Bytes of its uncompressed tar.
    pub tar_size: u64,
    /// Bytes of its files.
    pub content_size: u64,
    /// Digest of its content index: names, kinds, modes, owners, xattrs, contents; not times.
    pub tree_digest: [u8; 32],
    /// When it was committed; unchanged when a later step reuses it.
    pub created: Timestamp,
    /// Where it came from.
    pub origin: LayerOrigin,
    /// How its tar comes back.
    pub tar: TarSource,
    /// File times after this one count as this one in its tar.
    pub newest: Option<i64>,
    /// Length of its index file, for the cheap check at start.
    pub index_size: u64,
    /// The layer its folder has only the difference to. It lives as long as this one.
    pub base: Option<LayerId>,
    /// Names the layers below it by their contents, where it was unpacked with files of theirs: on others it would be another layer.
    pub below: Option<Digest>,
}

/// A layer as its row has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    diff_id: DiffId,
    tar_size: u64,
    content_size: u64,
    tree_digest: String,
    created: Timestamp,
    origin: LayerOrigin,
    tar: TarSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<i64>,
    index_size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<LayerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    below: Option<Digest>,
}

/// Names a stack of layers, bottom first, by what they contain.
pub(crate) fn chain_of(diff_ids: impl IntoIterator<Item = DiffId>) -> Digest {
    let text: String = diff_ids.into_iter().map(|diff_id| format!("{diff_id}\n")).collect();
    Digest::sha256_of(text.as_bytes())
}

impl Layer {
    pub(crate) fn to_record(&self) -> LayerRecord {
        LayerRecord {
            diff_id: self.diff_id,
            tar_size: self.tar_size,
            content_size: self.content_size,
            tree_digest: hex(&self.tree_digest),
            created: self.created,
            origin: self.origin,
            tar: self.tar,
            newest: self.newest,
            index_size: self.index_size,
            base: self.base,
            below: self.below,
        }
    }

    pub(crate) fn from_record(id: LayerId, record: &LayerRecord) -> Result<Self> {
        let tree_digest =
            unhex(&record.tree_digest).ok_or_else(|| Error::corrupt(format!("layer {id}"), "its tree digest is not 64 hex digits"))?;
        Ok(Self {
            id,
            diff_id: record.diff_id,
            tar_size: record.tar_size,
            content_size: record.content_size,
            tree_digest,
            created: record.created,
            origin: record.origin,
            tar: record.tar,
            newest: record.newest,
            index_size: record.index_size,
            base: record.base,
            below: record.below,
        })
    }
}

impl Shared {
    pub(crate) fn layer_index(&self, id: &LayerId) -> Result<Arc<LayerIndex>> {
        if let Some(index) = self.indexes.get(id) {
            return Ok(index);
        }
        let layer = self.read().need_layer(id).cloned()?;
        let index = Arc::new(self.layer_index_from_disk(&layer)?);
        self.indexes.add(*id, Arc::clone(&index));
        Ok(index)
    }

    /// The content index as it stands on the disk now.
    pub(crate) fn layer_index_from_disk(&self, layer: &Layer) -> Result<LayerIndex> {
        let path = self.layout.index(&layer.id);
        let file = std::fs::File::open(&path).doing(|| format!("open {path:?}"))?;
        let corrupt = |error: shipway_archive::Error| Error::corrupt(format!("index of layer {}", layer.id), error.to_string());
        let index = LayerIndex::open(file).map_err(corrupt)?;
        if index.digest().map_err(corrupt)? != layer.tree_digest {
            return Err(Error::corrupt(format!("index of layer {}", layer.id), "its tree digest is another one"));
        }
        Ok(index)
    }
}

impl Store {
    /// The layer, unless it is not here or its folder was found damaged at start.
    pub fn layer(&self, id: &LayerId) -> Option<Arc<Layer>> {
        let memory = self.shared().read();
        if memory.damaged.contains_key(id) {
            return None;
        }
        memory.layers.get(id).cloned()
    }

    /// The layer with this uncompressed digest.
    pub fn layer_by_diff_id(&self, diff_id: &DiffId) -> Option<LayerId> {
        let memory = self.shared().read();
        memory.by_diff_id.get(diff_id).filter(|id| !memory.damaged.contains_key(id)).copied()
    }

    /// As [`Store::layer`], with the reason when there is none.
    pub(crate) fn need_layer(&self, id: &LayerId) -> Result<Arc<Layer>> {
        self.shared().read().need_layer(id).cloned()
    }

    /// The content index of a layer: from memory when it was made or asked for lately, else read from its file.
    ///
    /// # Errors
    /// `Corrupt` when the index is not the one the layer was committed with; of a large one only its table is looked at here, the rest when it is read.
    pub fn layer_index(&self, id: &LayerId) -> Result<Arc<LayerIndex>> {
        self.shared().layer_index(id)
    }

    /// Folders of a stack of layers, top first, as overlayfs and `runtime::RootFs` want them.
    pub fn mount_of(&self, parents: &[LayerId]) -> Vec<PathBuf> {
        let memory = self.shared().read();
        let all = parents.iter().rev().flat_map(|layer| folders(&self.shared().layout, &memory, layer));
        // Steps that change the same have one layer. Overlayfs takes no folder twice, and the lower one adds nothing: all it has stands in the upper one.
        let mut seen = HashSet::new();
        all.filter(|folder| seen.insert(folder.clone())).collect()
    }

    /// Folders of one layer, the uppermost first: its own, and that of its base when it is a patch.
    pub fn folders_of(&self, layer: &LayerId) -> Vec<PathBuf> {
        folders(&self.shared().layout, &self.shared().read(), layer)
    }

    /// Opens [`Store::folders_of`].
    pub(crate) fn roots_of(&self, layer: &LayerId) -> Result<Vec<Root>> {
        self.folders_of(layer).iter().map(|folder| Root::open(folder).doing(|| format!("open {folder:?}"))).collect()
    }

    /// Every layer, in no order.
    pub fn layers(&self) -> Vec<Arc<Layer>> {
        self.shared().read().layers.values().cloned().collect()
    }
}

fn folders(layout: &Layout, memory: &Memory, layer: &LayerId) -> Vec<PathBuf> {
    let base = memory.layers.get(layer).and_then(|known| known.base);
    std::iter::once(*layer).chain(base).map(|layer| layout.diff(&layer)).collect()
}

/// Indexes at hand, the least recently used dropped first.
#[derive(Debug, Default)]
pub(crate) struct IndexCache {
    state: Mutex<IndexCacheState>,
}

#[derive(Debug, Default)]
struct IndexCacheState {
    entries: HashMap<LayerId, CachedIndex>,
    weight: usize,
    tick: u64,
}

#[derive(Debug)]
struct CachedIndex {
    index: Arc<LayerIndex>,
    weight: usize,
    used: u64,
}

impl IndexCache {
    pub(crate) fn get(&self, id: &LayerId) -> Option<Arc<LayerIndex>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tick += 1;
        let tick = state.tick;
        let entry = state.entries.get_mut(id)?;
        entry.used = tick;
        Some(Arc::clone(&entry.index))
    }

    pub(crate) fn add(&self, id: LayerId, index: Arc<LayerIndex>) {
        let weight = index.weight();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tick += 1;
        let used = state.tick;
        if let Some(former) = state.entries.insert(id, CachedIndex { index, weight, used }) {
            state.weight -= former.weight;
        }
        state.weight += weight;
        while state.weight > INDEX_CACHE && state.entries.len() > 1 {
            let Some(oldest) = state.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id) else { return };
            if let Some(gone) = state.entries.remove(&oldest) {
                state.weight -= gone.weight;
            }
        }
    }

    pub(crate) fn forget(&self, id: &LayerId) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gone) = state.entries.remove(id) {
            state.weight -= gone.weight;
        }
    }
}

/// Lower-case hex of 32 bytes.
pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The 32 bytes of exactly 64 lower-case hex digits.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}
