//! Owner, mode, attributes and times of what was just made, by its own handle.
//!
//! What must stay true: owner first, because changing it takes setuid bits and capabilities away; times last, because everything else changes them; no
//! call that would set what is already so.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use shipway_sys::path::{set_mode, set_owner, set_times};
use shipway_sys::xattr;

use super::Ownership;
use super::place::Placing;
use super::walk::Folder;
use crate::Error;
use crate::tar::Entry;
use crate::whiteout;

/// Attributes by name.
pub(super) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

impl Placing<'_> {
    pub(super) fn owner(&self, entry: &Entry) -> (u32, u32) {
        match self.ownership {
            Ownership::FromArchive => (entry.uid, entry.gid),
            Ownership::Fixed(uid, gid) => (uid, gid),
        }
    }

    /// Gives `fd`, made with the bits `made_with`, all that the entry says of it.
    pub(super) fn set_metadata(&mut self, fd: BorrowedFd<'_>, entry: &Entry, folder: &Folder, made_with: u32) -> Result<Xattrs, Error> {
        let (uid, gid) = self.owner(entry);
        if (uid, gid) != (self.euid, folder.gid) {
            set_owner(fd, uid, gid)?;
        }
        if entry.mode != made_with & !self.umask {
            set_mode(fd, entry.mode)?;
        }
        let xattrs = self.set_xattrs(fd, entry)?;
        set_times(fd, entry.mtime)?;
        Ok(xattrs)
    }

    /// Sets the attributes and gives those that took. What the host's security modules own may be refused; capabilities may not.
    pub(super) fn set_xattrs(&mut self, fd: BorrowedFd<'_>, entry: &Entry) -> Result<Xattrs, Error> {
        let mut kept = Xattrs::new();
        for (name, value) in &entry.xattrs {
            match xattr::set(fd, name, value) {
                Ok(()) => {
                    kept.insert(name.clone(), value.clone());
                }
                Err(error) if error.errno == Errno::OPNOTSUPP && name != b"security.capability" => self.skipped_xattrs += 1,
                Err(error) if name.starts_with(b"security.") && name != b"security.capability" => {
                    debug_assert!(error.errno != Errno::BADF);
                    self.skipped_xattrs += 1;
                }
                // User attributes exist on files and folders only.
                Err(error) if error.errno == Errno::PERM && name.starts_with(b"user.") => self.skipped_xattrs += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(kept)
    }
}

/// Refuses attributes that would steer overlayfs.
pub(super) fn check_xattrs(entry: &Entry) -> Result<(), Error> {
    match entry.xattrs.keys().find(|name| whiteout::is_overlay_xattr(name)) {
        Some(name) => Err(Error::refused(&entry.path, format!("attribute \"{}\" would steer overlayfs", crate::error::show(name)))),
        None => Ok(()),
    }
}

/// The mask of this process, which can only be read there without changing it.
pub(super) fn umask() -> Result<u32, Error> {
    let status = shipway_sys::fd::read_host_file("/proc/self/status", 64 * 1024)?;
    let status = String::from_utf8_lossy(&status);
    let text = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap_or("0777");
    Ok(u32::from_str_radix(text.trim(), 8).unwrap_or(0o777))
}
