//! Reading files of a context to hash them.
//!
//! What must stay true: the content hashed is that of the file the scan saw: same inode, size and time, looked at after reading, so that no write before
//! or during it goes unseen; nothing but a regular file is read.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::OFlags;
use shipway_sys::path::{Dir, FileKind, Root};

use super::ContextEntry;
use crate::Error;
use crate::error::show;
use crate::index::{ContentDigest, parent};

/// Bytes read at once.
const BUFFER: usize = 256 * 1024;

/// Reads one file after the other, keeping the folder of the last one open.
pub(super) struct Reader<'a> {
    root: &'a Root,
    last: Option<(Vec<u8>, Dir)>,
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Self { root, last: None, buffer: vec![0; BUFFER] }
    }

    /// BLAKE3 of the bytes of `entry`.
    ///
    /// # Errors
    /// `Changed` when it is no longer what the scan saw.
    pub(super) fn hash(&mut self, entry: &ContextEntry) -> Result<ContentDigest, Error> {
        let changed = || Error::Changed { path: show(&entry.path) };
        let folder = parent(&entry.path);
        if self.last.as_ref().is_none_or(|(known, _)| known != folder) {
            let dir = self.root.open_dir(Path::new(OsStr::from_bytes(folder)));
            self.last = Some((folder.to_vec(), dir.map_err(|error| if error.is_not_found() { changed() } else { error.into() })?));
        }
        let Some((_, dir)) = &self.last else { return Err(changed()) };
        let name = entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or(&entry.path);
        // A FIFO that took the name's place does not hold us, a symlink is not followed; the look below finds either out.
        let opened = dir.open(OsStr::from_bytes(name), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0);
        let mut file = File::from(opened.map_err(|error| {
            let other = error.is_not_found() || error.errno == rustix::io::Errno::LOOP;
            if other { changed() } else { error.into() }
        })?);
        let mut hasher = blake3::Hasher::new();
        let mut left = entry.size;
        while left > 0 {
            let want = left.min(BUFFER as u64) as usize;
            match file.read(&mut self.buffer[..want]) {
                Ok(0) => return Err(changed()),
                Ok(count) => {
                    hasher.update(&self.buffer[..count]);
                    left -= count as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let call = format!("read({:?} beneath {:?})", show(&entry.path), self.root.label());
                    return Err(shipway_sys::Error::from_io(call, &error).into());
                }
            }
        }
        let found = shipway_sys::path::metadata(&file)?;
        let same = (found.dev, found.ino, found.size, found.mtime) == (entry.dev, entry.ino, entry.size, entry.mtime);
        if same && found.kind == FileKind::Regular { Ok(*hasher.finalize().as_bytes()) } else { Err(changed()) }
    }
}
