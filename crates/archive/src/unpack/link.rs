//! Hard links, also to files of the layers below.
//!
//! What must stay true: a link is made from one open folder to another, its target is looked up like any other path, and a symlink as target is
//! linked itself.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use shipway_sys::path::{FileKind, set_mode, set_owner, set_times};
use shipway_sys::{copy, xattr};

use super::Whiteouts;
use super::noted::Noted;
use super::place::{Placing, clean};
use super::walk::Folder;
use crate::Error;
use crate::index::{IndexEntry, Node};
use crate::tar::Entry;
use crate::tree::join;
use crate::whiteout;

impl Placing<'_> {
    /// A further name of something unpacked before or, in a layer, of a file of the layers below, which then is copied up.
    pub(super) fn place_hardlink(&mut self, entry: &Entry, folder: &Folder, name: &OsStr, path: Vec<u8>) -> Result<(), Error> {
        let Some((target_parent, target_name)) = clean(&entry.link) else {
            return Err(Error::refused(&entry.path, "a hard link to the root"));
        };
        self.settle_files()?;
        let target_folder = self.folder(&target_parent)?;
        let target_path = join(&target_folder.path, &target_name);
        if target_path == path {
            return Err(Error::refused(&entry.path, "a hard link to itself"));
        }
        let target_os = OsStr::from_bytes(&target_name);
        let found = target_folder
            .dir
            .stat_if_there(target_os)?
            .filter(|found| self.whiteouts == Whiteouts::Plain || !whiteout::is_overlay_whiteout(found));
        match found {
            Some(found) if found.kind == FileKind::Directory => return Err(Error::refused(&entry.path, "a hard link to a folder")),
            Some(_) => {}
            None => self.copy_up(entry, &target_folder, target_os, &target_path)?,
        }
        if let Err(error) = folder.dir.create_hardlink(name, &target_folder.dir, target_os) {
            self.clear_way(error, folder, name, &path, entry.kind)?;
            folder.dir.create_hardlink(name, &target_folder.dir, target_os)?;
        }
        let Some(mut noted) = self.notes.get(&target_path)? else {
            // Plain archives may link to what was there before them; that is not theirs to tell of, but for what it replaced.
            let unknown = Node::File { size: 0, content: [0; 32], hardlink: None };
            return self.notes.put(Noted::new(IndexEntry::new(path, unknown, 0)));
        };
        if matches!(noted.entry.node, Node::File { .. }) && noted.inode.is_none() {
            noted.inode = Some(self.inodes);
            self.inodes += 1;
            self.notes.put(noted.clone())?;
        }
        noted.entry.path = path;
        self.notes.put(Noted { inode: noted.inode, ..Noted::new(noted.entry) })
    }

    fn copy_up(&mut self, entry: &Entry, folder: &Folder, name: &OsStr, path: &[u8]) -> Result<(), Error> {
        let missing = || Error::NoLinkTarget { path: crate::error::show(&entry.path), target: crate::error::show(&entry.link) };
        // A whiteout of this very layer means that the file is gone for everybody.
        if folder.dir.stat_if_there(name)?.is_some() {
            return Err(missing());
        }
        let below = self.lower.lookup(path)?.ok_or_else(missing)?;
        let Node::File { size, .. } = below.node else { return Err(missing()) };
        let source = self.lower.open(path)?.ok_or_else(missing)?;
        let file = folder.dir.create_file(name, 0o600)?;
        copy::copy_file(&source, &file, size)?;
        set_owner(&file, below.uid, below.gid)?;
        set_mode(&file, below.mode)?;
        for (key, value) in &below.xattrs {
            xattr::set(&file, key, value)?;
        }
        set_times(&file, shipway_sys::path::metadata(&source)?.mtime)?;
        self.bytes += size;
        self.notes.put(Noted::new(IndexEntry { path: path.to_vec(), ..below }))
    }
}
