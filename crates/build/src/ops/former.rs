//! The former result of the same COPY: what is the same again is not written again. Of a whole folder only the difference is written, as a patch of the
//! former layer; elsewhere a file that is the same gets a further name. One edited file among twenty thousand costs one file.
//!
//! What must stay true: a file is the same only when bytes, mode, owner, attributes and time are; layers never change, so sharing is safe; the lease keeps
//! the former layer while it is looked at.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use shipway_archive::index::{EntryRef, LayerIndex, Node, is_within};
use shipway_model::LayerId;
use shipway_store::{Lease, Store};
use shipway_sys::path::{Dir, FileKind, Root};

use crate::ops::OpFailure;
use crate::ops::files::Opener;
use crate::ops::select::as_path;
use crate::ops::writer::{Below, Looks, TreeWriter, bytes_of};

/// A layer with fewer entries is not worth a patch: every mount of a patch has one folder more.
const WORTH_A_PATCH: u64 = 256;

/// Files looked at to guess how much is the same.
const SAMPLES: usize = 64;

/// The layer an earlier run of the same instruction made.
pub(crate) struct Former {
    newest: Known,
    /// The layer that one is a patch of.
    base: Option<Known>,
}

/// A layer as its index and folder say.
struct Known {
    id: LayerId,
    index: Arc<LayerIndex>,
    opener: Mutex<Opener>,
}

impl Former {
    /// The newest result of the instruction with this weak key, when its layer is here. Any problem with it only means copying.
    pub(crate) fn of(store: &Store, weak: &[u8; 32], lease: &Lease) -> Option<Self> {
        let layer = store.cache().latest_by_weak_key(weak)?.result?;
        if !lease.add_layer(&layer) {
            return None;
        }
        let layer = store.layer(&layer)?;
        let base = match layer.base {
            Some(base) => Some(Known::of(store, base)?),
            None => None,
        };
        Some(Self { newest: Known::of(store, layer.id)?, base })
    }

    /// The open folder of `path` in the former layer, when what is there looks exactly as wanted.
    pub(crate) fn same(&self, path: &Path, content: &[u8; 32], size: u64, looks: &Looks) -> Option<Arc<Dir>> {
        if !self.newest.has(path, content, size, looks) {
            return None;
        }
        let places = std::iter::once(&self.newest).chain(&self.base);
        places.filter_map(|known| known.folder_with(path, size, looks)).next()
    }

    /// The layer a new one can be a patch of.
    fn whole(&self) -> &Known {
        self.base.as_ref().unwrap_or(&self.newest)
    }
}

impl Known {
    fn of(store: &Store, id: LayerId) -> Option<Self> {
        let index = store.layer_index(&id).ok()?;
        let root = Root::open(store.folders_of(&id).first()?).ok()?;
        Some(Self { id, index, opener: Mutex::new(Opener::new(root)) })
    }

    fn has(&self, path: &Path, content: &[u8; 32], size: u64, looks: &Looks) -> bool {
        self.index.lookup(&bytes_of(path)).ok().flatten().is_some_and(|entry| {
            matches!(&entry.node, Node::File { size: known, content: former, hardlink: None } if former == content && *known == size)
                && (entry.mode, entry.uid, entry.gid) == (looks.mode, looks.uid, looks.gid)
                && entry.xattrs == looks.xattrs
        })
    }

    fn folder_with(&self, path: &Path, size: u64, looks: &Looks) -> Option<Arc<Dir>> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let folder = self.opener.lock().unwrap_or_else(PoisonError::into_inner).open(parent.as_os_str().as_bytes()).ok()?;
        let found = folder.stat(path.file_name()?).ok()?;
        (found.kind == FileKind::Regular && found.mtime == looks.mtime && found.size == size).then_some(folder)
    }
}

/// A copy that writes the difference to the former layer only.
pub(crate) struct Patch<'f> {
    whole: &'f Known,
    /// Paths that the copy brings.
    brought: HashSet<Vec<u8>>,
    /// Set when this cannot be written as a difference.
    pub(crate) given_up: bool,
}

impl<'f> Patch<'f> {
    /// A patch of the former layer, when that is large and a sample of `files` (destination and content) says that most of it is the same.
    pub(crate) fn promising(former: &'f Former, files: &[(&Path, [u8; 32])]) -> Option<Self> {
        let whole = former.whole();
        if whole.index.len() < WORTH_A_PATCH || files.is_empty() {
            return None;
        }
        let step = files.len().div_ceil(SAMPLES);
        let same = |(path, content): &&(&Path, [u8; 32])| {
            let entry = whole.index.lookup(&bytes_of(path)).ok().flatten();
            entry.is_some_and(|entry| matches!(&entry.node, Node::File { content: former, .. } if former == content))
        };
        let looked_at = files.iter().step_by(step);
        let (all, alike) = (looked_at.clone().count(), looked_at.filter(same).count());
        (alike * 2 > all).then(|| Self { whole, brought: HashSet::with_capacity(files.len()), given_up: false })
    }

    /// The layer this is the difference to.
    pub(crate) fn base(&self) -> LayerId {
        self.whole.id
    }

    /// Notes that the copy brings something to `path`.
    pub(crate) fn brings(&mut self, path: &Path) {
        self.brought.insert(bytes_of(path));
    }

    /// Whether the layer has exactly this file already.
    pub(crate) fn has(&self, path: &Path, content: &[u8; 32], size: u64, looks: &Looks) -> bool {
        self.whole.has(path, content, size, looks) && self.whole.folder_with(path, size, looks).is_some()
    }

    /// Hides what the former layer has and the copy did not bring. False when that would also hide something of the tree below, or the difference
    /// cannot be told as one.
    pub(crate) fn hide_the_rest(&self, writer: &mut TreeWriter<'_>, below: &dyn Below) -> Result<bool, OpFailure> {
        if self.given_up || writer.has_hidden() {
            return Ok(false);
        }
        let mut gone: Option<EntryRef> = None;
        for entry in self.whole.index.iter().skip(1) {
            let entry = entry.map_err(shipway_store::Error::from)?;
            if gone.as_ref().is_some_and(|gone| is_within(&entry.path, &gone.path)) {
                continue;
            }
            let path = as_path(&entry.path);
            if entry.is_dir() && writer.has_folder(path)? {
                continue;
            }
            if self.brought.contains(&entry.path) {
                // What was in a folder is hidden by the file that took its place.
                gone = Some(entry).filter(|entry| entry.is_dir());
                continue;
            }
            if entry.node == Node::Whiteout || below.at(path)?.is_some() {
                return Ok(false);
            }
            writer.hide(path)?;
            gone = Some(entry);
        }
        Ok(true)
    }
}
