//! What the upper folder of an overlay changes in the tree below it, without mounting anything: `diff` of containers.
//!
//! What must stay true: the answer is that of comparing the two merged trees. A file that was only copied up is no change, a folder is one when
//! something in it is, a folder that hides the one below (opaque) tells what was in that one as deleted.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use shipway_sys::path::{Dir, FileKind, Metadata, Root};
use shipway_sys::xattr;

use crate::Error;
use crate::tree::join;
use crate::whiteout;

/// Folders within folders that are followed: each is a handle and a frame of the stack, and a container may nest them without end.
const DEEPEST: usize = 512;

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is another than before.
    Modified,
    /// It was not there.
    Added,
    /// It is gone, with all that was in it.
    Deleted,
}

/// The tree below an upper folder.
pub trait Below {
    /// What is seen at `path` (clean, relative), no symlink followed: its metadata and, of a symlink, its text.
    ///
    /// # Errors
    /// When a file that should be there cannot be looked at.
    fn stat(&self, path: &[u8]) -> Result<Option<Metadata>, Error>;
    /// Names in the folder `path`.
    ///
    /// # Errors
    /// As [`Below::stat`].
    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Error>;
}

/// Compares `upper` with what is `below`; paths are clean, relative, and told in their order.
pub fn changes(upper: &Root, below: &dyn Below) -> Result<Vec<(Vec<u8>, ChangeKind)>, Error> {
    let mut found = Found { below, told: BTreeMap::new() };
    let top = upper.top()?;
    let opaque = is_opaque(&top)?;
    found.folder(top, &[], Hides::of(opaque))?;
    Ok(found.told.into_iter().collect())
}

/// Whether a folder of the upper layer hides the one below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hides {
    /// The two are merged.
    Nothing,
    /// What was below is compared, but only what stands here too remains of it.
    All,
    /// There is nothing below.
    NothingThere,
}

impl Hides {
    fn of(opaque: bool) -> Self {
        if opaque { Self::All } else { Self::Nothing }
    }
}

struct Found<'a> {
    below: &'a dyn Below,
    told: BTreeMap<Vec<u8>, ChangeKind>,
}

impl Found<'_> {
    /// Compares a folder with the one below it.
    fn folder(&mut self, dir: Dir, path: &[u8], hides: Hides) -> Result<(), Error> {
        if path.iter().filter(|byte| **byte == b'/').count() > DEEPEST {
            return Err(Error::refused(path, "folders are nested too deep"));
        }
        let before = self.told.len();
        let entries = dir.entries()?;
        if hides == Hides::All {
            let here: std::collections::BTreeSet<&[u8]> = entries.iter().map(|entry| entry.name.as_bytes()).collect();
            for name in self.below.names(path)? {
                if !here.contains(name.as_slice()) {
                    self.told.insert(join(path, &name), ChangeKind::Deleted);
                }
            }
        }
        for entry in entries {
            self.one(&dir, &entry.name, path, hides)?;
        }
        if self.told.len() > before && !path.is_empty() {
            // An added folder keeps that word.
            self.told.entry(path.to_vec()).or_insert(ChangeKind::Modified);
        }
        Ok(())
    }

    fn one(&mut self, dir: &Dir, name: &OsStr, parent: &[u8], hides: Hides) -> Result<(), Error> {
        let path = join(parent, name.as_bytes());
        let Some(now) = dir.stat_if_there(name)? else { return Ok(()) };
        let before = if hides == Hides::NothingThere { None } else { self.below.stat(&path)? };
        if whiteout::is_overlay_whiteout(&now) {
            if before.is_some() {
                self.told.insert(path, ChangeKind::Deleted);
            }
            return Ok(());
        }
        match &before {
            None => {
                self.told.insert(path.clone(), ChangeKind::Added);
            }
            Some(before) if differs(before, &now) => {
                self.told.insert(path.clone(), ChangeKind::Modified);
            }
            Some(_) => {}
        }
        if now.kind != FileKind::Directory {
            return Ok(());
        }
        let below = match dir.open_dir(name) {
            Ok(below) => below,
            // A running container took it away meanwhile.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let hides = match before {
            Some(before) if before.kind == FileKind::Directory => Hides::of(hides == Hides::All || is_opaque(&below)?),
            _ => Hides::NothingThere,
        };
        self.folder(below, &path, hides)
    }
}

/// dockerd's test: times and sizes of folders say nothing.
fn differs(before: &Metadata, now: &Metadata) -> bool {
    let is_folder = now.kind == FileKind::Directory;
    (before.kind, before.mode, before.uid, before.gid, before.rdev) != (now.kind, now.mode, now.uid, now.gid, now.rdev)
        || !is_folder && (before.size, before.mtime) != (now.size, now.mtime)
}

fn is_opaque(dir: &Dir) -> Result<bool, Error> {
    Ok(xattr::get_all(dir)?.get(whiteout::OPAQUE_XATTR).is_some_and(|value| value == b"y"))
}
