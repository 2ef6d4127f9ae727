//! The store as operations see it: a tree of layers to look into, a new layer to fill, and its commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shipway_archive::index::{EntryRef, Node};
use shipway_archive::tree::Last;
use shipway_model::{LayerId, Timestamp};
use shipway_store::{ActiveSnapshot, CommitOptions, LayerOrigin, Lease, PrepareOptions, Store, Tree};
use shipway_sys::path::{FileKind, Root, Time};

use crate::clock;
use crate::ops::select::{SourceNode, SourceTree, as_path};
use crate::ops::writer::{Below, BelowNode, bytes_of};
use crate::ops::{Made, OpFailure, Stack};
use crate::solver::Around;

/// A tree of layers, to look into without mounting it.
#[derive(Clone)]
pub(crate) struct View {
    tree: Tree,
    layers: Arc<[LayerId]>,
}

/// The largest file that is read whole into memory (`/etc/passwd` and the like).
const SMALL_FILE: usize = 4 << 20;

impl View {
    /// The tree of a stack. Reads the indexes of layers not seen lately.
    pub(crate) fn of(store: &Store, stack: &Stack) -> Result<Self, OpFailure> {
        Ok(Self { tree: store.tree(&stack.layers)?, layers: stack.layers.clone() })
    }

    /// The store's own view of the same tree.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The folder of the layer that `path` (no symlinks) is seen from.
    pub(crate) fn folder_holding(&self, path: &[u8]) -> Result<Option<&Path>, OpFailure> {
        Ok(self.tree.folder_holding(as_path(path))?)
    }

    /// Reads a small regular file, symlinks followed inside the tree. None when there is nothing.
    pub(crate) fn read_small(&self, path: &Path) -> Result<Option<Vec<u8>>, OpFailure> {
        let real = match self.tree.resolve(&bytes_of(path), Last::Follow) {
            Err(shipway_archive::Error::NotFound { .. }) => return Ok(None),
            other => other.map_err(unreadable)?,
        };
        let Some(folder) = self.folder_holding(&real)? else { return Ok(None) };
        let root = Root::open(folder).map_err(OpFailure::sys("open a layer"))?;
        root.read_limited(as_path(&real), SMALL_FILE)
            .map(Some)
            .map_err(OpFailure::sys(format!("read \"/{}\" of the image", path.display())))
    }

    fn entry(&self, path: &[u8]) -> Result<Option<EntryRef>, OpFailure> {
        self.tree.lookup(path).map_err(unreadable)
    }
}

impl Below for View {
    fn at(&self, path: &Path) -> Result<Option<BelowNode>, OpFailure> {
        Ok(self.entry(&bytes_of(path))?.map(|entry| BelowNode {
            kind: kind_of(&entry.node),
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            xattrs: entry.xattrs.clone(),
            target: match &entry.node {
                Node::Symlink { target } => as_path(target).to_owned(),
                _ => PathBuf::new(),
            },
        }))
    }

    fn folder_time(&self, path: &Path) -> Option<Time> {
        let folder = self.folder_holding(&bytes_of(path)).ok().flatten()?;
        let root = Root::open(folder).ok()?;
        root.lstat(path).ok().map(|found| found.mtime)
    }
}

impl SourceTree for View {
    fn node(&self, path: &[u8]) -> Result<Option<SourceNode>, OpFailure> {
        if path.is_empty() && self.layers.is_empty() {
            return Ok(Some(SourceNode::plain_folder()));
        }
        Ok(self.entry(path)?.map(|entry| {
            let (size, content, device, target) = match &entry.node {
                Node::File { size, content, .. } => (*size, Some(*content), (0, 0), Vec::new()),
                Node::Symlink { target } => (0, None, (0, 0), target.clone()),
                Node::CharDevice(major, minor) | Node::BlockDevice(major, minor) => (0, None, (*major, *minor), Vec::new()),
                Node::Directory { .. } | Node::Fifo | Node::Whiteout => (0, None, (0, 0), Vec::new()),
            };
            SourceNode {
                kind: kind_of(&entry.node),
                mode: entry.mode,
                uid: entry.uid,
                gid: entry.gid,
                size,
                device,
                target,
                xattrs: entry.xattrs.clone(),
                content,
            }
        }))
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, OpFailure> {
        self.tree.names(path).map_err(unreadable)
    }

    fn digest_below(&self, path: &[u8]) -> Result<Option<[u8; 32]>, OpFailure> {
        self.tree.digest(path).map_err(unreadable)
    }
}

/// The index of a layer that cannot be read.
fn unreadable(error: shipway_archive::Error) -> OpFailure {
    shipway_store::Error::from(error).into()
}

fn kind_of(node: &Node) -> FileKind {
    match node {
        Node::Directory { .. } => FileKind::Directory,
        Node::File { .. } => FileKind::Regular,
        Node::Symlink { .. } => FileKind::Symlink,
        Node::CharDevice(..) => FileKind::CharDevice,
        Node::BlockDevice(..) => FileKind::BlockDevice,
        Node::Fifo => FileKind::Fifo,
        Node::Whiteout => FileKind::Unknown,
    }
}

/// A new layer on top of `below`, to be filled.
pub(crate) fn prepare(store: &Store, below: &Stack, lease: &Lease) -> Result<ActiveSnapshot, OpFailure> {
    Ok(store.prepare(&below.layers, PrepareOptions { name: None, lease: Some(lease.clone()) })?)
}

/// The folder that takes the new layer's files.
pub(crate) fn root(snapshot: &ActiveSnapshot) -> Result<Root, OpFailure> {
    Root::open(&snapshot.upper).map_err(OpFailure::sys("open the new layer"))
}

/// Freezes a filled layer, or one filled with the difference to `base`. One pass over what is in it.
pub(crate) fn commit(around: &Around, snapshot: ActiveSnapshot, base: Option<LayerId>, lease: &Lease) -> Result<Made, OpFailure> {
    let newest = around.options.source_date_epoch().map(|epoch| epoch.nanoseconds().div_euclid(1_000_000_000));
    let layer = snapshot.commit_over(base, CommitOptions { created: clock::now(), origin: LayerOrigin::Built, newest })?;
    Ok(Made { layer: layer.id, tree_digest: layer.tree_digest, _lease: lease.clone() })
}

/// The time of folders and files that come from nowhere: SOURCE_DATE_EPOCH where given, else now.
pub(crate) fn time_of_new_things(around: &Around) -> Time {
    let moment: Timestamp = around.options.source_date_epoch().unwrap_or_else(clock::now);
    let nanoseconds = moment.nanoseconds();
    // Both parts fit by construction: the remainder is below a billion and not negative.
    Time {
        seconds: nanoseconds.div_euclid(1_000_000_000),
        nanoseconds: u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or_default(),
    }
}
