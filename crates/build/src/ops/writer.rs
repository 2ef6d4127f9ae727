//! Writes files straight into the upper folder of a new snapshot, as if it were mounted over the tree below: nothing is mounted for COPY, ADD and WORKDIR.
//!
//! What must stay true: a path is walked component by component through "upper, else below" and symlinks stay inside the tree; a folder that exists
//! below and gets something new is first made in the upper folder with the same owner, mode, xattrs and time (so that only the new thing is a change);
//! folders' times are set at the end, because every new name changes them; nothing that exists below is opened for writing.

mod put;

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;
use shipway_model::ErrorKind;
use shipway_sys::path::{Dir, FileKind, Metadata, Root, Time, set_mode, set_owner, set_times};
use shipway_sys::xattr;

use crate::ops::{OpFailure, OpFinding};
pub(crate) use put::Content;

/// Extended attributes by name.
pub(crate) type Xattrs = std::collections::BTreeMap<Vec<u8>, Vec<u8>>;

/// The tree a snapshot is built on, as far as a writer asks. Paths are relative, without `.`, `..` or symlinks in front of the last name.
pub(crate) trait Below {
    /// What is at `path`, the last name not followed.
    fn at(&self, path: &Path) -> Result<Option<BelowNode>, OpFailure>;
    /// When the folder at `path` was last changed.
    fn folder_time(&self, path: &Path) -> Option<Time>;
}

/// Something in the tree below.
#[derive(Debug, Clone)]
pub(crate) struct BelowNode {
    pub(crate) kind: FileKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) xattrs: Xattrs,
    /// Text of a symlink.
    pub(crate) target: PathBuf,
}

/// How a new thing shall look.
#[derive(Debug, Clone)]
pub(crate) struct Looks {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Xattrs,
}

/// What happens to a thing of another kind in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clash {
    /// A folder and a non-folder do not replace one another (COPY, ADD).
    Refuse,
    /// The new thing replaces it (`--link`, unpacked archives).
    Replace,
}

/// How many folders are kept open. Far below any limit on descriptors, far above the depth of trees.
const OPEN_FOLDERS: usize = 128;

/// How many symlinks one path may lead through, as the kernel counts.
const SYMLINKS: usize = 40;

/// A snapshot being filled.
pub(crate) struct TreeWriter<'a> {
    upper: Root,
    below: &'a dyn Below,
    clash: Clash,
    /// Open folders of the upper tree by path.
    open: HashMap<PathBuf, Rc<Dir>>,
    /// The times folders get at the end.
    times: HashMap<PathBuf, Time>,
    /// Folders of the tree below that something else replaced: nothing below them shines through any more.
    hidden: HashSet<PathBuf>,
    /// Owner of folders made on the way, and their time.
    new_folders: Looks,
}

impl<'a> TreeWriter<'a> {
    /// Fills `upper`, which lies over `below`. Folders made on the way to a destination get `new_folders`.
    pub(crate) fn new(upper: Root, below: &'a dyn Below, clash: Clash, new_folders: Looks) -> Self {
        Self { upper, below, clash, open: HashMap::new(), times: HashMap::new(), hidden: HashSet::new(), new_folders }
    }

    /// What is at `path` (relative, its folder without symlinks), not followed.
    pub(crate) fn at(&self, path: &Path) -> Result<Option<BelowNode>, OpFailure> {
        if path.as_os_str().is_empty() {
            let top = shipway_sys::path::metadata(self.upper.as_fd()).map_err(OpFailure::sys("look at the new layer"))?;
            return Ok(Some(from_upper(&top, PathBuf::new())));
        }
        match self.upper.lstat(path) {
            Ok(found) => {
                let target = match found.kind {
                    FileKind::Symlink => self.upper.read_link(path).map_err(OpFailure::sys("read a symlink"))?,
                    _ => PathBuf::new(),
                };
                Ok(Some(from_upper(&found, target)))
            }
            Err(error) if error.is_not_found() => self.shining_through(path),
            Err(error) => Err(OpFailure::sys("look at the new layer")(error)),
        }
    }

    fn shining_through(&self, path: &Path) -> Result<Option<BelowNode>, OpFailure> {
        if !self.hidden.is_empty() && path.ancestors().any(|ancestor| self.hidden.contains(ancestor)) {
            return Ok(None);
        }
        self.below.at(path)
    }

