//! Finding the folder that an entry belongs into.
//!
//! What must stay true: a step goes from an open folder to a name in it, never further; `..` never leaves the root; a folder found once is kept open
//! under its archive path until something that could change the way is removed.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::io::Errno;
use shipway_sys::path::{Dir, FileKind, metadata, set_mode, set_owner};
use shipway_sys::xattr;

use crate::Error;
use crate::index::{IndexEntry, Node};
use crate::tree::{components, join};
use crate::whiteout;

use super::noted::Noted;
use super::place::Placing;
use super::{Lower, Whiteouts};

/// Folders kept open at the same time.
const OPEN_FOLDERS: usize = 512;

/// As many symlinks as the kernel follows in one path.
const SYMLINKS_FOLLOWED: usize = 40;

/// A folder found.
pub(super) struct Folder {
    pub(super) dir: Dir,
    /// Its real path below the root.
    pub(super) path: Vec<u8>,
    /// Group that new things get: the folder's when it has the setgid bit, else ours.
    pub(super) gid: u32,
}

/// Where to go on.
enum Step {
    Into(Rc<Folder>),
    Along(Vec<u8>),
}

/// Open folders by the path under which entries name them.
#[derive(Default)]
pub(super) struct Folders {
    known: HashMap<Vec<u8>, Rc<Folder>>,
}

impl Folders {
    /// Forgets all, since something on the way to them may have changed.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

impl Placing<'_> {
    /// Opens the folder `path` (clean), making what is missing.
    pub(super) fn folder(&mut self, path: &[u8]) -> Result<Rc<Folder>, Error> {
        if let Some(folder) = self.folders.known.get(path) {
            return Ok(Rc::clone(folder));
        }
        let found = self.walk(path)?;
        if self.folders.known.len() >= OPEN_FOLDERS {
            self.folders.forget();
        }
        self.folders.known.insert(path.to_vec(), Rc::clone(&found));
        Ok(found)
    }

    fn walk(&mut self, path: &[u8]) -> Result<Rc<Folder>, Error> {
        let mut left: VecDeque<Vec<u8>> = components(path);
        let mut way = vec![Rc::clone(&self.root)];
        let mut followed = 0;
        while let Some(name) = left.pop_front() {
            if name == b".." {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let here = Rc::clone(way.last().unwrap_or(&self.root));
            match self.step(&here, &name, path)? {
                Step::Into(folder) => way.push(folder),
                Step::Along(target) => {
                    followed += 1;
                    if followed > SYMLINKS_FOLLOWED {
                        return Err(Error::refused(path, "too many symlinks on its way"));
                    }
                    if target.starts_with(b"/") {
                        way.truncate(1);
                    }
                    for name in components(&target).into_iter().rev() {
                        left.push_front(name);
                    }
                }
            }
        }
        Ok(way.pop().unwrap_or_else(|| Rc::clone(&self.root)))
    }

    fn step(&mut self, here: &Folder, name: &[u8], wanted: &[u8]) -> Result<Step, Error> {
        let path = join(&here.path, name);
        let name = OsStr::from_bytes(name);
        match here.dir.open_dir(name) {
            Ok(dir) => return self.enter(dir, path).map(Step::Into),
            Err(error) if matches!(error.errno, Errno::NOTDIR | Errno::LOOP) => {
                let found = here.dir.stat(name)?;
                if found.kind == FileKind::Symlink {
                    return Ok(Step::Along(here.dir.read_link(name)?.as_bytes().to_vec()));
                }
                if self.whiteouts == Whiteouts::Overlay && whiteout::is_overlay_whiteout(&found) {
                    here.dir.remove_file(name)?;
                    return self.make(here, name, path, None, Below::Hidden).map(Step::Into);
                }
                return Err(Error::refused(wanted, format!("\"{}\" is not a folder", crate::error::show(&path))));
            }
            Err(error) if error.errno == Errno::NOENT => {}
            Err(error) => return Err(error.into()),
        }
        match self.lower_entry(&path)? {
            Some(IndexEntry { node: Node::Symlink { target }, .. }) => Ok(Step::Along(target)),
            Some(entry) if entry.is_dir() => self.make(here, name, path, Some(&entry), Below::Seen).map(Step::Into),
            // A file below is replaced by the folder this layer needs there, as a mounted overlay would refuse but Docker's does.
            _ => self.make(here, name, path, None, Below::Seen).map(Step::Into),
        }
    }

    fn lower_entry(&self, path: &[u8]) -> Result<Option<IndexEntry>, Error> {
        let lower: &dyn Lower = self.lower;
        lower.lookup(path)
    }

    /// Makes a folder that no entry has described yet.
    fn make(&mut self, here: &Folder, name: &OsStr, path: Vec<u8>, like: Option<&IndexEntry>, below: Below) -> Result<Rc<Folder>, Error> {
        here.dir.make_dir(name, 0o700)?;
        let dir = here.dir.open_dir(name)?;
        let (uid, gid) = like.map_or(self.unmentioned_owner(), |entry| (entry.uid, entry.gid));
        let mode = like.map_or(0o755, |entry| entry.mode);
        if (uid, gid) != (self.euid, here.gid) {
            set_owner(&dir, uid, gid)?;
        }
        set_mode(&dir, mode)?;
        let mut entry = IndexEntry::new(path.clone(), Node::Directory { opaque: below == Below::Hidden }, mode);
        (entry.uid, entry.gid) = (uid, gid);
        for (key, value) in like.iter().flat_map(|like| &like.xattrs) {
            xattr::set(&dir, key, value)?;
            entry.xattrs.insert(key.clone(), value.clone());
        }
        if below == Below::Hidden {
            xattr::set(&dir, whiteout::OPAQUE_XATTR, b"y")?;
        }
        self.notes.put(Noted::new(entry))?;
        self.enter(dir, path)
    }

    pub(super) fn enter(&self, dir: Dir, path: Vec<u8>) -> Result<Rc<Folder>, Error> {
        let found = metadata(&dir)?;
        let gid = if found.mode & 0o2000 == 0 { self.egid } else { found.gid };
        Ok(Rc::new(Folder { dir, path, gid }))
    }
}

/// Whether a new folder lets the lower layers shine through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Seen,
    Hidden,
}
