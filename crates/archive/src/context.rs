//! A build context read where it lies (D11): the names once, in parallel, without what the ignore file leaves out; the content only of what is asked
//! for, and only if it changed since it was hashed last.
//!
//! What must stay true: nothing outside the folder is read, whatever symlinks say; a file is taken as unchanged only when device, inode, size and both
//! times are the same *and* those times are well before the moment it was hashed, because two writes within one tick of the clock look alike.

mod reader;
mod remembered;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use shipway_sys::path::{FileKind, Root, Time};

use crate::Error;
use crate::error::show;
use crate::ignore::{IgnoreFile, Verdict};
use crate::index::{ContentDigest, IndexEntry, LayerIndex, Node, compare_paths, parent};
use crate::tree::Tree;
use reader::Reader;

pub use remembered::ContextIndex;

/// Threads that stat or hash side by side; more do not help the disks and caches we measured.
const THREADS: usize = 4;

/// Files a thread takes at once: neighbours lie in one folder, which is then opened once.
const RUN: usize = 32;

/// One thing of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextEntry {
    /// Relative path.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u32,
    /// Bytes of a file.
    pub size: u64,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
    /// Device of the filesystem.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Names the inode has on its filesystem.
    pub nlink: u64,
    /// Text of a symlink, else empty.
    pub link: Vec<u8>,
    /// Numbers of a device node.
    pub rdev: (u32, u32),
}

/// What a context held when it was looked at.
#[derive(Debug)]
pub struct ContextScan {
    root: Root,
    ignore: IgnoreFile,
    /// Sorted as a `LayerIndex` is; the root itself is not among them.
    entries: Vec<ContextEntry>,
    names: OnceLock<Tree>,
}

impl ContextScan {
    /// Looks at everything in `root` that `ignore` does not leave out. No file is opened.
    ///
    /// # Errors
    /// `Sys` when a folder cannot be read. What disappears meanwhile is simply not there.
    ///
    /// # Cost
    /// One listing per folder, one stat per name; 20,000 files take about 30 ms on two cores.
    pub fn new(root: Root, ignore: IgnoreFile) -> Result<ContextScan, Error> {
        let entries = walk::walk(&root, &ignore, threads())?;
        Ok(ContextScan { root, ignore, entries, names: OnceLock::new() })
    }

    /// Looks at everything in `root`; `ignore` only explains what is not there, because whoever filled the folder chose by it.
    ///
    /// # Errors
    /// As [`ContextScan::new`].
    pub fn whole(root: Root, ignore: IgnoreFile) -> Result<ContextScan, Error> {
        let entries = walk::walk(&root, &IgnoreFile::default(), threads())?;
        Ok(ContextScan { root, ignore, entries, names: OnceLock::new() })
    }

    /// Everything, sorted, folders before what is in them.
    pub fn entries(&self) -> &[ContextEntry] {
        &self.entries
    }

    /// The folder.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The entry at `path` (clean, relative), no symlink followed.
    pub fn lookup(&self, path: &[u8]) -> Option<&ContextEntry> {
        self.entries.binary_search_by(|entry| compare_paths(&entry.path, path)).ok().map(|at| &self.entries[at])
    }

    /// Why a path is not in the context: which line of the ignore file left it out, if one did.
    pub fn verdict(&self, path: &[u8]) -> Verdict {
        self.ignore.judge_alone(path)
    }

    /// The names as a tree, to resolve symlinks and expand patterns; contents and owners in it mean nothing.
    pub fn names(&self) -> &Tree {
        self.names.get_or_init(|| {
            let entries = self.entries.iter().map(|entry| index_entry(entry, [0; 32]));
            let index = LayerIndex::from_sorted(std::iter::once(root_entry()).chain(entries).collect());
            // The walk yields each folder before its content and each name once, so this cannot fail; an empty context is the safe answer if it does.
            Tree::new(vec![Arc::new(index.unwrap_or_else(|_| LayerIndex::empty()))])
        })
    }

