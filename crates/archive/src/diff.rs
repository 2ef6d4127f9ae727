//! From the upper folder of an overlay to a layer: one pass that reads every file once and gives tar bytes, `diff_id` and content index.
//!
//! A layer may lie in two folders, its own holding only what differs from the other one's (a *patch* and its *base*, see the store): they are read as
//! the one tree that overlayfs shows of them.
//!
//! What must stay true: the same tree with the same whole-second times gives the same tar bytes, on any machine and with any number of threads; nothing
//! of the upper folder is followed or opened but regular files and folders; a file that changes size while it is read is an error.
//!
//! Reading, BLAKE3 and the tar itself run on the caller's thread, SHA-256 on another one, because it alone is slower than all the rest. Who wants the
//! bytes on the disk soon is shown each large file before it is read, so that the disk works while we hash.

mod level;
mod sink;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::OFlags;
use shipway_model::digest::DiffId;
use shipway_sys::path::{Dir, FileKind, Metadata, Root, Time};
use shipway_sys::xattr;

use crate::Error;
use crate::error::show;
use crate::index::{ContentDigest, Entries, EntryRef, IndexBuilder, IndexEntry, LayerIndex, Node, compare_paths};
use crate::tar::{Entry, EntryKind, TarWriter};
use crate::tree::join;
use crate::whiteout;
use level::{Level, Merged, Part};
use sink::HashingSink;

/// From this size a file is shown to the caller before it is read.
const LARGE: u64 = 4 << 20;

/// From this size a file is looked at again after it was read.
const LOOKED_AT_TWICE: u64 = 128 * 1024;

/// How to scan.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScanOptions {
    /// Times after this one become this one (`SOURCE_DATE_EPOCH`); seconds since 1970.
    pub newest: Option<i64>,
}

/// What a layer turned out to be.
#[derive(Debug)]
pub struct Scanned {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Bytes of the uncompressed tar.
    pub tar_size: u64,
    /// Bytes of all files, each inode once.
    pub content_size: u64,
    /// What is in it.
    pub index: LayerIndex,
}

/// Reads `folders`, the uppermost first, and tells what layer they are together; the tar bytes are hashed and dropped.
///
/// # Errors
/// `Changed` when somebody still writes; `Unsupported` for a folder moved with `redirect_dir` or a file without data (`metacopy`); `Sys`.
///
/// # Cost
/// Every byte is read once; the time is that of SHA-256 (350 MB/s without SHA instructions).
pub fn commit_scan(folders: &[Root], options: &ScanOptions) -> Result<Scanned, Error> {
    scan(folders, None, options, &mut std::io::sink(), &mut |_| {})
}

/// As [`commit_scan`], with what is known of the last folder when it is a layer already: its files are not hashed once more for the index, only for the
/// tar. Every large file (4 MiB or more) is shown before it is read, for the caller to have its pages written meanwhile.
pub fn commit_scan_showing(
    folders: &[Root],
    last: Option<&LayerIndex>,
    options: &ScanOptions,
    large: &mut dyn FnMut(&File),
) -> Result<Scanned, Error> {
    let known = last.map(|index| Known { tree: folders.len() - 1, entries: index.iter().peekable() });
    scan(folders, known, options, &mut std::io::sink(), large)
}

/// Writes the tar that [`commit_scan`] has hashed, from the same folders.
///
/// # Errors
/// `Corrupt` when the folders are no longer what `index` says; the output is then worthless. `Write`.
pub fn write_layer_tar(folders: &[Root], index: &LayerIndex, options: &ScanOptions, out: &mut dyn Write) -> Result<DiffId, Error> {
    let scanned = scan(folders, None, options, out, &mut |_| {})?;
    if scanned.index.digest()? != index.digest()? {
        return Err(Error::Corrupt { what: "layer folder", problem: "its content differs from its index".to_owned() });
    }
    Ok(scanned.diff_id)
}

