//! What is remembered of a context between builds: the digest of each file by where and when it was seen.
//!
//! ```text
//! file   = "SWCX" version(1 byte = 1) reserved(3) count(u64) record(80)* checksum(32: BLAKE3 of all before it)
//! record = dev ino size(u64) mtime(i64 s, u32 ns) ctime(i64 s, u32 ns) digest(32)        little-endian, sorted by dev and ino
//! ```
//! What must stay true: a record says "unchanged" only for content that was hashed at least `SETTLED_S` after its last change (the rule git calls
//! racily clean); younger ones are not written at all. The file is only a cache: damaged or missing, everything is hashed again.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write;

use rustix::fs::RenameFlags;
use shipway_sys::path::{Dir, Time};

use super::{ContextEntry, ContextScan};
use crate::Error;
use crate::index::ContentDigest;

const MAGIC: &[u8; 8] = b"SWCX\x01\0\0\0";
const HEAD: usize = 16;
const RECORD: usize = 80;
const CHECKSUM: usize = 32;

/// Clocks of filesystems tick every 4 ms at worst, those of FAT and some network ones every 2 s.
const SETTLED_S: i64 = 2;

/// Larger files are not believed: 80 bytes for each of ten million files.
const LARGEST: u64 = 800_000_000;

/// Digests by identity.
#[derive(Debug, Default)]
pub struct ContextIndex {
    /// Records as they stand in the file; searched in place.
    old: Vec<u8>,
    fresh: HashMap<(u64, u64), Record>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: Time,
    ctime: Time,
    digest: ContentDigest,
    /// When hashing began; 0 for one that was read from the file, where only settled ones are.
    hashed_at: i64,
}

impl ContextIndex {
    /// Reads the file `name` in `folder`; missing or damaged it is an empty index.
    pub fn load(folder: &Dir, name: &OsStr) -> ContextIndex {
        let read = || -> Option<Vec<u8>> {
            let (file, found) = folder.open_regular(name).ok()?;
            let bytes = shipway_sys::fd::read_all_limited(&file, LARGEST.min(found.size + 1) as usize).ok()?;
            let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
            let records = content.strip_prefix(MAGIC)?.get(8..)?;
            let count = u64::from_le_bytes(content.get(8..HEAD)?.try_into().ok()?);
            let fits = records.len() as u64 == count.checked_mul(RECORD as u64)? && blake3::hash(content).as_bytes() == checksum;
            fits.then(|| records.to_vec())
        };
        ContextIndex { old: read().unwrap_or_default(), fresh: HashMap::new() }
    }

    /// True when nothing was learned since loading, so that saving would change nothing worth having.
    pub fn is_unchanged(&self) -> bool {
        self.fresh.is_empty()
    }

    /// Writes what is known of the files in `scan`; the rest is forgotten. Not synced: losing it costs time only.
    pub fn save(&self, scan: &ContextScan, folder: &Dir, name: &OsStr) -> Result<(), Error> {
        let mut records: Vec<Record> = scan.entries().iter().filter_map(|entry| self.find(entry)).filter(Record::is_settled).collect();
        records.sort_unstable_by_key(|record| (record.dev, record.ino));
        // Hard links are one inode.
        records.dedup_by_key(|record| (record.dev, record.ino));
        let mut bytes = Vec::with_capacity(HEAD + records.len() * RECORD + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(records.len() as u64).to_le_bytes());
        records.iter().for_each(|record| record.write(&mut bytes));
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        let temporary = std::ffi::OsString::from(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
        folder.remove_tree(&temporary)?;
        let mut file = folder.create_file(&temporary, 0o600)?;
        file.write_all(&bytes).map_err(Error::Write)?;
        Ok(folder.rename(&temporary, folder, name, RenameFlags::empty())?)
    }

    /// The digest of `entry` if it certainly has not changed.
    pub(super) fn get(&self, entry: &ContextEntry) -> Option<ContentDigest> {
        self.find(entry).filter(Record::is_settled).map(|record| record.digest)
    }

    /// Remembers a digest computed just now from what `entry` says.
    pub(super) fn put(&mut self, entry: &ContextEntry, digest: ContentDigest) {
        self.put_at(entry, digest, rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec);
    }

    /// The same for a given moment.
    pub(super) fn put_at(&mut self, entry: &ContextEntry, digest: ContentDigest, hashed_at: i64) {
        let record = Record { dev: entry.dev, ino: entry.ino, size: entry.size, mtime: entry.mtime, ctime: entry.ctime, digest, hashed_at };
        self.fresh.insert((entry.dev, entry.ino), record);
    }

    fn find(&self, entry: &ContextEntry) -> Option<Record> {
        let key = (entry.dev, entry.ino);
        let record = match self.fresh.get(&key) {
            Some(record) => *record,
            None => self.find_old(key)?,
        };
        ((record.size, record.mtime, record.ctime) == (entry.size, entry.mtime, entry.ctime)).then_some(record)
    }

    fn find_old(&self, key: (u64, u64)) -> Option<Record> {
        let (mut low, mut high) = (0, self.old.len() / RECORD);
        while low < high {
            let middle = (low + high) / 2;
            let record = Record::read(&self.old[middle * RECORD..(middle + 1) * RECORD])?;
            match (record.dev, record.ino).cmp(&key) {
                std::cmp::Ordering::Equal => return Some(record),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

impl Record {
    fn is_settled(&self) -> bool {
        let last = self.mtime.seconds.max(self.ctime.seconds);
        self.hashed_at == 0 || last.saturating_add(SETTLED_S) < self.hashed_at
    }

    fn write(&self, out: &mut Vec<u8>) {
        for number in [self.dev, self.ino, self.size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for time in [self.mtime, self.ctime] {
            out.extend_from_slice(&time.seconds.to_le_bytes());
            out.extend_from_slice(&time.nanoseconds.to_le_bytes());
        }
        out.extend_from_slice(&self.digest);
    }

    fn read(bytes: &[u8]) -> Option<Record> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let time = |at: usize| {
            let nanoseconds = u32::from_le_bytes(bytes.get(at + 8..at + 12)?.try_into().ok()?);
            Some(Time { seconds: word(at)?.cast_signed(), nanoseconds })
        };
        let digest = bytes.get(48..RECORD)?.try_into().ok()?;
        Some(Record { dev: word(0)?, ino: word(8)?, size: word(16)?, mtime: time(24)?, ctime: time(36)?, digest, hashed_at: 0 })
    }
}
