//! One inode behind a descriptor: what it is, and changing its owner, mode and times without ever naming it.
//!
//! What must stay true: every function works on `O_PATH` descriptors too, and never reaches through a symlink.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::{Error, fd};

/// What kind of thing an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// Bytes.
    Regular,
    /// Names.
    Directory,
    /// A text that is a path.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A unix socket.
    Socket,
    /// A folder listing did not say; stat(2) will.
    Unknown,
}

impl fmt::Display for FileKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            FileKind::Regular => "regular file",
            FileKind::Directory => "folder",
            FileKind::Symlink => "symlink",
            FileKind::CharDevice => "character device",
            FileKind::BlockDevice => "block device",
            FileKind::Fifo => "FIFO",
            FileKind::Socket => "socket",
            FileKind::Unknown => "thing of unknown kind",
        })
    }
}

impl From<FileType> for FileKind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => FileKind::Regular,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            FileType::CharacterDevice => FileKind::CharDevice,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::Unknown => FileKind::Unknown,
        }
    }
}

/// A moment as files have it: seconds since 1970 (before it negative) and nanoseconds from there forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// What stat(2) tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The kind of inode.
    pub kind: FileKind,
    /// Permission, setuid, setgid and sticky bits (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file, length of a symlink's text.
    pub size: u64,
    /// Device number of the filesystem.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Number of names.
    pub nlink: u64,
    /// Device number of a device node: major and minor.
    pub rdev: (u32, u32),
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
    /// Disk use in units of 512 bytes.
    pub blocks: u64,
}

impl From<&Stat> for Metadata {
    // The field types of `Stat` differ between architectures, so some of these casts are no-ops here.
    #[allow(clippy::unnecessary_cast)]
    fn from(stat: &Stat) -> Self {
        Metadata {
            kind: FileType::from_raw_mode(stat.st_mode as _).into(),
            mode: stat.st_mode as u32 & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            nlink: stat.st_nlink as u64,
            rdev: (rustix::fs::major(stat.st_rdev as _), rustix::fs::minor(stat.st_rdev as _)),
            mtime: Time { seconds: stat.st_mtime as i64, nanoseconds: stat.st_mtime_nsec as u32 },
            ctime: Time { seconds: stat.st_ctime as i64, nanoseconds: stat.st_ctime_nsec as u32 },
            blocks: stat.st_blocks as u64,
        }
    }
}

/// Examines the inode behind `fd`.
pub fn metadata(fd: impl AsFd) -> Result<Metadata, Error> {
    let fd = fd.as_fd();
    rustix::fs::fstat(fd).map(|stat| Metadata::from(&stat)).map_err(|e| failed("fstat", fd, e))
}

/// Gives the inode to `uid` and `gid`; the kernel takes setuid and setgid bits away, so set the mode afterwards.
pub fn set_owner(fd: impl AsFd, uid: u32, gid: u32) -> Result<(), Error> {
    let fd = fd.as_fd();
    // The all-ones id means "leave it" to the kernel; for a stored owner that would be a silent lie.
    if uid == u32::MAX || gid == u32::MAX {
        return Err(failed("chown to id 4294967295", fd, Errno::INVAL));
    }
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(fd, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags).map_err(|e| failed("chown", fd, e))
}

/// Sets permission, setuid, setgid and sticky bits. Not for symlinks, which have none.
///
/// # Source
/// fchmodat2(2) with `AT_EMPTY_PATH` (kernel 6.6); before that through /proc, which reaches `O_PATH` descriptors as well.
pub fn set_mode(fd: impl AsFd, mode: u32) -> Result<(), Error> {
    let fd = fd.as_fd();
    match rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)) {
        Err(Errno::BADF) => {}
        other => return other.map_err(|e| failed("fchmod", fd, e)),
    }
    if rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink) {
        return Err(failed("chmod of a symlink", fd, Errno::OPNOTSUPP));
    }
    // SAFETY: the path is a NUL-terminated literal, the descriptor is borrowed for the whole call, and the other arguments are plain numbers.
    let answer = unsafe { libc::syscall(libc::SYS_fchmodat2, fd.as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH) };
    if answer == 0 {
        return Ok(());
    }
    rustix::fs::chmod(fd::proc_path(fd.as_raw_fd()), Mode::from_raw_mode(mode)).map_err(|e| failed("chmod", fd, e))
}

/// Sets the time of the last change of content, and of the last access to the same.
///
/// # Source
/// utimensat(2) with `AT_EMPTY_PATH`, kernel 5.8.
pub fn set_times(fd: impl AsFd, mtime: Time) -> Result<(), Error> {
    let fd = fd.as_fd();
    let moment = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.min(999_999_999).into() };
    let times = Timestamps { last_access: moment, last_modification: moment };
    match rustix::fs::futimens(fd, &times) {
        Err(Errno::BADF) => {}
        other => return other.map_err(|e| failed("futimens", fd, e)),
    }
    rustix::fs::utimensat(fd, "", &times, AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("utimensat", fd, e))
}

fn failed(call: &str, on: BorrowedFd<'_>, errno: Errno) -> Error {
    Error::new(format!("{call}({:?})", fd::describe(on)), errno)
}
