//! Placing one entry: clearing the way, making it, and noting it in the index. `metadata` gives it owner, mode, attributes and times; `link` makes
//! hard links.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::io::Errno;
use shipway_sys::path::{FileKind, Root, set_mode, set_owner, set_times};
use shipway_sys::xattr;

use super::filler::{Filler, Job};
use super::metadata::{Xattrs, check_xattrs, umask};
use super::names::Names;
use super::noted::{Noted, Notes};
use super::walk::{Folder, Folders};
use super::{Lower, OtherKind, Ownership, UnpackSummary, Whiteouts};
use crate::Error;
use crate::index::{IndexEntry, LayerIndex, Node};
use crate::tar::read::Chunk;
use crate::tar::{Entry, EntryKind, TarReader};
use crate::tree::{components, join};
use crate::whiteout::{self, Mark};

/// Read and written at once; most files of images fit in.
const BUFFER: usize = 128 * 1024;

/// The work in progress.
pub(super) struct Placing<'a> {
    pub(super) root: Rc<Folder>,
    pub(super) lower: &'a dyn Lower,
    pub(super) whiteouts: Whiteouts,
    pub(super) other_kind: OtherKind,
    pub(super) top: Top,
    pub(super) ownership: Ownership,
    pub(super) euid: u32,
    pub(super) egid: u32,
    pub(super) umask: u32,
    pub(super) folders: Folders,
    pub(super) notes: Notes,
    /// Inodes with several names so far.
    pub(super) inodes: u32,
    filler: Filler,
    buffer: Vec<u8>,
    pub(super) bytes: u64,
    entries: u64,
    pub(super) skipped_xattrs: u64,
}

/// When the root gets the owner, mode, attributes and time of an entry for the archive's own top.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Top {
    Never,
    AtOnce,
    /// The entry, once it came: what is made in the root must not inherit from it.
    AtTheEnd(Option<Box<Entry>>),
}

/// What stood in the way of a new thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A folder, left there because a folder is to come.
    FolderKept,
    /// A whiteout or something else that hid the layers below and is now removed.
    Removed,
}

