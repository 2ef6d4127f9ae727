//! Writing tar: the same entries always give the same bytes.
//!
//! What must stay true: a ustar block alone whenever it can say everything; one PAX header before it where it cannot (long names, big numbers,
//! negative times, attributes); no access or change times, nothing of the host. Whoever writes layers fixes the rest: order, owner, whole seconds.

use std::io::{self, Write};

use super::{BLOCK, Entry, EntryKind, Segment, padding, pax};
use crate::Error;

/// Largest number of 7 and of 11 octal digits.
const SEVEN: u64 = 0o7777777;
const ELEVEN: u64 = 0o77777777777;

/// A tar being written.
pub struct TarWriter<W: Write> {
    inner: W,
    /// Bytes of the current body still to come, and the padding after them.
    left: u64,
    padding: u64,
    written: u64,
}

impl<W: Write> TarWriter<W> {
    /// Starts an archive.
    pub fn new(inner: W) -> TarWriter<W> {
        TarWriter { inner, left: 0, padding: 0, written: 0 }
    }

    /// Writes the header of `entry`; if it is a regular file, exactly `entry.size` bytes must follow through `Write`.
    ///
    /// The map of `entry` is not written: the body is the logical content. [`Self::start_sparse`] keeps holes.
    ///
    /// # Errors
    /// `Changed` when the former body came short; `Write`.
    pub fn start(&mut self, entry: &Entry) -> Result<(), Error> {
        self.start_with(entry, Vec::new())
    }

    /// Writes the header of a regular file with holes; exactly the bytes of `segments`, one after the other, must follow through `Write`.
    ///
    /// # Source
    /// GNU tar manual, "Storing Sparse Files", PAX format 1.0.
    pub fn start_sparse(&mut self, entry: &Entry, segments: &[Segment]) -> Result<(), Error> {
        let mut numbers = vec![segments.len() as u64];
        numbers.extend(segments.iter().flat_map(|segment| [segment.offset, segment.length]));
        let mut map: Vec<u8> = numbers.iter().flat_map(|number| format!("{number}\n").into_bytes()).collect();
        map.resize(map.len() + padding(map.len() as u64) as usize, 0);
        let mut records = Vec::new();
        for (key, value) in
            [("major", b"1".as_slice()), ("minor", b"0"), ("name", &entry.path), ("realsize", entry.size.to_string().as_bytes())]
        {
            pax::push_record(&mut records, format!("GNU.sparse.{key}").as_bytes(), value);
        }
        let mut stored = entry.clone();
        stored.path = sparse_name(&entry.path);
        stored.size = map.len() as u64 + segments.iter().map(|segment| segment.length).sum::<u64>();
        self.start_with(&stored, records)?;
        self.write_all(&map).map_err(Error::Write)
    }

    fn start_with(&mut self, entry: &Entry, mut records: Vec<u8>) -> Result<(), Error> {
        self.end_body(&entry.path)?;
        let size = if entry.kind == EntryKind::Regular { entry.size } else { 0 };
        let block = block(entry, size, &mut records);
        if !records.is_empty() {
            let mut header = Entry::new(pax_name(&entry.path), EntryKind::Regular);
            header.size = records.len() as u64;
            let mut header = self::block(&header, records.len() as u64, &mut Vec::new());
            header[156] = b'x';
            seal(&mut header);
            self.put(&header)?;
            self.put(&records)?;
            self.pad(padding(records.len() as u64))?;
        }
        self.put(&block)?;
        (self.left, self.padding) = (size, padding(size));
        Ok(())
    }

    /// Header and body in one.
    pub fn append(&mut self, entry: &Entry, body: &[u8]) -> Result<(), Error> {
        let mut entry = entry.clone();
        entry.size = body.len() as u64;
        self.start(&entry)?;
        self.write_all(body).map_err(Error::Write)
    }

    /// Ends the archive with its two blocks of zeros and gives the output back, not flushed.
    pub fn finish(mut self) -> Result<(W, u64), Error> {
        self.end_body(b"")?;
        self.pad(2 * BLOCK as u64)?;
        Ok((self.inner, self.written))
    }

    /// The output, for a body that is put there without passing through `Write`; [`Self::passed`] tells how much of it was.
    pub(crate) fn inner_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Counts `count` bytes of the current body that went straight to the output; the caller has kept within the size it told.
    pub(crate) fn passed(&mut self, count: u64) {
        self.left -= count;
        self.written += count;
    }

