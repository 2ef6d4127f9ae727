//! The content index of one layer: what it adds, changes and hides, with a digest for every file, folder and for the whole.
//!
//! It answers without touching the files: cache keys, `COPY --from`, sizes, differences, fsck. Times are no part of it, so two layers with the same
//! content have the same digest whenever they were made.
//!
//! ```text
//! file   = "SWLX" version(1 byte = 2) block* table footer
//! block  = see `blocks.rs`; of each record: kind(1) mode uid gid(numbers) xattr count(number) (name(bytes) value(bytes))* body
//! body   = 0 whiteout: nothing        | 1 folder: opaque(1)           | 2 file: size(number) content(32) hardlink(bytes, empty = none)
//!          3 symlink: target(bytes)   | 4, 5 char, block: major minor | 6 FIFO: nothing
//! table  = entries(number) content size(number) digest of the layer(32) (first path(bytes) length(number) entries(number) checksum(32))*
//! footer = length of the table(u64, little-endian) checksum(32: BLAKE3 of table and its length)
//! bytes  = length(number) then so many bytes; number = seven bits to a byte, the lowest first
//! ```
//! What must stay true: entries are sorted with `/` before every other byte, so a folder is followed at once by all that is below it; the root is
//! the entry with the empty path and always comes first. Decoding believes nothing: what is read is consistent, or `Corrupt`. A small index is held in
//! memory, a large one is read block by block as it is asked for: what a layer costs in memory has a bound, whoever made the layer.

mod blocks;
mod builder;
mod codec;
mod digest;
mod entry;
mod file;
mod sequence;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use crate::Error;
use sequence::Cursor;

pub(crate) use blocks::{Blocks, Record, write_run};
pub(crate) use builder::IndexBuilder;
pub(crate) use codec::{Reader, number};
pub(crate) use digest::{Digester, Marks};
pub use entry::{ContentDigest, EntryRef, IndexEntry, Node, compare_paths, is_within};
pub(crate) use entry::{PathKey, behind, parent};
pub(crate) use sequence::Sequence;

/// The entries of one layer.
#[derive(Debug)]
pub struct LayerIndex {
    entries: Sequence<IndexEntry>,
    content_size: u64,
    /// Of the layer as a layer; computed when first asked for, where it did not come from a file.
    digest: OnceLock<ContentDigest>,
}

impl LayerIndex {
    /// Takes entries in any order, and holds them in memory.
    ///
    /// # Errors
    /// `Corrupt` for two entries with one path, an unclean path, an entry without its folder, or no root.
    pub fn new(mut entries: Vec<IndexEntry>) -> Result<LayerIndex, Error> {
        entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
        Self::from_sorted(entries)
    }

    /// An empty layer: a root and nothing in it.
    pub fn empty() -> LayerIndex {
        Self::held(vec![IndexEntry::new(b"", Node::Directory { opaque: false }, 0o755)])
    }

    pub(crate) fn from_sorted(entries: Vec<IndexEntry>) -> Result<LayerIndex, Error> {
        let mut order = Order::default();
        entries.iter().try_for_each(|entry| order.check(entry))?;
        order.finish()?;
        Ok(Self::held(entries))
    }

    fn held(entries: Vec<IndexEntry>) -> LayerIndex {
        let content_size = entries.iter().map(IndexEntry::content_size).fold(0, u64::saturating_add);
        LayerIndex { entries: Sequence::Held(Arc::new(entries)), content_size, digest: OnceLock::new() }
    }