/// Writes the tar of `upper` and tells what layer it is; for folders that nobody has scanned before.
pub fn write_upper_tar(upper: &Root, options: &ScanOptions, out: &mut dyn Write) -> Result<Scanned, Error> {
    scan(std::slice::from_ref(upper), None, options, out, &mut |_| {})
}

fn scan(
    folders: &[Root],
    known: Option<Known<'_>>,
    options: &ScanOptions,
    out: &mut dyn Write,
    large: &mut dyn FnMut(&File),
) -> Result<Scanned, Error> {
    let tar = TarWriter::new(HashingSink::new(out));
    let Some(upper) = folders.first() else { return Err(Error::Corrupt { what: "layer", problem: "it has no folder".to_owned() }) };
    let top = upper.top()?;
    let mut scan = Scan { tar, newest: options.newest, known, index: IndexBuilder::new(&top), inodes: HashMap::new(), large };
    scan.root(folders)?;
    let (sink, tar_size) = scan.tar.finish()?;
    let diff_id = DiffId(sink.finish()?);
    let index = scan.index.finish()?;
    Ok(Scanned { diff_id, tar_size, content_size: index.content_size(), index })
}

/// What is known of one of the trees. Asked in the order of the scan, which is that of an index.
struct Known<'a> {
    tree: usize,
    entries: std::iter::Peekable<Entries<'a>>,
}

impl Known<'_> {
    /// The digest of the file `path` of `size` bytes in `tree`.
    fn content(&mut self, tree: usize, path: &[u8], size: u64) -> Result<Option<ContentDigest>, Error> {
        if tree != self.tree {
            return Ok(None);
        }
        let before = |entry: &Result<EntryRef, Error>| entry.as_ref().is_ok_and(|entry| compare_paths(&entry.path, path).is_lt());
        while self.entries.next_if(before).is_some() {}
        let here = self.entries.next_if(|entry| entry.as_ref().is_ok_and(|entry| entry.path == path) || entry.is_err()).transpose()?;
        Ok(match here.as_deref() {
            Some(IndexEntry { node: Node::File { size: known, content, .. }, .. }) if *known == size => Some(*content),
            _ => None,
        })
    }
}

/// The pass.
struct Scan<'a, 'k> {
    tar: TarWriter<HashingSink<'a>>,
    newest: Option<i64>,
    known: Option<Known<'k>>,
    index: IndexBuilder<'a>,
    /// First path and digest of inodes with several names.
    inodes: HashMap<(u64, u64), (Vec<u8>, ContentDigest)>,
    large: &'a mut dyn FnMut(&File),
}

/// Attributes of one inode, those of overlayfs understood and taken out.
struct Attributes {
    kept: BTreeMap<Vec<u8>, Vec<u8>>,
    opaque: bool,
}

