//! The former result of the same COPY: files that are the same again get a further name there instead of being copied, so one edited file among twenty
//! thousand costs links.
//!
//! What must stay true: a file is the same only when bytes, mode, owner, attributes and time are; layers never change, so sharing an inode is safe.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use shipway_archive::index::{LayerIndex, Node};
use shipway_store::Store;
use shipway_sys::path::{Dir, FileKind, Root};

use crate::ops::OpFailure;
use crate::ops::writer::{Looks, bytes_of};

/// The layer an earlier run of the same instruction made.
pub(crate) struct Former {
    index: Arc<LayerIndex>,
    root: Root,
    last: Mutex<Option<(PathBuf, Arc<Dir>)>>,
}

impl Former {
    /// The newest result of the instruction with this weak key, when its layer is here. Any problem with it only means copying.
    pub(crate) fn of(store: &Store, weak: &[u8; 32]) -> Option<Self> {
        let layer = store.cache().latest_by_weak_key(weak)?.result?;
        let index = store.layer_index(&layer).ok()?;
        let root = Root::open(store.diff_dir(&layer)).ok()?;
        Some(Self { index, root, last: Mutex::new(None) })
    }

    /// The open folder of `path` in the former layer, when what is there looks exactly as wanted.
    pub(crate) fn same(&self, path: &Path, content: &[u8; 32], size: u64, looks: &Looks) -> Result<Option<Arc<Dir>>, OpFailure> {
        let Some(entry) = self.index.lookup(&bytes_of(path)) else { return Ok(None) };
        let same_bytes = matches!(&entry.node, Node::File { size: known, content: former, .. } if former == content && *known == size);
        if !same_bytes || (entry.mode, entry.uid, entry.gid) != (looks.mode, looks.uid, looks.gid) || entry.xattrs != looks.xattrs {
            return Ok(None);
        }
        let Some(folder) = self.folder(path.parent().unwrap_or(Path::new(""))) else { return Ok(None) };
        let Some(name) = path.file_name() else { return Ok(None) };
        match folder.stat(name) {
            Ok(found) if found.kind == FileKind::Regular && found.mtime == looks.mtime && found.size == size => Ok(Some(folder)),
            _ => Ok(None),
        }
    }

    fn folder(&self, path: &Path) -> Option<Arc<Dir>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, dir)) = last.as_ref()
            && known.as_os_str().as_bytes() == path.as_os_str().as_bytes()
        {
            return Some(dir.clone());
        }
        let dir = Arc::new(self.root.open_dir(path).ok()?);
        *last = Some((path.to_owned(), dir.clone()));
        Some(dir)
    }
}
