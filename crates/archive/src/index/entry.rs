//! One path of a layer, and the order of paths.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Deref;

use super::sequence::Found;

/// BLAKE3 of a file's bytes.
pub type ContentDigest = [u8; 32];

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// The layers below have something here, and it is gone.
    Whiteout,
    /// A folder; an opaque one hides what the layers below have in it.
    Directory {
        /// Hides the layers below.
        opaque: bool,
    },
    /// A file.
    File {
        /// Bytes.
        size: u64,
        /// Their digest.
        content: ContentDigest,
        /// The first path of the same inode in this layer, if that is another one.
        hardlink: Option<Vec<u8>>,
    },
    /// A symlink.
    Symlink {
        /// Its text.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// One path of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Relative path without `.` or `..`; empty for the root.
    pub path: Vec<u8>,
    /// What it is.
    pub node: Node,
    /// Permission, setuid, setgid and sticky bits; 0 for whiteouts, 0777 for symlinks.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes, those of overlayfs left out.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl IndexEntry {
    /// An entry of the superuser without attributes.
    pub fn new(path: impl Into<Vec<u8>>, node: Node, mode: u32) -> IndexEntry {
        IndexEntry { path: path.into(), node, mode, uid: 0, gid: 0, xattrs: BTreeMap::new() }
    }

    /// True for a folder.
    pub fn is_dir(&self) -> bool {
        matches!(self.node, Node::Directory { .. })
    }

    /// Last component of the path.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or(&[])
    }

    /// Bytes that count for the size of a layer: those of files, each inode once, and of the targets of symbolic links.
    pub(super) fn content_size(&self) -> u64 {
        match &self.node {
            Node::File { size, hardlink: None, .. } => *size,
            Node::Symlink { target } => target.len() as u64,
            _ => 0,
        }
    }
}

/// An entry of an index; keeps the part of the index it stands in.
#[derive(Debug, Clone)]
pub struct EntryRef(pub(super) Found<IndexEntry>);

impl Deref for EntryRef {
    type Target = IndexEntry;

    fn deref(&self) -> &IndexEntry {
        &self.0
    }
}

/// Order of paths: byte by byte, `/` first.
pub fn compare_paths(one: &[u8], other: &[u8]) -> Ordering {
    // Paths of neighbours begin alike for long: eight bytes at once.
    let (eights, _) = one.as_chunks::<8>();
    let (others, _) = other.as_chunks::<8>();
    let alike = eights.iter().zip(others).take_while(|(a, b)| a == b).count() * 8;
    // A NUL cannot occur in a path, so 0 is free for the slash.
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let differ = one[alike..].iter().zip(&other[alike..]).find(|(a, b)| a != b);
    differ.map_or_else(|| one.len().cmp(&other.len()), |(a, b)| key(a).cmp(&key(b)))
}

/// A path that is sorted as [`compare_paths`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathKey(pub(crate) Vec<u8>);

impl Ord for PathKey {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_paths(&self.0, &other.0)
    }
}

impl PartialOrd for PathKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The folder of a path; that of a top name is the root.
pub(crate) fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |at| &path[..at])
}

/// True for `folder` itself and what is below it.
pub fn is_within(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Where everything below `folder`, which is not the root, has been passed: all that is below is less, all that follows is not.
pub(crate) fn behind(folder: &[u8]) -> Vec<u8> {
    // The slash is the least of bytes, and this is the next one.
    [folder, b"\x01"].concat()
}
