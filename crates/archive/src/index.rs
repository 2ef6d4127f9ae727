//! The content index of one layer: what it adds, changes and hides, with a digest for every file, folder and for the whole.
//!
//! It answers without touching the files: cache keys, `COPY --from`, sizes, differences, fsck. Times are no part of it, so two layers with the same
//! content have the same digest whenever they were made.
//!
//! ```text
//! file    = "SWLX" version(1 byte = 1) count(varint) entry* checksum(32: BLAKE3 of all before it)
//! entry   = shared(varint: bytes of the path equal to the former entry's) rest(bytes) kind(1) mode uid gid(varints)
//!           xattr count(varint) (name(bytes) value(bytes))* body
//! bytes   = length(varint) then so many bytes
//! body    = 0 whiteout: nothing        | 1 folder: opaque(1)           | 2 file: size(varint) content(32) hardlink(bytes, empty = none)
//!           3 symlink: target(bytes)   | 4, 5 char, block: major minor | 6 FIFO: nothing
//! ```
//! What must stay true: entries are sorted with `/` before every other byte, so a folder is followed at once by all that is below it; the root is
//! the entry with the empty path and always comes first. Decoding believes nothing: any file is either read whole and consistent, or `Corrupt`.

mod codec;
mod digest;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::Error;

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
}

/// The entries of one layer.
#[derive(Debug, Clone)]
pub struct LayerIndex {
    entries: Vec<IndexEntry>,
    /// One digest per entry, that of a folder over all below it; computed when first asked for.
    digests: OnceLock<Vec<ContentDigest>>,
}

impl PartialEq for LayerIndex {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for LayerIndex {}

/// Order of paths: byte by byte, `/` first.
pub fn compare_paths(one: &[u8], other: &[u8]) -> Ordering {
    // A NUL cannot occur in a path, so 0 is free for the slash.
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let differ = one.iter().zip(other).position(|(a, b)| a != b);
    match differ {
        Some(at) => key(&one[at]).cmp(&key(&other[at])),
        None => one.len().cmp(&other.len()),
    }
}

impl LayerIndex {
    /// Takes entries in any order.
    ///
    /// # Errors
    /// `Corrupt` for two entries with one path, an unclean path, an entry without its folder, or no root.
    pub fn new(mut entries: Vec<IndexEntry>) -> Result<LayerIndex, Error> {
        entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
        Self::from_sorted(entries)
    }

    /// An empty layer: a root and nothing in it.
    pub fn empty() -> LayerIndex {
        LayerIndex { entries: vec![IndexEntry::new(b"", Node::Directory { opaque: false }, 0o755)], digests: OnceLock::new() }
    }

    pub(crate) fn from_sorted(entries: Vec<IndexEntry>) -> Result<LayerIndex, Error> {
        let corrupt = |path: &[u8], problem: &str| Error::Corrupt {
            what: "layer index",
            problem: format!("{problem}: \"{}\"", crate::error::show(path)),
        };
        let mut folders: Vec<&[u8]> = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            if at == 0 {
                if !entry.path.is_empty() || !entry.is_dir() {
                    return Err(corrupt(&entry.path, "the root is missing"));
                }
                folders.push(b"");
                continue;
            }
            if compare_paths(&entries[at - 1].path, &entry.path) != Ordering::Less {
                return Err(corrupt(&entry.path, "out of order or twice"));
            }
            if entry.path.split(|byte| *byte == b'/').any(|name| matches!(name, b"" | b"." | b"..")) || entry.path.contains(&0) {
                return Err(corrupt(&entry.path, "not a clean path"));
            }
            let parent = parent(&entry.path);
            while folders.last().is_some_and(|folder| *folder != parent) {
                folders.pop();
            }
            if folders.is_empty() {
                return Err(corrupt(&entry.path, "without its folder"));
            }
            if entry.is_dir() {
                folders.push(&entry.path);
            }
        }
        if entries.is_empty() {
            return Err(corrupt(b"", "the root is missing"));
        }
        Ok(LayerIndex { entries, digests: OnceLock::new() })
    }

    /// All entries, folders before what is in them.
    pub fn iter(&self) -> std::slice::Iter<'_, IndexEntry> {
        self.entries.iter()
    }

    /// Number of entries, the root included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 1
    }

    /// The entry at `path` (clean and relative; empty for the root).
    ///
    /// # Cost
    /// A binary search.
    pub fn lookup(&self, path: &[u8]) -> Option<&IndexEntry> {
        self.find(path).map(|at| &self.entries[at])
    }

    /// What stands directly in the folder `path`, sorted; nothing if it is no folder here.
    pub fn children<'a>(&'a self, path: &[u8]) -> impl Iterator<Item = &'a IndexEntry> + use<'a> {
        let found = self.find(path);
        let end = found.map_or(0, |at| self.subtree_end(at));
        let mut at = found.map_or(0, |at| at + 1);
        std::iter::from_fn(move || {
            let entry = (at < end).then(|| &self.entries[at])?;
            at = self.subtree_end(at);
            Some(entry)
        })
    }

    /// The entry at `path` and all below it, sorted.
    pub fn subtree(&self, path: &[u8]) -> &[IndexEntry] {
        self.find(path).map_or(&[], |at| &self.entries[at..self.subtree_end(at)])
    }

    /// Bytes of all files, each inode once, and of the targets of symbolic links: what Docker calls the size of a layer.
    pub fn content_size(&self) -> u64 {
        let size = |entry: &IndexEntry| match &entry.node {
            Node::File { size, hardlink: None, .. } => *size,
            Node::Symlink { target } => target.len() as u64,
            _ => 0,
        };
        self.entries.iter().map(size).sum()
    }

    /// The digest of the layer as a layer: whiteouts and opaque marks count, times do not.
    pub fn digest(&self) -> ContentDigest {
        self.digests()[0]
    }

    /// The digest of the entry at `path`, of a folder with all below it.
    pub fn digest_at(&self, path: &[u8]) -> Option<ContentDigest> {
        self.find(path).map(|at| self.digests()[at])
    }

    /// Writes the file form drawn at the head of this module.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&self.entries)
    }

    /// Reads the file form.
    ///
    /// # Errors
    /// `Corrupt` for anything but the whole of what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<LayerIndex, Error> {
        Self::from_sorted(codec::decode(bytes)?)
    }

    fn digests(&self) -> &[ContentDigest] {
        self.digests.get_or_init(|| digest::all(&self.entries))
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|entry| compare_paths(&entry.path, path)).ok()
    }

    /// Where the entries below entry `at` end.
    fn subtree_end(&self, at: usize) -> usize {
        let path = &self.entries[at].path;
        if !self.entries[at].is_dir() {
            return at + 1;
        }
        at + self.entries[at..].partition_point(|entry| is_within(&entry.path, path))
    }
}

impl<'a> IntoIterator for &'a LayerIndex {
    type Item = &'a IndexEntry;
    type IntoIter = std::slice::Iter<'a, IndexEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The digest of an entry outside of any layer, `children` being the digests of what is in it; marks of layers do not count.
pub(crate) use digest::{folder as folder_digest, leaf as leaf_digest};

/// The folder of a path; that of a top name is the root.
pub(crate) fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |at| &path[..at])
}

/// True for `folder` itself and what is below it.
pub fn is_within(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}