impl<'a> Placing<'a> {
    pub(super) fn new(root: &Root, lower: &'a dyn Lower, ownership: Ownership, whiteouts: Whiteouts) -> Result<Self, Error> {
        let top = root.top()?;
        let found = shipway_sys::path::metadata(&top)?;
        let (euid, egid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mut root_entry = IndexEntry::new(b"", Node::Directory { opaque: false }, found.mode);
        (root_entry.uid, root_entry.gid) = (found.uid, found.gid);
        let gid = if found.mode & 0o2000 == 0 { egid } else { found.gid };
        let mut notes = Notes::new(&top)?;
        notes.put(Noted::new(root_entry))?;
        Ok(Placing {
            root: Rc::new(Folder { dir: top, path: Vec::new(), gid }),
            lower,
            whiteouts,
            other_kind: OtherKind::Replaced,
            top: if whiteouts == Whiteouts::Overlay { Top::AtOnce } else { Top::Never },
            ownership,
            euid,
            egid,
            umask: umask()?,
            folders: Folders::default(),
            notes,
            inodes: 0,
            filler: Filler::default(),
            buffer: vec![0; BUFFER],
            bytes: 0,
            entries: 0,
            skipped_xattrs: 0,
        })
    }

    /// Owner of folders that no entry describes.
    pub(super) fn unmentioned_owner(&self) -> (u32, u32) {
        match self.ownership {
            Ownership::FromArchive => (0, 0),
            Ownership::Fixed(uid, gid) => (uid, gid),
        }
    }

    /// Places one entry whose body `tar` gives next.
    pub(super) fn place<R: Read>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<(), Error> {
        self.entries += 1;
        check_xattrs(entry)?;
        let Some((parent, name)) = clean(&entry.path) else { return self.place_root(entry) };
        if self.whiteouts == Whiteouts::Overlay {
            match self.marks(entry, &parent, &name)? {
                Mark::None => {}
                Mark::Aufs => return Ok(()),
                Mark::Whiteout(gone) => return self.place_whiteout(&parent, gone),
                Mark::Opaque => return self.place_opaque(&parent),
                Mark::Invalid => return Err(Error::refused(&entry.path, "it is a whiteout of no possible name")),
            }
        }
        let folder = self.folder(&parent)?;
        let os_name = OsStr::from_bytes(&name);
        let path = join(&folder.path, &name);
        match entry.kind {
            EntryKind::Directory => self.place_dir(entry, &folder, os_name, path),
            EntryKind::Regular => self.place_file(entry, &folder, os_name, path, tar),
            EntryKind::Hardlink => self.place_hardlink(entry, &folder, os_name, path),
            EntryKind::Symlink => self.place_symlink(entry, &folder, os_name, path),
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => self.place_node(entry, &folder, os_name, path),
        }
    }

    /// Ends the unpacking of a plain archive.
    pub(super) fn finish(mut self) -> Result<UnpackSummary, Error> {
        self.wind_up(|_| Ok(()))?;
        Ok(self.summary())
    }

    /// Ends the unpacking of a layer, and tells what is in it.
    pub(super) fn finish_layer(mut self) -> Result<(UnpackSummary, LayerIndex), Error> {
        let root = Rc::clone(&self.root);
        let mut names = Names::new(&root.dir, self.inodes);
        self.wind_up(|noted| names.take(noted))?;
        Ok((self.summary(), names.finish()?))
    }

    /// Waits for what is under way, sets what can only be set last, and shows all that was placed.
    fn wind_up(&mut self, mut each: impl FnMut(Noted) -> Result<(), Error>) -> Result<(), Error> {
        self.settle_files()?;
        self.folders.forget();
        if let Top::AtTheEnd(Some(entry)) = std::mem::replace(&mut self.top, Top::Never) {
            self.dress_root(&entry)?;
        }
        self.notes.take()?.in_order(|noted| {
            if let Some(time) = noted.mtime {
                set_times(&self.folder(&noted.entry.path)?.dir, time)?;
            }
            each(noted)
        })
    }

    fn summary(&self) -> UnpackSummary {
        UnpackSummary { bytes: self.bytes, entries: self.entries, skipped_xattrs: self.skipped_xattrs }
    }

    /// What the name means; a whiteout name among the folders on the way is never sensible.
    fn marks<'n>(&self, entry: &Entry, parent: &[u8], name: &'n [u8]) -> Result<Mark<'n>, Error> {
        for component in parent.split(|byte| *byte == b'/') {
            match whiteout::mark(component) {
                Mark::None => {}
                Mark::Aufs => return Ok(Mark::Aufs),
                _ => return Err(Error::refused(&entry.path, "a whiteout cannot be a folder")),
            }
        }
        Ok(whiteout::mark(name))
    }

    fn place_root(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != EntryKind::Directory {
            return Err(Error::refused(&entry.path, "the root can only be a folder"));
        }
        match &mut self.top {
            Top::Never => return Ok(()),
            Top::AtTheEnd(kept) => {
                *kept = Some(Box::new(entry.clone()));
                return Ok(());
            }
            Top::AtOnce => {}
        }
        self.dress_root(entry)
    }

    fn dress_root(&mut self, entry: &Entry) -> Result<(), Error> {
        let root = Rc::clone(&self.root);
        let (uid, gid) = self.owner(entry);
        set_owner(&root.dir, uid, gid)?;
        set_mode(&root.dir, entry.mode)?;
        let xattrs = self.set_xattrs(root.dir.as_fd(), entry)?;
        let opaque = self.is_opaque(b"")?;
        self.note_folder(Vec::new(), opaque, entry, xattrs)
    }

    fn place_whiteout(&mut self, parent: &[u8], gone: &[u8]) -> Result<(), Error> {
        let folder = self.folder(parent)?;
        let (name, path) = (OsStr::from_bytes(gone), join(&folder.path, gone));
        match whiteout::make_overlay_whiteout(&folder.dir, name) {
            Ok(()) => self.notes.put(Noted::new(IndexEntry::new(path, Node::Whiteout, 0))),
            // This layer has the name itself: only the layers below lose it, which a folder must say and a file says by being there.
            Err(Error::Sys(error)) if error.errno == Errno::EXIST => match folder.dir.stat(name)?.kind {
                FileKind::Directory => self.make_opaque(&path),
                _ => Ok(()),
            },
            Err(error) => Err(error),
        }
    }

    fn place_opaque(&mut self, parent: &[u8]) -> Result<(), Error> {
        let path = self.folder(parent)?.path.clone();
        self.make_opaque(&path)
    }

    fn make_opaque(&mut self, path: &[u8]) -> Result<(), Error> {
        let folder = self.folder(path)?;
        xattr::set(&folder.dir, whiteout::OPAQUE_XATTR, b"y")?;
        match self.notes.get(path)? {
            Some(mut noted) => {
                noted.entry.node = Node::Directory { opaque: true };
                self.notes.put(noted)
            }
            None => Ok(()),
        }
    }

    fn is_opaque(&self, path: &[u8]) -> Result<bool, Error> {
        Ok(self.notes.get(path)?.is_some_and(|noted| noted.entry.node == Node::Directory { opaque: true }))
    }

    fn place_dir(&mut self, entry: &Entry, folder: &Folder, name: &OsStr, path: Vec<u8>) -> Result<(), Error> {
        let mut found = None;
        if let Err(error) = folder.dir.make_dir(name, entry.mode & 0o777) {
            found = Some(self.clear_way(error, folder, name, &path, EntryKind::Directory)?);
            if found == Some(Found::Removed) {
                folder.dir.make_dir(name, entry.mode & 0o777)?;
            }
        }
        let dir = folder.dir.open_dir(name)?;
        let (uid, gid) = self.owner(entry);
        let merged = found == Some(Found::FolderKept);
        let inherits = if merged { None } else { Some((self.euid, folder.gid)) };
        if inherits != Some((uid, gid)) {
            set_owner(&dir, uid, gid)?;
        }
        // A new folder in a setgid folder gets that bit without being asked.
        if merged || entry.mode & (0o7000 | self.umask) != 0 || folder.gid != self.egid || inherits != Some((uid, gid)) {
            set_mode(&dir, entry.mode)?;
        }
        let xattrs = self.set_xattrs(dir.as_fd(), entry)?;
        let was_opaque = merged && self.is_opaque(&path)?;
        let hides = found == Some(Found::Removed) && self.whiteouts == Whiteouts::Overlay;
        if hides {
            xattr::set(&dir, whiteout::OPAQUE_XATTR, b"y")?;
        }
        self.note_folder(path, was_opaque || hides, entry, xattrs)?;
        // A folder opened earlier may have another group and bits now.
        if merged {
            self.folders.forget();
        }
        Ok(())
    }

    fn place_file<R: Read>(
        &mut self,
        entry: &Entry,
        folder: &Folder,
        name: &OsStr,
        path: Vec<u8>,
        tar: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let mut file = match folder.dir.create_file(name, entry.mode & 0o777) {
            Ok(file) => file,
            Err(error) => {
                self.clear_way(error, folder, name, &path, entry.kind)?;
                folder.dir.create_file(name, entry.mode & 0o777)?
            }
        };
        if self.filler.takes(entry) {
            return self.hand_over(entry, file, folder, path, tar);
        }
        let content = self.fill(&mut file, tar, folder, name)?;
        self.bytes += entry.size;
        let xattrs = self.set_metadata(file.as_fd(), entry, folder, entry.mode & 0o777)?;
        self.note(path, Node::File { size: entry.size, content, hardlink: None }, entry, xattrs)
    }

    /// Has a small file filled by the other thread; it is noted when its digest comes.
    fn hand_over<R: Read>(
        &mut self,
        entry: &Entry,
        file: File,
        folder: &Folder,
        path: Vec<u8>,
        tar: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let mut content = Vec::with_capacity(usize::try_from(entry.size).unwrap_or_default());
        loop {
            match tar.next_chunk(&mut self.buffer)? {
                Chunk::End => break,
                Chunk::Data(count) => content.extend_from_slice(&self.buffer[..count]),
                Chunk::Hole(length) => content.resize(content.len() + usize::try_from(length).unwrap_or_default(), 0),
            }
        }
        self.bytes += entry.size;
        let owner = Some(self.owner(entry)).filter(|owner| *owner != (self.euid, folder.gid));
        let mode = (entry.mode != entry.mode & 0o777 & !self.umask).then_some(entry.mode);
        let (uid, gid) = self.owner(entry);
        let node = Node::File { size: entry.size, content: [0; 32], hardlink: None };
        let noted = IndexEntry { uid, gid, ..IndexEntry::new(path, node, entry.mode) };
        let filled = self.filler.fill(Job { entry: noted, file, content, owner, mode, mtime: entry.mtime })?;
        self.note_filled(filled)
    }

    /// Waits for the files that the other thread has; before anything is done to what was placed.
    pub(super) fn settle_files(&mut self) -> Result<(), Error> {
        let filled = self.filler.settle()?;
        self.note_filled(filled)
    }

    fn note_filled(&mut self, filled: Vec<IndexEntry>) -> Result<(), Error> {
        filled.into_iter().try_for_each(|entry| self.notes.put(Noted::new(entry)))
    }

    /// Writes the body and hashes it on the way; holes stay holes.
    fn fill<R: Read>(&mut self, file: &mut File, tar: &mut TarReader<R>, folder: &Folder, name: &OsStr) -> Result<[u8; 32], Error> {
        let failed = |error: std::io::Error| shipway_sys::Error::from_io(format!("write({name:?} in {:?})", folder.dir.label()), &error);
        let mut hasher = blake3::Hasher::new();
        let mut ends_in_hole = None;
        let mut position = 0;
        loop {
            match tar.next_chunk(&mut self.buffer)? {
                Chunk::End => break,
                Chunk::Data(count) => {
                    file.write_all(&self.buffer[..count]).map_err(failed)?;
                    hasher.update(&self.buffer[..count]);
                    position += count as u64;
                    ends_in_hole = None;
                }
                Chunk::Hole(length) => {
                    position += length;
                    file.seek(SeekFrom::Start(position)).map_err(failed)?;
                    hash_zeros(&mut hasher, length);
                    ends_in_hole = Some(position);
                }
            }
        }
        if let Some(end) = ends_in_hole {
            file.set_len(end).map_err(failed)?;
        }
        Ok(*hasher.finalize().as_bytes())
    }

    fn place_symlink(&mut self, entry: &Entry, folder: &Folder, name: &OsStr, path: Vec<u8>) -> Result<(), Error> {
        let target = OsStr::from_bytes(&entry.link);
        if let Err(error) = folder.dir.create_symlink(name, target) {
            self.clear_way(error, folder, name, &path, entry.kind)?;
            folder.dir.create_symlink(name, target)?;
        }
        let handle = folder.dir.handle(name)?;
        let (uid, gid) = self.owner(entry);
        if (uid, gid) != (self.euid, folder.gid) {
            set_owner(&handle, uid, gid)?;
        }
        let xattrs = self.set_xattrs(handle.as_fd(), entry)?;
        set_times(&handle, entry.mtime)?;
        // The kernel shows every symlink with 0777, and so does the index, whatever the archive says.
        let noted = IndexEntry { uid, gid, xattrs, ..IndexEntry::new(path, Node::Symlink { target: entry.link.clone() }, 0o777) };
        self.notes.put(Noted::new(noted))
    }

    fn place_node(&mut self, entry: &Entry, folder: &Folder, name: &OsStr, path: Vec<u8>) -> Result<(), Error> {
        let (major, minor) = entry.device;
        let (kind, node) = match entry.kind {
            EntryKind::CharDevice if entry.device == (0, 0) => {
                return Err(Error::refused(&entry.path, "device 0:0 would act as a whiteout"));
            }
            EntryKind::CharDevice => (FileKind::CharDevice, Node::CharDevice(major, minor)),
            EntryKind::BlockDevice => (FileKind::BlockDevice, Node::BlockDevice(major, minor)),
            _ => (FileKind::Fifo, Node::Fifo),
        };
        let device = if kind == FileKind::Fifo { (0, 0) } else { entry.device };
        if let Err(error) = folder.dir.create_node(name, kind, entry.mode & 0o777, device) {
            self.clear_way(error, folder, name, &path, entry.kind)?;
            folder.dir.create_node(name, kind, entry.mode & 0o777, device)?;
        }
        let handle = folder.dir.handle(name)?;
        let xattrs = self.set_metadata(handle.as_fd(), entry, folder, entry.mode & 0o777)?;
        self.note(path, node, entry, xattrs)
    }

    /// Called when making something failed: removes what is in the way if that was the reason.
    pub(super) fn clear_way(
        &mut self,
        error: shipway_sys::Error,
        folder: &Folder,
        name: &OsStr,
        path: &[u8],
        coming: EntryKind,
    ) -> Result<Found, Error> {
        if error.errno != Errno::EXIST {
            return Err(error.into());
        }
        let found = folder.dir.stat(name)?;
        if found.kind == FileKind::Directory && coming == EntryKind::Directory {
            return Ok(Found::FolderKept);
        }
        if self.other_kind == OtherKind::Refused {
            let shown = crate::error::show(path);
            match (found.kind == FileKind::Directory, coming == EntryKind::Directory) {
                (true, false) => {
                    return Err(Error::OtherKind { problem: format!("cannot overwrite directory \"/{shown}\" with non-directory") });
                }
                (false, true) => {
                    return Err(Error::OtherKind { problem: format!("cannot overwrite non-directory \"/{shown}\" with directory") });
                }
                _ => {}
            }
        }
        self.settle_files()?;
        folder.dir.remove_tree(name)?;
        self.folders.forget();
        self.notes.clear(path);
        Ok(Found::Removed)
    }

    fn note(&mut self, path: Vec<u8>, node: Node, entry: &Entry, xattrs: Xattrs) -> Result<(), Error> {
        let (uid, gid) = self.owner(entry);
        self.notes.put(Noted::new(IndexEntry { path, node, mode: entry.mode, uid, gid, xattrs }))
    }

    fn note_folder(&mut self, path: Vec<u8>, opaque: bool, entry: &Entry, xattrs: Xattrs) -> Result<(), Error> {
        let (uid, gid) = self.owner(entry);
        let noted = IndexEntry { path, node: Node::Directory { opaque }, mode: entry.mode, uid, gid, xattrs };
        self.notes.put(Noted { mtime: Some(entry.mtime), ..Noted::new(noted) })
    }
}

/// Folder and name of an archive path, `..` and dots taken out as text and never above the root; none for the root itself.
pub(super) fn clean(path: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for name in components(path) {
        if name == b".." {
            kept.pop();
        } else {
            kept.push(name);
        }
    }
    let name = kept.pop()?;
    Some((kept.join(&b'/'), name))
}

fn hash_zeros(hasher: &mut blake3::Hasher, mut length: u64) {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    while length > 0 {
        let step = length.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..step as usize]);
        length -= step;
    }
}