impl Scan<'_, '_> {
    fn root(&mut self, folders: &[Root]) -> Result<(), Error> {
        let tops = folders.iter().map(Root::top).collect::<Result<Vec<_>, _>>()?;
        let Some(top) = tops.first() else { return Ok(()) };
        let found = shipway_sys::path::metadata(top)?;
        let attributes = attributes(top, b"")?;
        self.note(Vec::new(), Node::Directory { opaque: attributes.opaque }, &found, attributes.kept)?;
        // The root of a layer has no entry of its own in a tar, but may hide what is below.
        if attributes.opaque {
            self.mark(whiteout::OPAQUE.to_vec())?;
        }
        let tops = tops.into_iter().enumerate().map(|(tree, dir)| Part { tree, dir }).collect();
        let mut levels = vec![Level::of(tops, Vec::new())?];
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.left.next() else {
                levels.pop();
                continue;
            };
            let path = join(&level.path, entry.name.as_bytes());
            // The listing says which are files; those are opened without being looked at before.
            if entry.kind == FileKind::Regular {
                self.file(&level.parts[entry.at], &entry.name, path)?;
            } else if let Some(below) = self.visit(level, &entry, path)? {
                levels.push(below);
            }
        }
        Ok(())
    }

    /// Puts one thing into the tar and the index; gives the level below a folder.
    fn visit(&mut self, level: &Level, entry: &Merged, path: Vec<u8>) -> Result<Option<Level>, Error> {
        let (part, name) = (&level.parts[entry.at], entry.name.as_os_str());
        let dir = &part.dir;
        let found = dir.stat(name)?;
        match found.kind {
            FileKind::Directory => return self.folder(level.open(entry)?, path, &found).map(Some),
            FileKind::Regular => self.file(part, name, path)?,
            FileKind::CharDevice if whiteout::is_overlay_whiteout(&found) => {
                // One that hides something of the layer's other folder says nothing about the layers below.
                if !entry.covers {
                    let gone = join(crate::index::parent(&path), &[whiteout::PREFIX, name.as_bytes()].concat());
                    self.mark(gone)?;
                    self.index.push(IndexEntry::new(path, Node::Whiteout, 0))?;
                }
            }
            FileKind::Symlink => {
                let target = dir.read_link(name)?.as_bytes().to_vec();
                self.other(dir, name, path, &found, Node::Symlink { target })?;
            }
            FileKind::CharDevice => self.other(dir, name, path, &found, Node::CharDevice(found.rdev.0, found.rdev.1))?,
            FileKind::BlockDevice => self.other(dir, name, path, &found, Node::BlockDevice(found.rdev.0, found.rdev.1))?,
            FileKind::Fifo => self.other(dir, name, path, &found, Node::Fifo)?,
            // A socket is nothing without the process behind it; tar has no form for it, and Docker leaves it out too.
            FileKind::Socket | FileKind::Unknown => {}
        }
        Ok(None)
    }

    fn folder(&mut self, mut parts: Vec<Part>, path: Vec<u8>, found: &Metadata) -> Result<Level, Error> {
        let attributes = attributes(&parts[0].dir, &path)?;
        let mut entry = self.entry([path.as_slice(), b"/"].concat(), EntryKind::Directory, found);
        entry.xattrs.clone_from(&attributes.kept);
        self.tar.start(&entry)?;
        if attributes.opaque {
            self.mark(join(&path, whiteout::OPAQUE))?;
            parts.truncate(1);
        }
        self.note(path.clone(), Node::Directory { opaque: attributes.opaque }, found, attributes.kept)?;
        Level::of(parts, path)
    }

    fn file(&mut self, part: &Part, name: &OsStr, path: Vec<u8>) -> Result<(), Error> {
        // Whatever takes the name's place meanwhile: it is not followed, a FIFO does not hold us, and the kind is checked.
        let mut file = File::from(part.dir.open(name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0)?);
        let found = shipway_sys::path::metadata(&file)?;
        if found.kind != FileKind::Regular {
            return Err(Error::Changed { path: show(&path) });
        }
        let attributes = attributes(&file, &path)?;
        let inode = (found.dev, found.ino);
        if found.nlink > 1
            && let Some((first, content)) = self.inodes.get(&inode).cloned()
        {
            let mut entry = self.entry(path.clone(), EntryKind::Hardlink, &found);
            entry.link.clone_from(&first);
            self.tar.start(&entry)?;
            return self.note(path, Node::File { size: found.size, content, hardlink: Some(first) }, &found, attributes.kept);
        }
        if found.size >= LARGE {
            (self.large)(&file);
        }
        let mut entry = self.entry(path, EntryKind::Regular, &found);
        entry.size = found.size;
        entry.xattrs = attributes.kept;
        self.tar.start(&entry)?;
        let Entry { path, xattrs, .. } = entry;
        let known = match &mut self.known {
            Some(known) => known.content(part.tree, &path, found.size)?,
            None => None,
        };
        let content = self.content(&mut file, found.size, &path, known)?;
        if found.nlink > 1 {
            self.inodes.insert(inode, (path.clone(), content));
        }
        self.note(path, Node::File { size: found.size, content, hardlink: None }, &found, xattrs)
    }

    /// Puts the bytes of a file into the tar; its digest, unless that is `known`, is taken on the way.
    fn content(&mut self, file: &mut File, size: u64, path: &[u8], known: Option<ContentDigest>) -> Result<ContentDigest, Error> {
        let mut hasher = blake3::Hasher::new();
        let mut left = size;
        while left > 0 {
            let room = self.tar.inner_mut().room(left)?;
            let want = left.min(room.len() as u64) as usize;
            let count = match file.read(&mut room[..want]) {
                Ok(0) => return Err(Error::Changed { path: show(path) }),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(shipway_sys::Error::from_io(format!("read({:?})", show(path)), &error).into()),
            };
            if known.is_none() {
                hasher.update(&room[..count]);
            }
            self.tar.inner_mut().took(count);
            self.tar.passed(count as u64);
            left -= count as u64;
        }
        // Small files are whole in the first read; asking for one byte more would double their calls, so growth is noticed by the size alone.
        if size >= LOOKED_AT_TWICE && shipway_sys::path::metadata(&*file)?.size != size {
            return Err(Error::Changed { path: show(path) });
        }
        Ok(known.unwrap_or_else(|| *hasher.finalize().as_bytes()))
    }

    fn other(&mut self, dir: &Dir, name: &OsStr, path: Vec<u8>, found: &Metadata, node: Node) -> Result<(), Error> {
        let attributes = attributes(dir.handle(name)?, &path)?;
        let kind = match &node {
            Node::Symlink { .. } => EntryKind::Symlink,
            Node::CharDevice(..) => EntryKind::CharDevice,
            Node::BlockDevice(..) => EntryKind::BlockDevice,
            _ => EntryKind::Fifo,
        };
        let mut entry = self.entry(path.clone(), kind, found);
        if let Node::Symlink { target } = &node {
            entry.link.clone_from(target);
        }
        if let Node::CharDevice(major, minor) | Node::BlockDevice(major, minor) = &node {
            entry.device = (*major, *minor);
        }
        entry.xattrs.clone_from(&attributes.kept);
        self.tar.start(&entry)?;
        self.note(path, node, found, attributes.kept)
    }

    /// A whiteout or opaque mark: an empty file without owner, bits or time.
    fn mark(&mut self, path: Vec<u8>) -> Result<(), Error> {
        let mut entry = Entry::new(path, EntryKind::Regular);
        entry.mode = 0;
        self.tar.start(&entry)
    }

    fn entry(&self, path: Vec<u8>, kind: EntryKind, found: &Metadata) -> Entry {
        let mut entry = Entry::new(path, kind);
        let seconds = found.mtime.seconds;
        entry.mtime = Time { seconds: self.newest.map_or(seconds, |newest| seconds.min(newest)), nanoseconds: 0 };
        (entry.mode, entry.uid, entry.gid) = (found.mode, found.uid, found.gid);
        entry
    }

    fn note(&mut self, path: Vec<u8>, node: Node, found: &Metadata, xattrs: BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), Error> {
        self.index.push(IndexEntry { path, node, mode: found.mode, uid: found.uid, gid: found.gid, xattrs })
    }
}

fn attributes(fd: impl std::os::fd::AsFd, path: &[u8]) -> Result<Attributes, Error> {
    let mut kept = xattr::get_all(fd)?;
    let opaque = kept.get(whiteout::OPAQUE_XATTR).is_some_and(|value| value == b"y");
    let unsupported = |reason| Err(Error::Unsupported { path: show(path), reason });
    if kept.contains_key(&b"trusted.overlay.redirect"[..]) {
        return unsupported("it was moved by an overlay mounted with redirect_dir");
    }
    if kept.contains_key(&b"trusted.overlay.metacopy"[..]) {
        return unsupported("its data lies in a lower layer (metacopy)");
    }
    // Labels of the host's security modules belong to the host.
    kept.retain(|name, _| {
        !whiteout::is_overlay_xattr(name)
            && !matches!(name.as_slice(), b"security.selinux" | b"security.ima" | b"security.evm" | b"security.SMACK64")
    });
    Ok(Attributes { kept, opaque })
}
