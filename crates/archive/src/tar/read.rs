//! Reading tar as a stream.
//!
//! `next` gives an entry; the reader itself is then the body of that entry. What must stay true: there is one reading of every archive. Where the
//! usual readers (Go, GNU, Python) would disagree, the archive fails: two extended headers for one entry, a PAX and a GNU name that differ, a folder
//! with a body, a global header that renames. The size in a PAX header always wins over the one in the block.
//! Headers are read here, bodies and the maps of sparse files in `read/body.rs`.

mod body;

use std::io::{self, BufRead as _, BufReader, Read};

use shipway_sys::path::Time;

use super::header::Header;
use super::overrides::overrides;
use super::{BLOCK, Entry, EntryKind, Segment, padding, pax};
use crate::{Error, Limits};

pub use body::Chunk;

/// Size of the buffer between us and the decoder.
const BUFFER: usize = 256 * 1024;

/// A tar being read.
pub struct TarReader<R> {
    inner: BufReader<R>,
    limits: Limits,
    /// Bytes taken from the stream so far.
    offset: u64,
    /// Stored bytes of the current body not yet read.
    stored: u64,
    /// Padding after the current body.
    padding: u64,
    /// Segments of the current sparse body not yet finished; none for a body without holes.
    segments: std::vec::IntoIter<Segment>,
    segment: Option<Segment>,
    sparse: bool,
    /// Logical position and end of the current body.
    position: u64,
    size: u64,
    entries: u64,
    total: u64,
    finished: bool,
}

