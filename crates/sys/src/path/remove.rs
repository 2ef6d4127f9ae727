//! Removing a tree by handles, however deep, without following a symlink or crossing a mount.
//!
//! What must stay true: at most `OPEN_AT_ONCE` folders are open; deeper ones are first moved up beside the top, so that a tree made deep on purpose
//! neither exhausts descriptors nor recursion. One failure does not stop the rest; the first one is reported.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Dir, FileKind, set_mode};
use crate::{Error, fd};

/// How deep the walk goes before it moves what is deeper up to the top.
const OPEN_AT_ONCE: usize = 48;

/// One open folder of the walk and what is still to be removed in it.
struct Level {
    dir: Dir,
    name: OsString,
    left: Vec<super::DirEntry>,
}

/// Removes `name` in `folder` and all below it; nothing there is no error.
///
/// # Errors
/// `EXDEV` where a mount lies in the tree; the first of whatever else failed.
pub fn remove_tree_at(folder: impl AsFd, name: &OsStr) -> Result<(), Error> {
    let folder = folder.as_fd();
    match unlink(folder, name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        Err(error) if error.errno == Errno::NOENT => return Ok(()),
        Err(error) if error.errno == Errno::ISDIR => {}
        Err(error) => return Err(error),
    }
    let mut first_error = None;
    let mut waiting = VecDeque::from([name.to_owned()]);
    while let Some(name) = waiting.pop_front() {
        remove_folder(folder, name, &mut waiting, &mut first_error);
    }
    first_error.map_or(Ok(()), Err)
}

fn remove_folder(top: BorrowedFd<'_>, name: OsString, waiting: &mut VecDeque<OsString>, first_error: &mut Option<Error>) {
    let mut note = |outcome: Result<(), Error>| {
        if let Err(error) = outcome {
            first_error.get_or_insert(error);
        }
    };
    let mut levels = match open_level(top, name) {
        Ok(level) => vec![level],
        Err(error) => return note(Err(error)),
    };
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.left.pop() else {
            let done = levels.pop().expect("the loop condition saw a level");
            let above = levels.last().map_or(top, |level| level.dir.as_fd());
            note(unlink(above, &done.name, AtFlags::REMOVEDIR));
            continue;
        };
        if entry.kind != FileKind::Directory {
            match unlink(level.dir.as_fd(), &entry.name, AtFlags::empty()) {
                Ok(()) => continue,
                Err(error) if error.errno == Errno::NOENT => continue,
                // A listing may not tell the kind; then it is the kernel's answer that does.
                Err(error) if error.errno == Errno::ISDIR => {}
                Err(error) => {
                    note(Err(error));
                    continue;
                }
            }
        }
        if levels.len() < OPEN_AT_ONCE {
            let above = levels.last().map_or(top, |level| level.dir.as_fd());
            match open_level(above, entry.name) {
                Ok(level) => levels.push(level),
                Err(error) => note(Err(error)),
            }
        } else {
            let moved = OsString::from(format!(".removing-{}-{}", std::process::id(), entry.ino));
            let above = levels.last().map_or(top, |level| level.dir.as_fd());
            match rustix::fs::renameat(above, &entry.name, top, &moved) {
                Ok(()) => waiting.push_back(moved),
                Err(errno) => note(Err(failed("move up", above, &entry.name, errno))),
            }
        }
    }
}

fn open_level(above: BorrowedFd<'_>, name: OsString) -> Result<Level, Error> {
    let mut dir = Dir::from_fd(open_here(above, &name)?, &name);
    let left = dir.first_entries()?;
    Ok(Level { dir, name, left })
}

/// Opens a folder only if it lies on the same mount as `above`.
fn open_here(above: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Error> {
    let open = |flags: OFlags| {
        let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(above, name, flags, Mode::empty(), ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH)
    };
    match open(OFlags::RDONLY) {
        // Without root a folder of mode 0 must be opened up first; it is ours and about to go.
        Err(Errno::ACCESS) => {
            let handle = open(OFlags::PATH).map_err(|e| failed("open folder", above, name, e))?;
            set_mode(&handle, 0o700)?;
            open(OFlags::RDONLY).map_err(|e| failed("open folder", above, name, e))
        }
        other => other.map_err(|e| failed("open folder", above, name, e)),
    }
}

fn unlink(folder: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> Result<(), Error> {
    rustix::fs::unlinkat(folder, name, flags).map_err(|e| failed("unlink", folder, name, e))
}

fn failed(call: &str, folder: BorrowedFd<'_>, name: &OsStr, errno: Errno) -> Error {
    Error::new(format!("{call}({name:?} in {:?})", fd::describe(folder)), errno)
}
