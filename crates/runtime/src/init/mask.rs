//! Hiding and protecting paths.
//!
//! What must stay true: a mask is a handle of our own null device or of an empty read-only folder, never something found by name in the container;
//! a path that is not there needs no mask.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use shipway_sys::Error;
use shipway_sys::mount::attribute::{NO_DEVICES, NO_EXEC, NO_SETUID, READ_ONLY};
use shipway_sys::mount::{DetachedMount, MountBuilder};

/// What paths are covered with.
pub(crate) struct Covers {
    null: OwnedFd,
    /// Hangs where it was used first; the others are copies of it.
    empty: Option<DetachedMount>,
}

impl Covers {
    /// Files will be covered with `null`, folders with one shared empty folder.
    pub(crate) fn new(null: OwnedFd) -> Self {
        Self { null, empty: None }
    }

    /// Covers each path below `root`.
    pub(crate) fn hide<'a>(&mut self, root: BorrowedFd<'_>, paths: impl Iterator<Item = &'a Path>) -> Result<(), Error> {
        for path in paths {
            match find(root, path)? {
                None => {}
                Some((target, false)) => DetachedMount::copy_of_handle(self.null.as_fd(), false)?.attach(target.as_fd())?,
                Some((target, true)) => self.cover_folder(target.as_fd())?,
            }
        }
        Ok(())
    }

    fn cover_folder(&mut self, target: BorrowedFd<'_>) -> Result<(), Error> {
        if let Some(empty) = &self.empty {
            return DetachedMount::copy_of_handle(empty.as_fd(), false)?.attach(target);
        }
        let fresh = MountBuilder::new("tmpfs")?.option("size", "0")?.option("nr_inodes", "1")?;
        let fresh = fresh.mount(READ_ONLY | NO_SETUID | NO_DEVICES | NO_EXEC)?;
        fresh.attach(target)?;
        self.empty = Some(fresh);
        Ok(())
    }
}

/// Makes each path below `root` read-only, with everything mounted there.
pub(crate) fn protect<'a>(root: BorrowedFd<'_>, paths: impl Iterator<Item = &'a Path>) -> Result<(), Error> {
    for path in paths {
        let Some((target, _)) = find(root, path)? else { continue };
        let copy = DetachedMount::copy_of_handle(target.as_fd(), true)?;
        copy.change(READ_ONLY, 0, None, true)?;
        copy.attach(target.as_fd())?;
    }
    Ok(())
}

fn find(root: BorrowedFd<'_>, path: &Path) -> Result<Option<(OwnedFd, bool)>, Error> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let target = match rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(target) => target,
        // ELOOP: a magic link cannot be covered and gives nothing away that a name could.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(Error::new(format!("open({path:?}) to mask it"), errno)),
    };
    let status = rustix::fs::fstat(&target).map_err(|errno| Error::new(format!("stat({path:?})"), errno))?;
    Ok(Some((target, FileType::from_raw_mode(status.st_mode) == FileType::Directory)))
}
