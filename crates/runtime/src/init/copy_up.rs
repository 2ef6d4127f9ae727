//! Filling a fresh memory filesystem with the folder it is about to cover (podman's `tmpcopyup`).
//!
//! What must stay true: names are never followed, so the image's links are copied and lead nowhere while we copy; what is no file, folder or link is
//! left out.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use shipway_sys::Error;
use shipway_sys::path::{Dir, FileKind, Metadata, metadata, set_mode, set_owner, set_times};

/// Deeper trees than this are no folder of configuration; the bound is against one made to exhaust our stack.
const DEEPEST: usize = 64;

/// Copies what stands in `source` into the root of `mount`, with owners, modes and times, those of the folder itself included.
pub(super) fn fill(mount: &OwnedFd, source: &OwnedFd) -> Result<(), Error> {
    let (from, to) = (reopen(source)?, reopen(mount)?);
    let found = metadata(&from)?;
    copy_folder(&from, &to, DEEPEST)?;
    dress(&to, &found)
}

/// The handles are for attaching; listing needs one that is open for reading.
fn reopen(handle: &OwnedFd) -> Result<Dir, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::openat(handle, ".", flags, Mode::empty()).map_err(|errno| Error::new("open folder to copy up", errno))?;
    Ok(Dir::from_fd(open, "tmpfs"))
}

fn copy_folder(from: &Dir, to: &Dir, depth: usize) -> Result<(), Error> {
    if depth == 0 {
        return Err(Error::new("copy up", rustix::io::Errno::NAMETOOLONG).with_detail("folders are nested too deep"));
    }
    for entry in from.entries()? {
        let name = entry.name.as_os_str();
        match from.stat(name)?.kind {
            FileKind::Directory => {
                let inner = from.open_dir(name)?;
                let found = metadata(&inner)?;
                let made = to.create_dir(name, 0o700, None)?;
                copy_folder(&inner, &made, depth - 1)?;
                dress(&made, &found)?;
            }
            FileKind::Regular => {
                let (file, found) = from.open_regular(name)?;
                let made = to.create_file(name, 0o600)?;
                shipway_sys::copy::copy_file(&file, &made, found.size)?;
                dress(&made, &found)?;
            }
            FileKind::Symlink => to.create_symlink(name, &from.read_link(name)?)?,
            _ => {}
        }
    }
    Ok(())
}

/// Owner before mode, because changing the owner takes set-id bits away.
fn dress(made: impl std::os::fd::AsFd, found: &Metadata) -> Result<(), Error> {
    set_owner(&made, found.uid, found.gid)?;
    set_mode(&made, found.mode)?;
    set_times(&made, found.mtime)
}
