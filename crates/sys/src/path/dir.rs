//! An open folder in which single names are worked on.
//!
//! What must stay true: a name is one component (checked), and the last component is never followed; whoever wants symlinks resolved uses `Root`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, RenameFlags};
use rustix::io::Errno;

use super::{FileKind, Metadata, is_single_name, metadata, remove, set_mode, set_owner};
use crate::Error;

/// A folder by handle.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    label: PathBuf,
}

/// One name of a folder, as getdents64(2) tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name.
    pub name: OsString,
    /// The kind; some filesystems say `Unknown`.
    pub kind: FileKind,
    /// Inode number.
    pub ino: u64,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    /// Takes an open folder; `label` is how messages call it.
    pub fn from_fd(fd: OwnedFd, label: impl Into<PathBuf>) -> Dir {
        Dir { fd, label: label.into() }
    }

    /// What messages call this folder.
    pub fn label(&self) -> &Path {
        &self.label
    }

    /// Gives the descriptor away.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// A second handle of the same folder.
    pub fn try_clone(&self) -> Result<Dir, Error> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 3).map_err(|e| self.failed("dup", OsStr::new("."), e))?;
        Ok(Dir { fd, label: self.label.clone() })
    }

    /// Names in this folder, sorted by bytes, without `.` and `..`.
    pub fn entries(&self) -> Result<Vec<DirEntry>, Error> {
        // A fresh open file has its own offset, so two threads may list the same folder.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fresh = rustix::fs::openat(&self.fd, ".", flags, Mode::empty()).map_err(|e| self.failed("open folder", OsStr::new("."), e))?;
        self.list(fresh.as_fd())
    }

    /// Like [`Dir::entries`] for a handle that is needed no more; one call less.
    pub fn into_entries(self) -> Result<Vec<DirEntry>, Error> {
        self.list(self.fd.as_fd())
    }

    /// Like [`Dir::entries`] without opening the folder again; the handle must not have been listed before.
    pub fn first_entries(&mut self) -> Result<Vec<DirEntry>, Error> {
        self.list(self.fd.as_fd())
    }

    fn list(&self, fd: BorrowedFd<'_>) -> Result<Vec<DirEntry>, Error> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 32 * 1024];
        let mut lister = RawDir::new(fd, &mut buffer);
        let mut entries = Vec::new();
        while let Some(entry) = lister.next() {
            let entry = entry.map_err(|e| self.failed("getdents64", OsStr::new("."), e))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                entries.push(DirEntry { name: OsString::from_vec(name.to_vec()), kind: entry.file_type().into(), ino: entry.ino() });
            }
        }
        entries.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        Ok(entries)
    }

    /// Examines `name`, not following it.
    pub fn stat(&self, name: &OsStr) -> Result<Metadata, Error> {
        self.check(name)?;
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| Metadata::from(&s)).map_err(|e| self.failed("stat", name, e))
    }

    /// Like [`Dir::stat`], with nothing there as none.
    pub fn stat_if_there(&self, name: &OsStr) -> Result<Option<Metadata>, Error> {
        match self.stat(name) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.errno == Errno::NOENT => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens `name` with any flags, never following it and always close-on-exec.
    pub fn open(&self, name: &OsStr, flags: OFlags, mode: u32) -> Result<OwnedFd, Error> {
        self.check(name)?;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode)).map_err(|e| self.failed("open", name, e))
    }

    /// A handle of `name` itself, whatever it is, good for metadata only (`O_PATH`).
    pub fn handle(&self, name: &OsStr) -> Result<OwnedFd, Error> {
        self.open(name, OFlags::PATH, 0)
    }

    /// Opens the folder `name`.
    pub fn open_dir(&self, name: &OsStr) -> Result<Dir, Error> {
        let fd = self.open(name, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        Ok(Dir { fd, label: self.label.join(name) })
    }

    /// Opens the regular file `name` for reading.
    ///
    /// # Errors
    /// `ELOOP` for a symlink, `EISDIR` for a folder, `EINVAL` with a detail for FIFO, socket and device, which are not opened.
    pub fn open_regular(&self, name: &OsStr) -> Result<(File, Metadata), Error> {
        self.expect_regular(name, &self.stat(name)?)?;
        // Somebody may swap the name between the two calls: then `NONBLOCK` keeps a FIFO from hanging us and the second look finds out.
        let fd = self.open(name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0)?;
        let opened = metadata(&fd)?;
        self.expect_regular(name, &opened)?;
        Ok((File::from(fd), opened))
    }

    fn expect_regular(&self, name: &OsStr, found: &Metadata) -> Result<(), Error> {
        match found.kind {
            FileKind::Regular => Ok(()),
            FileKind::Directory => Err(self.failed("open file", name, Errno::ISDIR)),
            FileKind::Symlink => Err(self.failed("open file", name, Errno::LOOP)),
            kind => Err(self.failed("open file", name, Errno::INVAL).with_detail(format!("it is a {kind}, not a regular file"))),
        }
    }

    /// Makes and opens a new file for writing, exactly with `mode` less what the umask takes.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken, be it by a dangling symlink.
    pub fn create_file(&self, name: &OsStr, mode: u32) -> Result<File, Error> {
        self.open(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOCTTY, mode).map(File::from)
    }

    /// Makes and opens a file without a name, for what is too much for memory: on the filesystem of this folder, or in memory where that has no such files
    /// (FAT, NFS) or takes none. It goes with its last handle, also when we are killed.
    ///
    /// # Source
    /// open(2), `O_TMPFILE`, Linux 3.11.
    pub fn unnamed_file(&self) -> Result<File, Error> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.fd, ".", flags, Mode::from_raw_mode(0o600)).or_else(|errno| match errno {
            Errno::OPNOTSUPP | Errno::ISDIR | Errno::ROFS => rustix::fs::memfd_create("unnamed", rustix::fs::MemfdFlags::CLOEXEC),
            other => Err(other),
        });
        opened.map(File::from).map_err(|errno| self.failed("open unnamed file", OsStr::new("."), errno))
    }

    /// Makes and opens a new folder with exactly `mode`, and `owner` where given.
    pub fn create_dir(&self, name: &OsStr, mode: u32, owner: Option<(u32, u32)>) -> Result<Dir, Error> {
        self.make_dir(name, mode)?;
        let made = self.open_dir(name)?;
        let found = metadata(&made)?;
        if let Some((uid, gid)) = owner
            && (found.uid, found.gid) != (uid, gid)
        {
            set_owner(&made, uid, gid)?;
        }
        if found.mode != mode {
            set_mode(&made, mode)?;
        }
        Ok(made)
    }

    /// Makes a folder, `mode` less what the umask takes, without opening it.
    pub fn make_dir(&self, name: &OsStr, mode: u32) -> Result<(), Error> {
        self.check(name)?;
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)).map_err(|e| self.failed("mkdir", name, e))
    }

    /// Makes a symlink `name` with the text `target`.
    pub fn create_symlink(&self, name: &OsStr, target: &OsStr) -> Result<(), Error> {
        self.check(name)?;
        rustix::fs::symlinkat(target, &self.fd, name).map_err(|e| self.failed("symlink", name, e))
    }

    /// Gives the inode `old` in folder `from` (a symlink too) the further name `name` here.
    pub fn create_hardlink(&self, name: &OsStr, from: &Dir, old: &OsStr) -> Result<(), Error> {
        self.check(name)?;
        from.check(old)?;
        rustix::fs::linkat(&from.fd, old, &self.fd, name, AtFlags::empty()).map_err(|e| self.failed("link", name, e))
    }

    /// Makes a device, FIFO or socket node.
    pub fn create_node(&self, name: &OsStr, kind: FileKind, mode: u32, device: (u32, u32)) -> Result<(), Error> {
        self.check(name)?;
        let kind = match kind {
            FileKind::CharDevice => FileType::CharacterDevice,
            FileKind::BlockDevice => FileType::BlockDevice,
            FileKind::Fifo => FileType::Fifo,
            FileKind::Socket => FileType::Socket,
            FileKind::Regular => FileType::RegularFile,
            FileKind::Directory | FileKind::Symlink | FileKind::Unknown => return Err(self.failed("mknod", name, Errno::INVAL)),
        };
        rustix::fs::mknodat(&self.fd, name, kind, Mode::from_raw_mode(mode), rustix::fs::makedev(device.0, device.1))
            .map_err(|e| self.failed("mknod", name, e))
    }

    /// Text of the symlink `name`.
    pub fn read_link(&self, name: &OsStr) -> Result<OsString, Error> {
        self.check(name)?;
        let text = rustix::fs::readlinkat(&self.fd, name, Vec::new()).map_err(|e| self.failed("readlink", name, e))?;
        Ok(OsString::from_vec(text.into_bytes()))
    }

    /// Moves `name` to `new` in folder `to`, replacing what was there unless `flags` say otherwise.
    pub fn rename(&self, name: &OsStr, to: &Dir, new: &OsStr, flags: RenameFlags) -> Result<(), Error> {
        self.check(name)?;
        to.check(new)?;
        rustix::fs::renameat_with(&self.fd, name, &to.fd, new, flags).map_err(|e| self.failed("rename", name, e))
    }

    /// Removes one name that is not a folder.
    pub fn remove_file(&self, name: &OsStr) -> Result<(), Error> {
        self.check(name)?;
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()).map_err(|e| self.failed("unlink", name, e))
    }

    /// Removes `name` and all below it; nothing there is no error. See [`super::Root::remove_tree`].
    pub fn remove_tree(&self, name: &OsStr) -> Result<(), Error> {
        self.check(name)?;
        remove::remove_tree_at(self, name)
    }

    fn check(&self, name: &OsStr) -> Result<(), Error> {
        if is_single_name(name) { Ok(()) } else { Err(self.failed("use as one name", name, Errno::INVAL)) }
    }

    fn failed(&self, call: &str, name: &OsStr, errno: Errno) -> Error {
        Error::new(format!("{call}({name:?} in {:?})", self.label), errno)
    }
}
