//! The file tree of a container for somebody outside of it: `cp` and `export`.
//!
//! What must stay true: the tree is given as a handle on its root, to be walked with `RESOLVE_IN_ROOT` or name by name; no path of it is ever joined
//! to a path of the host. A tree of a container that does not run lives in a mount namespace of its own, so nothing appears among the host's mounts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use shipway_sys::mount::attribute::READ_ONLY;
use shipway_sys::mount::{DetachedMount, isolate_from_host, move_mount};
use shipway_sys::path::{Root, clean_inside};
use shipway_sys::{Error as SysError, namespace};

use crate::error::{Error, LaunchError};
use crate::handle::Handle;
use crate::launch::{ReadyMount, make_ready, mount_root};
use crate::runtime::Runtime;
use crate::spec::{Mount, RootFs};

/// A container's tree. The mounts live as long as this value.
#[derive(Debug)]
pub struct OpenTree {
    root: Root,
    /// The namespace or the mount that the tree needs.
    _kept: Option<OwnedFd>,
}

impl OpenTree {
    /// Its root.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

impl Handle {
    /// The tree as the container's first process sees it, volumes and mounts included. Blocking.
    ///
    /// # Errors
    /// `NotRunning` when that process has ended.
    pub fn tree(&self) -> Result<OpenTree, Error> {
        let root = self.open_of_process("root", OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(OpenTree { root: Root::from_fd(root, format!("/ of container {}", self.id())), _kept: None })
    }

    /// The container's own tree without anything that is mounted in it. Blocking.
    ///
    /// # Errors
    /// `NotRunning` when its first process has ended.
    pub fn bare_tree(&self) -> Result<OpenTree, Error> {
        let inside = self.open_of_process("ns/mnt", OFlags::RDONLY)?;
        let mount = on_thread(move || {
            // Leaving first gives this thread a root folder of its own, without which no mount namespace may be entered (setns(2)).
            namespace::leave(namespace::MOUNT)?;
            namespace::enter(inside.as_fd(), namespace::MOUNT)?;
            DetachedMount::copy_of(rustix::fs::CWD, Path::new("/"), false)
        })?;
        Ok(detached(mount, format!("/ of container {}", self.id()))?)
    }

    /// Opens a file of /proc about the first process, and makes sure that it was that one and not a later process of the same number.
    fn open_of_process(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Error> {
        if !self.is_running() {
            return Err(Error::NotRunning);
        }
        let path = format!("/proc/{}/{name}", self.pid());
        let opened = match rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty()) {
            Ok(opened) => opened,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::SRCH | rustix::io::Errno::ACCESS) => return Err(Error::NotRunning),
            Err(errno) => return Err(SysError::new(format!("open({path:?})"), errno).into()),
        };
        let is_inside = Pid::from_raw(self.pid()).is_some_and(|pid| self.inner.group.processes().contains(&pid));
        if is_inside { Ok(opened) } else { Err(Error::NotRunning) }
    }
}

impl Runtime {
    /// Mounts the tree of a container that does not run, with `seen` in it. The caller sees to it that nobody else has the upper folder mounted. Blocking.
    ///
    /// # Errors
    /// What the kernel says to a mount.
    pub fn mount_tree(&self, root: &RootFs, read_only: bool, seen: Vec<Mount>) -> Result<OpenTree, LaunchError> {
        let mount = DetachedMount::from_handle(mount_root(root, &self.shared().stubs)?);
        if read_only {
            mount.change(READ_ONLY, 0, None, false)?;
        }
        if seen.is_empty() {
            return Ok(detached(mount, "/")?);
        }
        // Detached while this is still the host's namespace; attached in one that nobody else sees.
        let seen = seen.into_iter().map(make_ready).collect::<Result<Vec<_>, _>>()?;
        // Any folder of ours will do: what is attached there is seen in the thread's namespace only.
        let place = self.shared().stubs.clone();
        let (root, kept) = on_thread(move || {
            namespace::leave(namespace::MOUNT)?;
            isolate_from_host()?;
            let folder = rustix::fs::open(&place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| SysError::new(format!("open({place:?})"), errno))?;
            move_mount(mount.as_fd(), folder.as_fd())?;
            let root = Root::from_fd(listable(mount.as_fd())?, "/");
            for ReadyMount { mount, target, is_folder } in seen {
                let target = clean_inside(Path::new(&target));
                mount.attach(target_of(&root, &target, is_folder)?.as_fd())?;
            }
            let kept = rustix::fs::open("/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| SysError::new("open(\"/proc/thread-self/ns/mnt\")", errno))?;
            Ok((root, kept))
        })?;
        Ok(OpenTree { root, _kept: Some(kept) })
    }
}

/// The place of a mount; one that is missing is made, as a start would.
fn target_of(root: &Root, target: &Path, is_folder: bool) -> Result<OwnedFd, SysError> {
    match root.open_file(target, OFlags::PATH, Mode::empty()) {
        Err(error) if error.is_not_found() => {}
        other => return other,
    }
    if is_folder {
        return Ok(root.create_dir_all(target, 0o755, Some((0, 0)))?.into_fd());
    }
    if let Some(parent) = target.parent() {
        root.create_dir_all(parent, 0o755, Some((0, 0)))?;
    }
    root.open_file(target, OFlags::CREATE | OFlags::WRONLY | OFlags::EXCL, Mode::from_raw_mode(0o755))
}

fn detached(mount: DetachedMount, label: impl Into<PathBuf>) -> Result<OpenTree, SysError> {
    let root = Root::from_fd(listable(mount.as_fd())?, label);
    Ok(OpenTree { root, _kept: Some(mount.into_handle()) })
}

/// The handle of a mount is good for walking only; this one can be listed too.
fn listable(mount: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(mount, ".", flags, Mode::empty()).map_err(|errno| SysError::new("open(root of a mount)", errno))
}

/// Runs `work` on a thread that ends with it: what is done to namespaces there touches no other.
fn on_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, SysError> + Send + 'static) -> Result<T, SysError> {
    let cannot = |error: std::io::Error| SysError::from_io("start a thread", &error);
    let thread = std::thread::Builder::new().name("container-tree".to_owned()).spawn(work).map_err(cannot)?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
