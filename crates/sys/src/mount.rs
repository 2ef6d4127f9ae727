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
    /// Folders' access times are never written.
    pub const NO_FOLDER_ATIME: u64 = 0x80;
    /// Owners are shown through the mapping of a user namespace (kernel 5.12).
    pub(super) const MAPPED_IDS: u64 = 0x0010_0000;
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

    /// Shows owners through the mapping of `users`, a user namespace: an id inside it is the one on the disk, the one outside is what is seen. Only
    /// before the mount is attached.
    ///
    /// # Errors
    /// `EINVAL` where the filesystem cannot (overlayfs; tmpfs before kernel 6.3).
    ///
    /// # Source
    /// mount_setattr(2), `MOUNT_ATTR_IDMAP`, kernel 5.12; Documentation/filesystems/idmappings.rst.
    pub fn map_ids(&self, users: BorrowedFd<'_>, recursive: bool) -> Result<(), Error> {
        let request = MountAttributes {
            attr_set: attribute::MAPPED_IDS,
            attr_clr: 0,
            propagation: 0,
            userns_fd: u64::from(users.as_raw_fd().unsigned_abs()),
        };
        set_attributes(self.0.as_fd(), &request, recursive)
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
    set_attributes(mount, &request, recursive)
}

fn set_attributes(mount: BorrowedFd<'_>, request: &MountAttributes, recursive: bool) -> Result<(), Error> {
    let flags = libc::AT_EMPTY_PATH as u32 | if recursive { libc::AT_RECURSIVE as u32 } else { 0 };
    // SAFETY: the path is an empty C string, the structure outlives the call and its true size is passed; the kernel writes to neither.
    let answer = unsafe {
        libc::syscall(libc::SYS_mount_setattr, mount.as_raw_fd(), c"".as_ptr(), flags, &raw const *request, size_of::<MountAttributes>())
    };
    if answer == 0 {
        return Ok(());
    }
    Err(last_error(format!("mount_setattr({}, +{:#x} -{:#x})", crate::fd::describe(mount), request.attr_set, request.attr_clr)))
}

/// Where the mount that `handle` lies on hangs, and how it propagates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedAt {
    /// Its mount point in this mount namespace.
    pub point: PathBuf,
    /// It has peers.
    pub shared: bool,
    /// It receives from peers.
    pub slave: bool,
}

/// Looks the mount behind `handle` up in this process's list; `None` for a mount that hangs nowhere here.
///
/// # Source
/// proc_pid_fdinfo(5) "mnt_id"; proc_pid_mountinfo(5): number, parent, device, root, mount point, options, optional fields up to " - ".
pub fn mounted_at(handle: BorrowedFd<'_>) -> Result<Option<MountedAt>, Error> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| Error::from_io(format!("read({path:?})"), &error));
    let about = read(&format!("/proc/self/fdinfo/{}", handle.as_raw_fd()))?;
    let Some(number) = about.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim) else { return Ok(None) };
    let table = read("/proc/self/mountinfo")?;
    Ok(table.lines().find(|line| line.split(' ').next() == Some(number)).and_then(read_mountinfo))
}

fn read_mountinfo(line: &str) -> Option<MountedAt> {
    let (head, _) = line.split_once(" - ")?;
    let mut fields = head.split(' ').skip(4);
    let point = PathBuf::from(unescape(fields.next()?));
    let marks: Vec<&str> = fields.skip(1).collect();
    let has = |mark: &str| marks.iter().any(|field| field.starts_with(mark));
    Some(MountedAt { point, shared: has("shared:"), slave: has("master:") })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(text: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt as _;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(u8::is_ascii_digit));
        match digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_tells_point_and_propagation() {
        let line = "36 35 98:0 /mnt1 /mnt\\0402/a rw,noatime shared:7 master:1 - ext3 /dev/root rw,errors=continue";
        let expected = MountedAt { point: "/mnt 2/a".into(), shared: true, slave: true };
        assert_eq!(read_mountinfo(line), Some(expected));
        let plain = read_mountinfo("1 0 0:1 / / rw - tmpfs none rw").expect("a line");
        assert_eq!((plain.point.as_path(), plain.shared, plain.slave), (Path::new("/"), false, false));
        assert_eq!(read_mountinfo("nonsense"), None);
    }

    #[test]
    fn an_open_folder_is_found_in_the_list() {
        let proc = std::fs::File::open("/proc").expect("open");
        assert_eq!(mounted_at(proc.as_fd()).expect("look").expect("there").point, Path::new("/proc"));
    }
}
