//! `:U`: everything below a mount's source is given to the container's user.
//!
//! What must stay true: nothing is followed; the folders that make up the host are never given away.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use shipway_runtime::UserIds;
use shipway_sys::path::{Dir, FileKind, metadata, set_owner};

use crate::{Error, Result};

/// Folders that somebody meant by mistake.
const NEVER: &[&str] = &[
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp",
    "/usr", "/var",
];

/// Gives `source` (called `name` in messages) and everything below it to `user`.
pub(super) fn give(source: &OwnedFd, name: &str, user: &UserIds) -> Result<()> {
    let clean = name.trim_end_matches('/');
    if NEVER.contains(&if clean.is_empty() && name.starts_with('/') { "/" } else { clean }) {
        return Err(Error::InvalidWithHint {
            reason: format!("changing the owner of {name} is not allowed"),
            hint: "name a folder of your own, or use idmap, which changes nothing on the disk".to_owned(),
        });
    }
    walk(source, name, user).map_err(Error::sys(format!("give {name} to the container's user")))
}

fn walk(source: &OwnedFd, name: &str, user: &UserIds) -> std::result::Result<(), shipway_sys::Error> {
    give_one(source, user)?;
    if metadata(source)?.kind != FileKind::Directory {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::openat(source, ".", flags, Mode::empty()).map_err(|errno| shipway_sys::Error::new("open folder", errno))?;
    let top = Dir::from_fd(open, name);
    // One open folder per depth, whatever the width.
    let mut levels = vec![(top.entries()?.into_iter(), top)];
    while let Some((names, dir)) = levels.last_mut() {
        let Some(entry) = names.next() else {
            levels.pop();
            continue;
        };
        let handle = match dir.handle(&entry.name) {
            Err(error) if error.is_not_found() => continue,
            other => other?,
        };
        give_one(&handle, user)?;
        if entry.kind == FileKind::Directory {
            let below = dir.open_dir(&entry.name)?;
            levels.push((below.entries()?.into_iter(), below));
        }
    }
    Ok(())
}

/// The kernel takes set-id bits away with the owner, rightly.
fn give_one(handle: &OwnedFd, user: &UserIds) -> std::result::Result<(), shipway_sys::Error> {
    let found = metadata(handle)?;
    if (found.uid, found.gid) == (user.uid, user.gid) { Ok(()) } else { set_owner(handle, user.uid, user.gid) }
}