    fn end_body(&mut self, before: &[u8]) -> Result<(), Error> {
        if self.left > 0 {
            return Err(Error::Changed { path: format!("(the one before {:?})", crate::error::show(before)) });
        }
        let padding = std::mem::take(&mut self.padding);
        self.pad(padding)
    }

    fn pad(&mut self, count: u64) -> Result<(), Error> {
        self.put(&[0; 2 * BLOCK][..count as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.inner.write_all(bytes).map_err(Error::Write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// The body of the entry started last.
impl<W: Write> Write for TarWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more bytes than the header of the entry says"));
        }
        let count = self.inner.write(bytes)?;
        self.left -= count as u64;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The ustar block of `entry`; what it cannot hold goes into `records`.
fn block(entry: &Entry, size: u64, records: &mut Vec<u8>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    match split(&entry.path) {
        Some((prefix, name)) => {
            block[..name.len()].copy_from_slice(name);
            block[345..345 + prefix.len()].copy_from_slice(prefix);
        }
        None => {
            block[..100].copy_from_slice(&entry.path[..100]);
            pax::push_record(records, b"path", &entry.path);
        }
    }
    if entry.link.len() > 100 {
        pax::push_record(records, b"linkpath", &entry.link);
    }
    let link = &entry.link[..entry.link.len().min(100)];
    block[157..157 + link.len()].copy_from_slice(link);
    let mut number = |at: usize, digits: usize, value: u64, key: &str| {
        let most = if digits == 7 { SEVEN } else { ELEVEN };
        if value > most {
            pax::push_record(records, key.as_bytes(), value.to_string().as_bytes());
        }
        let value = if value > most { 0 } else { value };
        octal(&mut block[at..at + digits], value);
    };
    number(100, 7, u64::from(entry.mode & 0o7777), "mode");
    number(108, 7, u64::from(entry.uid), "uid");
    number(116, 7, u64::from(entry.gid), "gid");
    number(124, 11, size, "size");
    number(329, 7, u64::from(entry.device.0), "SCHILY.devmajor");
    number(337, 7, u64::from(entry.device.1), "SCHILY.devminor");
    let whole = u64::try_from(entry.mtime.seconds).ok().filter(|seconds| *seconds <= ELEVEN);
    octal(&mut block[136..147], whole.unwrap_or(0));
    if whole.is_none() || entry.mtime.nanoseconds != 0 {
        pax::push_record(records, b"mtime", time_text(entry).as_bytes());
    }
    for (at, most, name) in [(265, 31, &entry.uname), (297, 31, &entry.gname)] {
        let name = &name[..name.len().min(most)];
        block[at..at + name.len()].copy_from_slice(name);
    }
    for (name, value) in &entry.xattrs {
        pax::push_record(records, &[pax::XATTR, name].concat(), value);
    }
    block[156] = match entry.kind {
        EntryKind::Regular => b'0',
        EntryKind::Hardlink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    };
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block
}

/// Puts the checksum in.
fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    octal(&mut block[148..154], u64::from(sum));
    block[154] = 0;
}

/// Fills `field` with the octal digits of `value`, zeros in front; what does not fit was checked by the caller.
fn octal(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

/// Prefix and name whose join with `/` is `path`, if the fields can hold it.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    // The name must not be empty, so a trailing slash is no place to split.
    (path.len() - 101..path.len().min(156))
        .filter(|at| path[*at] == b'/' && *at + 1 < path.len() && *at > 0)
        .map(|at| (&path[..at], &path[at + 1..]))
        .next()
}

/// The name of a sparse file for tars that do not know the form, as GNU tar makes it.
fn sparse_name(path: &[u8]) -> Vec<u8> {
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    [&path[..at], b"GNUSparseFile.0/", &path[at..]].concat()
}

/// A name for the PAX header that old tars will extract as a file: short, inside a folder that says what it is.
fn pax_name(path: &[u8]) -> Vec<u8> {
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    let last = trimmed.rsplit(|byte| *byte == b'/').next().unwrap_or(trimmed);
    [b"PaxHeaders.0/", &last[..last.len().min(80)]].concat()
}

fn time_text(entry: &Entry) -> String {
    let (seconds, nanoseconds) = (entry.mtime.seconds, entry.mtime.nanoseconds);
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    let text =
        if seconds < 0 { format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds) } else { format!("{seconds}.{nanoseconds:09}") };
    text.trim_end_matches('0').to_owned()
}