    /// All entries, folders before what is in them.
    pub fn iter(&self) -> Entries<'_> {
        Entries { cursor: self.entries.cursor(), folder: Vec::new(), over: false }
    }

    /// Number of entries, the root included.
    pub fn len(&self) -> u64 {
        self.entries.count()
    }

    /// True when there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.entries.count() == 1
    }

    /// True when all of it is in memory.
    pub fn is_held(&self) -> bool {
        matches!(self.entries, Sequence::Held(_))
    }

    /// Bytes of memory it takes, or may come to take while it is used; roughly.
    pub fn weight(&self) -> usize {
        self.entries.weight()
    }

    /// The entry at `path` (clean and relative; empty for the root).
    ///
    /// # Errors
    /// When the index is read from its file and cannot be, or is corrupt there; as all that looks into it.
    ///
    /// # Cost
    /// A binary search; of a large index perhaps some 30 µs to read a block.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<EntryRef>, Error> {
        Ok(self.entries.find(path)?.map(EntryRef))
    }

    /// What stands directly in the folder `path`, sorted; nothing if it is no folder here.
    pub fn children(&self, path: &[u8]) -> Result<Children<'_>, Error> {
        let mut below = self.subtree(path)?;
        // The folder itself.
        below.next().transpose()?;
        Ok(Children { below })
    }

    /// The entry at `path` and all below it, sorted.
    pub fn subtree(&self, path: &[u8]) -> Result<Entries<'_>, Error> {
        let mut cursor = self.entries.cursor();
        cursor.skip_to(path)?;
        let there = cursor.here()?.is_some_and(|entry| entry.path == path);
        Ok(Entries { cursor, folder: path.to_vec(), over: !there })
    }

    /// Bytes of all files, each inode once, and of the targets of symbolic links: what Docker calls the size of a layer.
    pub fn content_size(&self) -> u64 {
        self.content_size
    }

    /// The digest of the layer as a layer: whiteouts and opaque marks count, times do not.
    pub fn digest(&self) -> Result<ContentDigest, Error> {
        if let Some(known) = self.digest.get() {
            return Ok(*known);
        }
        let digest = self.digest_at(b"")?.unwrap_or_default();
        Ok(*self.digest.get_or_init(|| digest))
    }

    /// The digest of the entry at `path`, of a folder with all below it.
    ///
    /// # Cost
    /// Visits everything below `path` once.
    pub fn digest_at(&self, path: &[u8]) -> Result<Option<ContentDigest>, Error> {
        let mut digester = Digester::new(Marks::Count);
        for entry in self.subtree(path)? {
            digester.take(&*entry?);
        }
        Ok(digester.finish())
    }
}

impl<'a> IntoIterator for &'a LayerIndex {
    type Item = Result<EntryRef, Error>;
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

/// A folder and all below it.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    cursor: Cursor<'a, IndexEntry>,
    folder: Vec<u8>,
    over: bool,
}

impl Entries<'_> {
    fn peek(&mut self) -> Result<Option<EntryRef>, Error> {
        if self.over {
            return Ok(None);
        }
        let here = self.cursor.here()?.map(EntryRef);
        let here = here.filter(|entry| is_within(&entry.path, &self.folder));
        self.over = here.is_none();
        Ok(here)
    }

    fn go_on(&mut self) -> Result<Option<EntryRef>, Error> {
        let here = self.peek()?;
        self.cursor.step();
        Ok(here)
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<EntryRef, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.go_on();
        // What cannot be read once is not tried for ever.
        self.over |= next.is_err();
        next.transpose()
    }
}

/// What stands directly in a folder.
#[derive(Debug, Clone)]
pub struct Children<'a> {
    below: Entries<'a>,
}

impl Children<'_> {
    fn go_on(&mut self) -> Result<Option<EntryRef>, Error> {
        let here = self.below.go_on()?;
        if let Some(folder) = here.as_ref().filter(|entry| entry.is_dir()) {
            self.below.cursor.skip_to(&behind(&folder.path))?;
        }
        Ok(here)
    }
}

impl Iterator for Children<'_> {
    type Item = Result<EntryRef, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.go_on();
        self.below.over |= next.is_err();
        next.transpose()
    }
}

/// Sees entries pass and finds the first that cannot follow those before it.
#[derive(Debug, Default)]
struct Order {
    last: Option<Vec<u8>>,
    /// The folders that what follows may be in, each in the one before.
    folders: Vec<Vec<u8>>,
}

impl Order {
    fn check(&mut self, entry: &IndexEntry) -> Result<(), Error> {
        let path = &entry.path;
        let corrupt =
            |problem: &str| Err(Error::Corrupt { what: "layer index", problem: format!("{problem}: \"{}\"", crate::error::show(path)) });
        let Some(last) = &mut self.last else {
            if !path.is_empty() || !entry.is_dir() {
                return corrupt("the root is missing");
            }
            self.last = Some(Vec::new());
            self.folders.push(Vec::new());
            return Ok(());
        };
        if compare_paths(last, path) != Ordering::Less {
            return corrupt("out of order or twice");
        }
        if path.split(|byte| *byte == b'/').any(|name| matches!(name, b"" | b"." | b"..")) || path.contains(&0) {
            return corrupt("not a clean path");
        }
        let parent = parent(path);
        while self.folders.last().is_some_and(|folder| folder != parent) {
            self.folders.pop();
        }
        if self.folders.is_empty() {
            return corrupt("without its folder");
        }
        if entry.is_dir() {
            self.folders.push(path.clone());
        }
        last.clone_from(path);
        Ok(())
    }

    fn finish(&self) -> Result<(), Error> {
        match self.last {
            Some(_) => Ok(()),
            None => Err(blocks::corrupt("the root is missing")),
        }
    }
}