    /// What stands at and below `paths` (clean, relative, resolved), with contents: an index as a layer of exactly that would have, everything owned by
    /// the superuser. Its digests are the cache keys of a `COPY`.
    ///
    /// # Errors
    /// `NotFound` for a path that is not in the context, `Changed` when a file changed since it was looked at, `Sys`.
    ///
    /// # Cost
    /// Reads the files `known` does not know, on several threads.
    pub fn select(&self, paths: &[Vec<u8>], known: &mut ContextIndex) -> Result<LayerIndex, Error> {
        let mut wanted = vec![false; self.entries.len()];
        for path in paths {
            self.add_subtree(path, &mut wanted)?;
        }
        let chosen: Vec<&ContextEntry> = self.entries.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(entry, _)| entry).collect();
        let digests = self.digests(&chosen, known)?;
        let entries = chosen.iter().zip(digests).map(|(entry, content)| index_entry(entry, content));
        let mut all = Vec::with_capacity(chosen.len() + 1);
        all.push(root_entry());
        all.extend(entries);
        LayerIndex::from_sorted(all)
    }

    /// BLAKE3 of the content of one file of the context.
    pub fn digest_of(&self, path: &[u8], known: &mut ContextIndex) -> Result<ContentDigest, Error> {
        let entry =
            self.lookup(path).filter(|entry| entry.kind == FileKind::Regular).ok_or_else(|| Error::NotFound { path: show(path) })?;
        self.digests(&[entry], known).map(|digests| digests[0])
    }

    fn add_subtree(&self, path: &[u8], wanted: &mut [bool]) -> Result<(), Error> {
        let mut start = 0;
        if !path.is_empty() {
            let find = |path: &[u8]| self.entries.binary_search_by(|entry| compare_paths(&entry.path, path)).ok();
            start = find(path).ok_or_else(|| Error::NotFound { path: show(path) })?;
            let mut folder = parent(path);
            while !folder.is_empty() {
                if let Some(at) = find(folder) {
                    wanted[at] = true;
                }
                folder = parent(folder);
            }
        }
        let within = |entry: &&ContextEntry| crate::index::is_within(&entry.path, path);
        let count = self.entries[start..].iter().take_while(within).count();
        wanted[start..start + count].fill(true);
        Ok(())
    }

    /// Content digests of the files among `chosen`, zeros for the rest.
    fn digests(&self, chosen: &[&ContextEntry], known: &mut ContextIndex) -> Result<Vec<ContentDigest>, Error> {
        let mut digests = vec![[0; 32]; chosen.len()];
        let mut unknown = Vec::new();
        for (at, entry) in chosen.iter().enumerate().filter(|(_, entry)| entry.kind == FileKind::Regular) {
            match known.get(entry) {
                Some(digest) => digests[at] = digest,
                None => unknown.push(at),
            }
        }
        let (next, threads) = (AtomicUsize::new(0), threads().min(unknown.len().div_ceil(RUN)));
        let work = || -> Result<Vec<(usize, ContentDigest)>, Error> {
            let mut done = Vec::new();
            let mut reader = Reader::new(&self.root);
            while let Some(run) = unknown.chunks(RUN).nth(next.fetch_add(1, Ordering::Relaxed)) {
                for at in run {
                    done.push((*at, reader.hash(chosen[*at])?));
                }
            }
            Ok(done)
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut results = vec![work()];
            results.extend(helpers.into_iter().map(|helper| helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))));
            results
        });
        for result in results {
            for (at, digest) in result? {
                known.put(chosen[at], digest);
                digests[at] = digest;
            }
        }
        Ok(digests)
    }
}

fn root_entry() -> IndexEntry {
    IndexEntry::new(b"", Node::Directory { opaque: false }, 0o755)
}

fn index_entry(entry: &ContextEntry, content: ContentDigest) -> IndexEntry {
    let node = match entry.kind {
        FileKind::Directory => Node::Directory { opaque: false },
        FileKind::Regular => Node::File { size: entry.size, content, hardlink: None },
        FileKind::Symlink => Node::Symlink { target: entry.link.clone() },
        FileKind::CharDevice => Node::CharDevice(entry.rdev.0, entry.rdev.1),
        FileKind::BlockDevice => Node::BlockDevice(entry.rdev.0, entry.rdev.1),
        FileKind::Fifo | FileKind::Socket | FileKind::Unknown => Node::Fifo,
    };
    IndexEntry::new(entry.path.clone(), node, entry.mode)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS)
}
