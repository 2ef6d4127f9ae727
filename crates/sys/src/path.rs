//! Paths inside a tree that somebody else filled: image, container, volume, build context.
//!
//! `Root` answers paths, as a process would see them that has the tree as its `/`: absolute names, `..` and symlinks all stay inside (openat2 with
//! `RESOLVE_IN_ROOT`), magic links of /proc are refused. `Dir` answers single names and follows nothing.
//!
//! What must stay true: no path of a foreign tree is ever joined to a host path; a device, FIFO or socket is never opened for reading;
//! metadata is changed through a descriptor, never by a name that could meanwhile be a symlink.

mod dir;
mod node;
mod remove;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::{Error, fd};

pub use dir::{Dir, DirEntry};
pub use node::{FileKind, Metadata, Time, metadata, set_mode, set_owner, set_times};
pub use remove::remove_tree_at;

/// A folder that is treated as `/` for every path given to it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// Where the root lies on the host; only for messages.
    label: PathBuf,
}

/// How often a walk is tried again when the kernel says that a rename raced it (`EAGAIN`).
const RACES_TOLERATED: usize = 64;

impl Root {
    /// Opens a folder of the host by its host path.
    pub fn open(path: impl AsRef<Path>) -> Result<Root, Error> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|e| Error::new(format!("open folder {path:?}"), e))?;
        Ok(Root { fd, label: path.to_path_buf() })
    }

    /// Takes an open folder; `label` is how messages call it. For listing it must not be an `O_PATH` handle.
    pub fn from_fd(fd: OwnedFd, label: impl Into<PathBuf>) -> Root {
        Root { fd, label: label.into() }
    }

    /// The handle of the root itself.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What messages call this root.
    pub fn label(&self) -> &Path {
        &self.label
    }

    /// A second handle of the same root.
    pub fn try_clone(&self) -> Result<Root, Error> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 3).map_err(|e| Error::new(format!("dup({:?})", self.label), e))?;
        Ok(Root { fd, label: self.label.clone() })
    }

    /// The root itself as a folder for work by single names.
    pub fn top(&self) -> Result<Dir, Error> {
        self.open_dir(Path::new("."))
    }

    /// Opens `path`, symlinks resolved inside the root, the last one too unless `flags` say `NOFOLLOW`.
    ///
    /// The descriptor is close-on-exec and never becomes a controlling terminal. To read a file that a stranger made use [`Root::open_regular`].
    ///
    /// # Errors
    /// As openat2(2); `ELOOP` for a magic link or too many symlinks.
    ///
    /// # Source
    /// openat2(2), kernel 5.6.
    pub fn open_file(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Error> {
        let flags = flags | OFlags::CLOEXEC | if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NOCTTY };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        for _ in 0..RACES_TOLERATED {
            match rustix::fs::openat2(&self.fd, name, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other.map_err(|e| self.failed("openat2", path, e)),
            }
        }
        Err(self.failed("openat2", path, Errno::AGAIN))
    }

    /// Opens a regular file for reading; the last component may be a symlink inside the root.
    ///
    /// # Errors
    /// `EISDIR` for a folder, `EINVAL` with a detail for a FIFO, socket or device, none of which is opened.
    pub fn open_regular(&self, path: &Path) -> Result<File, Error> {
        let handle = self.open_file(path, OFlags::PATH, Mode::empty())?;
        match metadata(&handle)?.kind {
            FileKind::Regular => {}
            FileKind::Directory => return Err(self.failed("open file", path, Errno::ISDIR)),
            kind => return Err(self.failed("open file", path, Errno::INVAL).with_detail(format!("it is a {kind}, not a regular file"))),
        }
        // The handle fixes the inode just examined, so this cannot meet another file than that one.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd =
            rustix::fs::open(fd::proc_path(handle.as_raw_fd()), flags, Mode::empty()).map_err(|e| self.failed("open file", path, e))?;
        Ok(File::from(fd))
    }

    /// Reads a regular file that must be small, e.g. `/etc/passwd` of an image.
    ///
    /// # Errors
    /// `EFBIG` beyond `limit` bytes (nothing more is read); those of [`Root::open_regular`].
    pub fn read_limited(&self, path: &Path, limit: usize) -> Result<Vec<u8>, Error> {
        fd::read_all_limited(self.open_regular(path)?, limit)
    }

    /// Opens a folder for work by single names.
    pub fn open_dir(&self, path: &Path) -> Result<Dir, Error> {
        let fd = self.open_file(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Dir::from_fd(fd, self.label.join(path.strip_prefix("/").unwrap_or(path))))
    }

    /// Opens a folder as a root of its own: from there on nothing reaches above it.
    pub fn open_root(&self, path: &Path) -> Result<Root, Error> {
        let dir = self.open_dir(path)?;
        let label = dir.label().to_path_buf();
        Ok(Root { fd: dir.into_fd(), label })
    }

    /// Opens the folder that `path` lies in and tells the last name, which is not followed.
    ///
    /// # Errors
    /// `EINVAL` when there is no last name (`/`, `..`); `ENOENT` and `ENOTDIR` for the folder.
    pub fn resolve_parent(&self, path: &Path) -> Result<(Dir, OsString), Error> {
        let Some(name) = path.file_name() else { return Err(self.failed("parent of", path, Errno::INVAL)) };
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok((self.open_dir(parent)?, name.to_owned()))
    }

    /// Makes `path` a folder, with all that is missing above it, and opens it.
    ///
    /// `.` and `..` are taken out of `path` as text first. Folders that exist, also through symlinks, stay as they are; those made here get exactly
    /// `mode` and `owner` (or the caller's ids).
    ///
    /// # Errors
    /// `ENOTDIR` when something else is in the way, `EEXIST` when a dangling symlink is.
    pub fn create_dir_all(&self, path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<Dir, Error> {
        let wanted = clean_inside(path);
        if let Ok(dir) = self.open_dir(&wanted) {
            return Ok(dir);
        }
        let mut walked = PathBuf::new();
        let mut dir = self.top()?;
        for component in wanted.components() {
            walked.push(component);
            dir = match self.open_dir(&walked) {
                Err(error) if error.errno == Errno::NOENT => dir.create_dir(component.as_os_str(), mode, owner)?,
                other => other?,
            };
        }
        Ok(dir)
    }

    /// Examines what `path` leads to, symlinks followed inside the root.
    pub fn stat(&self, path: &Path) -> Result<Metadata, Error> {
        metadata(self.open_file(path, OFlags::PATH, Mode::empty())?)
    }

    /// Examines `path` itself, even when it is a symlink.
    pub fn lstat(&self, path: &Path) -> Result<Metadata, Error> {
        metadata(self.open_file(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?)
    }

    /// Whether `path` leads to something. Only "there is nothing" is no; other errors stay errors.
    pub fn exists(&self, path: &Path) -> Result<bool, Error> {
        match self.open_file(path, OFlags::PATH, Mode::empty()) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Text of the symlink `path`.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf, Error> {
        let link = self.open_file(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let text = rustix::fs::readlinkat(&link, "", Vec::new()).map_err(|e| self.failed("readlink", path, e))?;
        Ok(PathBuf::from(OsString::from_vec(text.into_bytes())))
    }

    /// Names in the folder `path`, sorted by bytes, without `.` and `..`.
    pub fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, Error> {
        self.open_dir(path)?.into_entries()
    }

    /// Removes `path` and all below it; nothing to remove is no error. A symlink is removed, not followed.
    ///
    /// # Errors
    /// `EXDEV` or `EBUSY` where a mount is in the way; the rest is removed all the same and the first error is told.
    pub fn remove_tree(&self, path: &Path) -> Result<(), Error> {
        match self.resolve_parent(path) {
            Ok((parent, name)) => parent.remove_tree(&name),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn failed(&self, call: &str, path: &Path, errno: Errno) -> Error {
        Error::new(format!("{call}({path:?} beneath {:?})", self.label), errno)
    }
}

/// `path` without `/` in front, `.`, `..` and double slashes, taken as text; `..` at the top stays at the top.
pub fn clean_inside(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// True for what may stand as one component: not empty, not `.` or `..`, no slash, no NUL.
pub(crate) fn is_single_name(name: &std::ffi::OsStr) -> bool {
    let bytes = name.as_bytes();
    !matches!(bytes, b"" | b"." | b"..") && !bytes.contains(&b'/') && !bytes.contains(&0)
}