    /// Walks `path` from the top, following symlinks inside the tree. What does not exist is taken as it is written.
    ///
    /// # Errors
    /// Too many symlinks.
    pub(crate) fn resolve(&self, path: &Path, follow_last: bool) -> Result<PathBuf, OpFailure> {
        let mut todo: Vec<OsString> = components(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                done.pop();
                continue;
            }
            done.push(&name);
            if todo.is_empty() && !follow_last {
                break;
            }
            if let Some(node) = self.at(&done)?
                && node.kind == FileKind::Symlink
            {
                links += 1;
                if links > SYMLINKS {
                    let message = format!("\"{}\" leads through too many symlinks", path.display());
                    return Err(OpFailure::finding("E-COPY-LOOP", ErrorKind::Invalid, message));
                }
                done.pop();
                if node.target.is_absolute() {
                    done = PathBuf::new();
                }
                todo.extend(components(&node.target));
            }
        }
        Ok(done)
    }

    /// Makes sure that `path` (without symlinks) is a folder of the upper tree, with all above it, and opens it.
    pub(crate) fn folder(&mut self, path: &Path) -> Result<Rc<Dir>, OpFailure> {
        if let Some(open) = self.open.get(path) {
            return Ok(open.clone());
        }
        let Some(name) = path.file_name() else {
            let top = self.upper.top().map_err(OpFailure::sys("open the new layer"))?;
            return Ok(self.keep_open(path, top));
        };
        let parent = self.folder(path.parent().unwrap_or(Path::new("")))?;
        match parent.open_dir(name) {
            Ok(dir) => return Ok(self.keep_open(path, dir)),
            Err(error) if error.errno == Errno::NOENT => {}
            Err(error) if matches!(error.errno, Errno::NOTDIR | Errno::LOOP) => return Err(not_a_folder(path)),
            Err(error) => return Err(OpFailure::sys(format!("open folder \"/{}\"", path.display()))(error)),
        }
        let looks = match self.shining_through(path)? {
            Some(node) if node.kind == FileKind::Directory => {
                let mtime = self.below.folder_time(path).unwrap_or(self.new_folders.mtime);
                Looks { mode: node.mode, uid: node.uid, gid: node.gid, mtime, xattrs: node.xattrs }
            }
            Some(_) if self.clash == Clash::Refuse => return Err(not_a_folder(path)),
            Some(_) | None => self.new_folders.clone(),
        };
        let dir = self.make_folder(&parent, path, name, &looks)?;
        Ok(self.keep_open(path, dir))
    }

    /// Puts a folder that a source brings: new with `looks`, or existing and then made to look so.
    pub(crate) fn put_folder(&mut self, path: &Path, looks: &Looks) -> Result<(), OpFailure> {
        let Some(name) = path.file_name() else { return Ok(()) };
        let parent = self.folder(path.parent().unwrap_or(Path::new("")))?;
        if let Some(found) = parent.stat_if_there(name).map_err(OpFailure::sys("look at the new layer"))? {
            if found.kind == FileKind::Directory {
                let dir = parent.open_dir(name).map_err(OpFailure::sys("open a folder"))?;
                dress(&dir, looks, &found, path)?;
                self.times.insert(path.to_owned(), looks.mtime);
                return Ok(());
            }
            self.make_way(&parent, name, path, found.kind)?;
        } else if self.clash == Clash::Refuse
            && let Some(node) = self.shining_through(path)?
            && node.kind != FileKind::Directory
        {
            return Err(not_a_folder(path));
        }
        let dir = self.make_folder(&parent, path, name, looks)?;
        self.keep_open(path, dir);
        Ok(())
    }

    fn make_folder(&mut self, parent: &Dir, path: &Path, name: &OsStr, looks: &Looks) -> Result<Dir, OpFailure> {
        let doing = || format!("make folder \"/{}\"", path.display());
        let dir = parent.create_dir(name, looks.mode, Some((looks.uid, looks.gid))).map_err(OpFailure::sys(doing()))?;
        for (key, value) in &looks.xattrs {
            xattr::set(&dir, key, value).map_err(OpFailure::sys(doing()))?;
        }
        if self.hidden.contains(path) {
            // A folder stood here below, something else took its place, and now there is a folder again: the old one must not shine through.
            xattr::set(&dir, b"trusted.overlay.opaque", b"y").map_err(OpFailure::sys(doing()))?;
        }
        self.times.insert(path.to_owned(), looks.mtime);
        Ok(dir)
    }

    /// Whether folders and other things replace one another from now on.
    pub(crate) fn replacing(&mut self, replace: bool) {
        self.clash = if replace { Clash::Replace } else { Clash::Refuse };
    }

    /// Whether something replaced a folder of the tree below.
    pub(crate) fn has_hidden(&self) -> bool {
        !self.hidden.is_empty()
    }

    /// Whether the new layer has the folder `path`.
    pub(crate) fn has_folder(&self, path: &Path) -> Result<bool, OpFailure> {
        Ok(self.brought(path)? == Some(FileKind::Directory))
    }

    /// What the new layer itself has at `path`, whatever is below it.
    pub(crate) fn brought(&self, path: &Path) -> Result<Option<FileKind>, OpFailure> {
        match self.upper.lstat(path) {
            Ok(found) => Ok(Some(found.kind)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(OpFailure::sys("look at the new layer")(error)),
        }
    }

    /// Sets the times of all folders that were made or that got something new.
    pub(crate) fn finish(mut self) -> Result<(), OpFailure> {
        self.open.clear();
        for (path, time) in &self.times {
            let (parent, name) = match self.upper.resolve_parent(path) {
                Ok(found) => found,
                // Replaced by something else meanwhile.
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(OpFailure::sys("set the time of a folder")(error)),
            };
            let handle = match parent.handle(&name) {
                Ok(handle) => handle,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(OpFailure::sys("set the time of a folder")(error)),
            };
            set_times(&handle, *time).map_err(OpFailure::sys("set the time of a folder"))?;
        }
        Ok(())
    }

    /// The open folder and last name of `path`; a folder of the tree below at `path` is a clash.
    fn place<'p>(&mut self, path: &'p Path) -> Result<(Rc<Dir>, &'p OsStr), OpFailure> {
        let Some(name) = path.file_name() else {
            return Err(OpFailure::finding("E-COPY-DESTINATION", ErrorKind::Invalid, "the root folder cannot be replaced by a file"));
        };
        let parent = self.folder(path.parent().unwrap_or(Path::new("")))?;
        if let Some(node) = self.shining_through(path)?
            && node.kind == FileKind::Directory
        {
            if self.clash == Clash::Refuse {
                return Err(is_a_folder(path));
            }
            self.hidden.insert(path.to_owned());
        }
        Ok((parent, name))
    }

    fn make_way_for(&mut self, parent: &Dir, name: &OsStr, path: &Path) -> Result<(), OpFailure> {
        let found = parent.stat(name).map_err(OpFailure::sys("look at the new layer"))?;
        self.make_way(parent, name, path, found.kind)
    }

    fn make_way(&mut self, parent: &Dir, name: &OsStr, path: &Path, kind: FileKind) -> Result<(), OpFailure> {
        if kind != FileKind::Directory {
            return parent.remove_file(name).map_err(OpFailure::sys(format!("replace \"/{}\"", path.display())));
        }
        if self.clash == Clash::Refuse {
            return Err(is_a_folder(path));
        }
        self.open.retain(|open, _| !open.starts_with(path));
        self.times.retain(|known, _| !known.starts_with(path));
        self.hidden.insert(path.to_owned());
        parent.remove_tree(name).map_err(OpFailure::sys(format!("replace \"/{}\"", path.display())))
    }

    fn keep_open(&mut self, path: &Path, dir: Dir) -> Rc<Dir> {
        if self.open.len() >= OPEN_FOLDERS {
            self.open.clear();
        }
        let dir = Rc::new(dir);
        self.open.insert(path.to_owned(), dir.clone());
        dir
    }
}