/// Extended headers collected for the entry that follows.
#[derive(Default)]
struct Extensions {
    pax: Option<Vec<u8>>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> TarReader<R> {
    /// Reads the uncompressed tar `inner`.
    pub fn new(inner: R, limits: Limits) -> TarReader<R> {
        TarReader {
            inner: BufReader::with_capacity(BUFFER, inner),
            limits,
            offset: 0,
            stored: 0,
            padding: 0,
            segments: Vec::new().into_iter(),
            segment: None,
            sparse: false,
            position: 0,
            size: 0,
            entries: 0,
            total: 0,
            finished: false,
        }
    }

    /// The next entry, or none at the end; what is left of the former body is skipped.
    ///
    /// # Errors
    /// `Malformed` with the place, `Limit`, `Read`. After an error the reader must not be used again.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        self.skip_body()?;
        let mut extensions = Extensions::default();
        while let Some(block) = self.header_block(&extensions)? {
            let header = Header::new(&block).map_err(|problem| self.malformed(problem))?;
            let kind = match header.typeflag() {
                b'x' | b'X' => {
                    let bytes = self.extension(&header)?;
                    if extensions.pax.replace(bytes).is_some() {
                        return Err(self.malformed("two PAX headers for one entry"));
                    }
                    continue;
                }
                b'L' | b'K' => {
                    let mut bytes = self.extension(&header)?;
                    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
                    let slot = if header.typeflag() == b'L' { &mut extensions.long_name } else { &mut extensions.long_link };
                    if slot.replace(bytes).is_some() {
                        return Err(self.malformed("two GNU long names for one entry"));
                    }
                    continue;
                }
                b'g' => {
                    let bytes = self.extension(&header)?;
                    self.check_global(&bytes)?;
                    continue;
                }
                // The label of a tape is no file.
                b'V' => {
                    self.extension(&header)?;
                    continue;
                }
                0 if header.path().ends_with(b"/") => EntryKind::Directory,
                0 | b'0' | b'7' | b'S' => EntryKind::Regular,
                b'1' => EntryKind::Hardlink,
                b'2' => EntryKind::Symlink,
                b'3' => EntryKind::CharDevice,
                b'4' => EntryKind::BlockDevice,
                b'5' => EntryKind::Directory,
                b'6' => EntryKind::Fifo,
                other => return Err(self.malformed(format!("unknown entry type {:?}", char::from(other)))),
            };
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(Error::Limit { what: "entries", limit: self.limits.entries });
            }
            return self.assemble(&header, kind, extensions).map(Some);
        }
        Ok(None)
    }

    /// Reads whatever follows the end of the archive to the end of the stream, so that whoever hashes below sees every byte.
    pub fn drain(&mut self) -> Result<(), Error> {
        loop {
            let count = self.inner.fill_buf().map_err(Error::reading)?.len();
            if count == 0 {
                return Ok(());
            }
            self.inner.consume(count);
            self.offset += count as u64;
        }
    }

    /// Bytes taken from the stream so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next block, or none at the end: two blocks of zeros, one at the very end, or simply no more bytes (Go and GNU tar read these alike).
    fn header_block(&mut self, pending: &Extensions) -> Result<Option<[u8; BLOCK]>, Error> {
        if self.finished {
            return Ok(None);
        }
        let first = self.block()?;
        let ended = match &first {
            None => true,
            Some(block) if block.iter().any(|byte| *byte != 0) => false,
            Some(_) => match self.block()? {
                Some(block) if block.iter().any(|byte| *byte != 0) => return Err(self.malformed("a block of zeros between entries")),
                _ => true,
            },
        };
        self.finished = ended;
        if !ended {
            return Ok(first);
        }
        if pending.pax.is_some() || pending.long_name.is_some() || pending.long_link.is_some() {
            return Err(self.malformed("the archive ends after an extended header"));
        }
        Ok(None)
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            match self.inner.read(&mut block[have..]).map_err(Error::reading)? {
                0 if have == 0 => return Ok(None),
                0 => return Err(self.malformed("the archive ends inside a block")),
                count => have += count,
            }
        }
        self.offset += BLOCK as u64;
        Ok(Some(block))
    }

    /// The body of an extended header.
    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>, Error> {
        let size = header.size().map_err(|problem| self.malformed(problem))?;
        if size > self.limits.extension_bytes {
            return Err(Error::Limit { what: "bytes in an extended header", limit: self.limits.extension_bytes });
        }
        self.exactly(size)
    }

    /// `size` bytes and their padding; the caller has bounded `size`.
    fn exactly(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; (size + padding(size)) as usize];
        self.inner.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.malformed("the archive ends inside an extended header"),
            _ => Error::reading(error),
        })?;
        self.offset += bytes.len() as u64;
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    /// Global headers are ignored, as Docker does; one that would rename or resize what follows is refused, because others obey it.
    fn check_global(&self, bytes: &[u8]) -> Result<(), Error> {
        for (key, _) in pax::records(bytes).map_err(|problem| self.malformed(problem))? {
            if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.") || key.starts_with(pax::XATTR) {
                return Err(self.malformed(format!("a global header sets \"{}\"", crate::error::show(key))));
            }
        }
        Ok(())
    }

    fn assemble(&mut self, header: &Header<'_>, kind: EntryKind, extensions: Extensions) -> Result<Entry, Error> {
        let pax_bytes = extensions.pax.unwrap_or_default();
        let overrides = overrides(&pax_bytes).map_err(|problem| self.malformed(problem))?;
        let path = one_of(overrides.path, extensions.long_name).ok_or_else(|| self.malformed("PAX and GNU give one entry two names"))?;
        let link = one_of(overrides.link, extensions.long_link).ok_or_else(|| self.malformed("PAX and GNU give one entry two targets"))?;
        let field = |value: Result<u64, String>| value.map_err(|problem| self.malformed(problem));
        let id = |given: Option<u64>, value: Result<u64, String>| match given {
            Some(id) => Ok(id),
            None => value,
        };
        let id = |given, value, what: &str| {
            id(given, value)
                .and_then(|id| u32::try_from(id).map_err(|_| format!("the {what} {id} is out of range")))
                .map_err(|problem| self.malformed(problem))
        };
        let mut entry = Entry {
            path: path.unwrap_or_else(|| header.path()),
            kind,
            size: 0,
            mode: (field(header.mode())? & 0o7777) as u32,
            uid: id(overrides.uid, header.uid(), "uid")?,
            gid: id(overrides.gid, header.gid(), "gid")?,
            mtime: match overrides.mtime {
                Some(time) => time,
                None => Time { seconds: header.mtime().map_err(|problem| self.malformed(problem))?, nanoseconds: 0 },
            },
            link: link.unwrap_or_else(|| header.link().to_vec()),
            device: (0, 0),
            uname: overrides.uname.unwrap_or_else(|| header.uname().to_vec()),
            gname: overrides.gname.unwrap_or_else(|| header.gname().to_vec()),
            xattrs: overrides.xattrs,
            sparse: Vec::new(),
        };
        let stored = match overrides.size {
            Some(size) => size,
            None => field(header.size())?,
        };
        match kind {
            EntryKind::CharDevice | EntryKind::BlockDevice => entry.device = header.device().map_err(|problem| self.malformed(problem))?,
            EntryKind::Hardlink | EntryKind::Symlink => {}
            EntryKind::Regular | EntryKind::Directory | EntryKind::Fifo => entry.link.clear(),
        }
        match kind {
            EntryKind::Regular => self.start_body(header, &mut entry, stored, overrides.sparse)?,
            // Some tars repeat the size of the file in its hard links, but none stores a body.
            EntryKind::Hardlink => {}
            _ if stored != 0 => return Err(self.malformed("an entry that is not a file has a body")),
            _ => {}
        }
        self.check_names(&entry)?;
        Ok(entry)
    }

    fn check_names(&self, entry: &Entry) -> Result<(), Error> {
        for name in [&entry.path, &entry.link] {
            if name.len() as u64 > self.limits.name_bytes {
                return Err(Error::Limit { what: "bytes in a name", limit: self.limits.name_bytes });
            }
            if name.contains(&0) {
                return Err(self.malformed("a NUL in a name"));
            }
        }
        if entry.path.is_empty() {
            return Err(self.malformed("an entry without a name"));
        }
        if matches!(entry.kind, EntryKind::Hardlink | EntryKind::Symlink) && entry.link.is_empty() {
            return Err(self.malformed("a link without a target"));
        }
        Ok(())
    }

    fn malformed(&self, problem: impl Into<String>) -> Error {
        Error::Malformed { offset: self.offset.saturating_sub(BLOCK as u64), problem: problem.into() }
    }
}

/// The value both or one give; none when they differ.
#[allow(clippy::option_option)]
fn one_of(pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>) -> Option<Option<Vec<u8>>> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) => (pax == gnu).then_some(Some(pax)),
        (pax, gnu) => Some(pax.or(gnu)),
    }
}
