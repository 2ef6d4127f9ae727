//! Mounts by handle: the new mount API, attributes, pivoting.
//!
//! What must stay true: a mount is built detached and attached to a handle, so no path is walked twice; a failure carries the words the kernel
//! wrote into the context's log.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::Error;
use crate::process::last_error;

/// Attribute bits for [`MountBuilder::mount`] and [`DetachedMount::change`] (mount_setattr(2)).
pub mod attribute {
    /// Read-only.
    pub const READ_ONLY: u64 = 0x1;
    /// Set-id bits and file capabilities mean nothing.
    pub const NO_SETUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NO_DEVICES: u64 = 0x4;
    /// Nothing can be executed.
    pub const NO_EXEC: u64 = 0x8;
    /// Access times are never written.
    pub const NO_ATIME: u64 = 0x10;
    /// Access times follow modification times (the default of mount(8)).
    pub const RELATIVE_ATIME: u64 = 0x0;
}

/// How mounting and unmounting travels between copies of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// From the original to the copy.
    Slave,
    /// Both ways.
    Shared,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Shared => libc::MS_SHARED,
        }
    }
}

/// struct mount_attr of linux/mount.h (kernel 5.12).
#[repr(C)]
struct MountAttributes {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A filesystem being configured (fsopen(2)).
#[derive(Debug)]
pub struct MountBuilder {
    context: OwnedFd,
    kind: String,
    /// The first column of mountinfo was chosen; otherwise it is the kind, as mount(8) users expect, and not "none".
    has_source: bool,
}

impl MountBuilder {
    /// Starts a filesystem of type `kind` ("overlay", "tmpfs", "proc", ...).
    pub fn new(kind: &str) -> Result<Self, Error> {
        let context =
            rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| Error::new(format!("fsopen({kind:?})"), errno))?;
        Ok(Self { context, kind: kind.to_owned(), has_source: false })
    }

    /// Sets an option that has a value.
    pub fn option(mut self, key: &str, value: impl AsRef<std::ffi::OsStr>) -> Result<Self, Error> {
        let value = value.as_ref();
        self.has_source |= key == "source";
        match rustix::mount::fsconfig_set_string(&self.context, key, value) {
            Ok(()) => Ok(self),
            Err(errno) => Err(self.failure(format!("fsconfig({:?}, {key:?} = {value:?})", self.kind), errno)),
        }
    }

    /// Sets an option that is there or not.
    pub fn flag(self, key: &str) -> Result<Self, Error> {
        match rustix::mount::fsconfig_set_flag(&self.context, key) {
            Ok(()) => Ok(self),
            Err(errno) => Err(self.failure(format!("fsconfig({:?}, {key:?})", self.kind), errno)),
        }
    }

    /// Makes the filesystem and a detached mount of it with the given [`attribute`] bits.
    pub fn mount(self, attributes: u64) -> Result<DetachedMount, Error> {
        if !self.has_source {
            let kind = self.kind.clone();
            return self.option("source", kind)?.mount(attributes);
        }
        if let Err(errno) = rustix::mount::fsconfig_create(&self.context) {
            return Err(self.failure(format!("mount {:?}", self.kind), errno));
        }
        let flags = MountAttrFlags::from_bits_retain(attributes as u32);
        match rustix::mount::fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, flags) {
            Ok(handle) => Ok(DetachedMount(handle)),
            Err(errno) => Err(self.failure(format!("fsmount({:?})", self.kind), errno)),
        }
    }

    /// The error with everything the kernel wrote about it, without the severity letters.
    fn failure(&self, call: String, errno: Errno) -> Error {
        let mut words = Vec::new();
        let mut line = [0u8; 512];
        while let Ok(length) = rustix::io::read(&self.context, &mut line) {
            let text = String::from_utf8_lossy(&line[..length]);
            words.push(text.trim_end().get(2..).unwrap_or("").to_owned());
        }
        Error::new(call, errno).with_detail(words.join("; "))
    }
}

/// A mount that hangs nowhere yet. Dropping it before it is attached dissolves it; afterwards the handle only keeps it alive.
#[derive(Debug)]
pub struct DetachedMount(OwnedFd);

/// A copy of the memory filesystem that stands at `path` in the mount namespace behind `namespace`, found as its own processes find it.
///
/// # Errors
/// `EINVAL` when something else stands there.
///
/// # Cost
/// One thread that ends at once: a mount namespace is entered by a thread alone, and nothing can be copied from outside.
pub fn memory_of_namespace(namespace: OwnedFd, path: PathBuf) -> Result<DetachedMount, Error> {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    let call = format!("copy {path:?} of another mount namespace");
    let work = move || {
        crate::namespace::part_from_folders()?;
        crate::namespace::enter(namespace.as_fd(), crate::namespace::MOUNT)?;
        let copy = DetachedMount::copy_of(rustix::fs::CWD, &path, false)?;
        let found = rustix::fs::fstatfs(&copy.0).map_err(|errno| Error::new(format!("statfs({path:?})"), errno))?;
        if found.f_type as u64 == TMPFS_MAGIC { Ok(copy) } else { Err(Error::new(format!("copy {path:?}"), Errno::INVAL)) }
    };
    let thread = std::thread::Builder::new().name("shipway-shm".to_owned()).spawn(work);
    let thread = thread.map_err(|error| Error::from_io(call.clone(), &error))?;
    thread.join().unwrap_or_else(|_| Err(Error::new(call, Errno::IO)))
}

