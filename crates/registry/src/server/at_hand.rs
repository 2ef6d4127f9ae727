//! What the kernel has in memory, read by async code itself: the way to another thread and back takes several times as long.
//!
//! What must stay true: nothing here waits for a disk. Where it would have to, or a kernel or file system cannot tell, the answer is nothing, and the
//! caller goes the long way (`blocking`).

use std::fs::File;
use std::io::IoSliceMut;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::ReadWriteFlags;

/// Files up to this size are read here; larger ones would keep others of the thread waiting for the copying.
pub(super) const SMALL: u64 = 16 * 1024;

/// Opens a file whose names are all in memory (openat2(2), Linux 5.12).
pub(super) fn open(path: &Path) -> Option<File> {
    let opened = rustix::fs::openat2(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::CACHED);
    opened.ok().map(File::from)
}

/// A small part of a file that is in memory (preadv2(2), Linux 4.14).
pub(super) fn part(file: &File, offset: u64, length: u64) -> Option<Vec<u8>> {
    if length > SMALL {
        return None;
    }
    let mut buffer = vec![0; usize::try_from(length).ok()?];
    let count = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut buffer)], offset, ReadWriteFlags::NOWAIT).ok()?;
    (count == buffer.len()).then_some(buffer)
}

/// A small file that is in memory.
pub(super) fn whole(path: &Path) -> Option<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata().ok()?.len();
    part(&file, 0, length)
}