/// Makes an existing folder look as wanted.
fn dress(dir: &Dir, looks: &Looks, found: &Metadata, path: &Path) -> Result<(), OpFailure> {
    let doing = || format!("change folder \"/{}\"", path.display());
    if (found.uid, found.gid) != (looks.uid, looks.gid) {
        set_owner(dir, looks.uid, looks.gid).map_err(OpFailure::sys(doing()))?;
    }
    if found.mode != looks.mode {
        set_mode(dir, looks.mode).map_err(OpFailure::sys(doing()))?;
    }
    for (key, value) in &looks.xattrs {
        xattr::set(dir, key, value).map_err(OpFailure::sys(doing()))?;
    }
    Ok(())
}

fn from_upper(found: &Metadata, target: PathBuf) -> BelowNode {
    BelowNode { kind: found.kind, mode: found.mode, uid: found.uid, gid: found.gid, xattrs: Xattrs::new(), target }
}

/// The ids new inodes get by themselves.
fn caller() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// The names of `path`, last first, without `/` and `.`.
fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// The finding of a file where a folder is to be.
pub(crate) const NOT_A_FOLDER: &str = "E-COPY-NOT-A-FOLDER";

fn not_a_folder(path: &Path) -> OpFailure {
    let path = path.display();
    OpFinding::new(NOT_A_FOLDER, ErrorKind::Invalid, format!("\"/{path}\" exists in the image and is not a folder"))
        .because("a folder is to be put there, and COPY does not replace a file by a folder")
        .hint("copy to another path, or remove the file with RUN rm first")
        .docker(format!("cannot copy to non-directory: /{path}"))
        .into()
}

fn is_a_folder(path: &Path) -> OpFailure {
    let path = path.display();
    OpFinding::new("E-COPY-IS-A-FOLDER", ErrorKind::Invalid, format!("\"/{path}\" is a folder in the image"))
        .because("a file is to be put there, and COPY does not replace a folder by a file")
        .hint("copy to another path, or remove the folder with RUN rm -r first")
        .docker(format!("cannot replace to directory /{path} with file"))
        .into()
}

/// A path as bytes, for names in keys.
pub(crate) fn bytes_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(test)]
#[path = "writer/tests.rs"]
mod tests;
