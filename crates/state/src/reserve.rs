//! A few megabytes set aside so that removing things works on a full disk.
//!
//! Beside `state.db` lies `state.db.reserve`, allocated and never written. When a transaction starts on a disk with less than one slice free, one slice
//! is given back to the file system for it; when space returns the file grows again.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

const MEBIBYTE: u64 = 1 << 20;
/// What is set aside: enough for a few thousand removals in the write-ahead log.
const RESERVE: u64 = 4 * MEBIBYTE;
/// What one failed transaction gives back; more than any single removal needs.
const SLICE: u64 = MEBIBYTE;

/// The reserve of one database. Every failure here is harmless: the reserve is then smaller.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: Option<File>,
    held: u64,
}

impl Reserve {
    /// Opens or makes the reserve beside `database` and fills it as far as there is space.
    pub(crate) fn open(database: &Path) -> Self {
        let mut name = database.as_os_str().to_owned();
        name.push(".reserve");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(name).ok();
        let held = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.len().min(RESERVE));
        let mut reserve = Self { file, held };
        reserve.refill();
        reserve
    }

    /// Gives one slice back to the file system when less than that is free. One statvfs (a microsecond) where there is space.
    pub(crate) fn make_room(&mut self) {
        let Some(file) = &self.file else { return };
        if self.held == 0 || free_bytes(file) >= SLICE {
            return;
        }
        let left = self.held.saturating_sub(SLICE);
        if file.set_len(left).is_ok() {
            self.held = left;
        }
    }

    /// Takes slices back while the file system has plenty.
    pub(crate) fn refill(&mut self) {
        let Some(file) = &self.file else { return };
        while self.held < RESERVE && free_bytes(file) >= 4 * SLICE {
            if fallocate(file, FallocateFlags::empty(), self.held, SLICE).is_err() {
                return;
            }
            self.held += SLICE;
        }
    }

    /// True when some of it was given away.
    pub(crate) fn is_short(&self) -> bool {
        self.held < RESERVE
    }
}

fn free_bytes(file: &File) -> u64 {
    // A file system that cannot tell is taken to have space: then nothing is given away needlessly.
    fstatvfs(file).map_or(u64::MAX, |answer| answer.f_bavail.saturating_mul(answer.f_frsize))
}