impl DetachedMount {
    /// A copy (bind) of what stands at `path` below `folder`, with the mounts below it when `recursive`. An empty path means `folder` itself.
    pub fn copy_of(folder: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<Self, Error> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        if path.as_os_str().is_empty() {
            flags |= OpenTreeFlags::AT_EMPTY_PATH;
        }
        rustix::mount::open_tree(folder, path, flags).map(DetachedMount).map_err(|errno| Error::new(format!("open_tree({path:?})"), errno))
    }

    /// A copy of the single file, folder or device behind `handle`.
    pub fn copy_of_handle(handle: BorrowedFd<'_>, recursive: bool) -> Result<Self, Error> {
        Self::copy_of(handle, Path::new(""), recursive)
            .map_err(|error| Error::new(format!("open_tree({})", crate::fd::describe(handle)), error.errno))
    }

    /// Takes a mount received from another process.
    pub fn from_handle(handle: OwnedFd) -> Self {
        Self(handle)
    }

    /// Gives the handle away, e.g. to send it.
    pub fn into_handle(self) -> OwnedFd {
        self.0
    }

    /// The root of this mount, for openat and the like.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Sets and clears [`attribute`] bits, on the mounts below too when `recursive` (kernel 5.12).
    pub fn change(&self, set: u64, clear: u64, propagation: Option<Propagation>, recursive: bool) -> Result<(), Error> {
        change_attributes(self.0.as_fd(), set, clear, propagation, recursive)
    }

    /// Hangs this mount over the file or folder behind `target`, wherever that has been moved to meanwhile.
    pub fn attach(&self, target: BorrowedFd<'_>) -> Result<(), Error> {
        move_mount(self.0.as_fd(), target)
    }
}

/// Moves the mount behind `mount` (its root) over `target`.
pub fn move_mount(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Error> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags)
        .map_err(|errno| Error::new(format!("move_mount(.., {})", crate::fd::describe(target)), errno))
}

/// mount_setattr(2) on the mount whose root is behind `mount`.
pub fn change_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: Option<Propagation>,
    recursive: bool,
) -> Result<(), Error> {
    let request = MountAttributes { attr_set: set, attr_clr: clear, propagation: propagation.map_or(0, Propagation::bits), userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH as u32 | if recursive { libc::AT_RECURSIVE as u32 } else { 0 };
    // SAFETY: the path is an empty C string, the structure lives on this stack and its true size is passed; the kernel writes to neither.
    let answer = unsafe {
        libc::syscall(libc::SYS_mount_setattr, mount.as_raw_fd(), c"".as_ptr(), flags, &raw const request, size_of::<MountAttributes>())
    };
    if answer == 0 { Ok(()) } else { Err(last_error(format!("mount_setattr({}, +{set:#x} -{clear:#x})", crate::fd::describe(mount)))) }
}

/// Changes options of the filesystem mounted at the folder behind `mount`, e.g. the size of a tmpfs (fspick(2)).
pub fn reconfigure(mount: BorrowedFd<'_>, key: &str, value: &str) -> Result<(), Error> {
    let told = |errno| Error::new(format!("fspick({}, {key}={value})", crate::fd::describe(mount)), errno);
    let flags = rustix::mount::FsPickFlags::FSPICK_EMPTY_PATH | rustix::mount::FsPickFlags::FSPICK_CLOEXEC;
    let context = rustix::mount::fspick(mount, c"", flags).map_err(told)?;
    rustix::mount::fsconfig_set_string(&context, key, value).map_err(told)?;
    rustix::mount::fsconfig_reconfigure(&context).map_err(told)
}

/// Makes every mount of this mount namespace private or slave, so that nothing done here travels out.
pub fn isolate_from_host() -> Result<(), Error> {
    let root = rustix::fs::open("/", rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| Error::new("open(\"/\")", errno))?;
    change_attributes(root.as_fd(), 0, 0, Some(Propagation::Slave), true)
}

/// Makes the folder behind `new_root` (a mount's root) the root and forgets the old one with all its mounts.
///
/// # Source
/// pivot_root(2), "pivot_root(".", ".")": the old root ends up stacked over the new one and is then detached.
pub fn pivot_into(new_root: BorrowedFd<'_>) -> Result<(), Error> {
    rustix::process::fchdir(new_root).map_err(|errno| Error::new("fchdir(new root)", errno))?;
    rustix::process::pivot_root(c".", c".").map_err(|errno| Error::new("pivot_root(\".\", \".\")", errno))?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).map_err(|errno| Error::new("umount2(old root)", errno))?;
    rustix::process::chdir(c"/").map_err(|errno| Error::new("chdir(\"/\")", errno))
}

/// Takes what is mounted at `path` away; open files in it live on.
pub fn detach(path: &Path) -> Result<(), Error> {
    rustix::mount::unmount(path, UnmountFlags::DETACH).map_err(|errno| Error::new(format!("umount2({path:?})"), errno))
}

/// Makes a device node below `folder`.
pub fn make_device(folder: BorrowedFd<'_>, name: &str, kind: rustix::fs::FileType, mode: u32, number: u64) -> Result<(), Error> {
    let path = CString::new(name).map_err(|_| Error::new(format!("mknod({name:?})"), Errno::INVAL))?;
    rustix::fs::mknodat(folder, &path, kind, rustix::fs::Mode::from_raw_mode(mode), number)
        .map_err(|errno| Error::new(format!("mknod({name:?}, {}:{})", rustix::fs::major(number), rustix::fs::minor(number)), errno))?;
    // The umask has taken bits away.
    rustix::fs::chmodat(folder, &path, rustix::fs::Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty())
        .map_err(|errno| Error::new(format!("chmod({name:?})"), errno))
}
