//! Bodies of entries: data, padding, and the holes of sparse files in each of their three written forms.
//!
//! What must stay true: position and size are those of the file, holes included; what is stored is never read beyond its length; a sparse map is
//! checked before its first byte is given out.

use std::io::{self, BufRead as _, Read};

use super::TarReader;
use crate::Error;
use crate::tar::header::Header;
use crate::tar::overrides::PaxSparse;
use crate::tar::{BLOCK, Entry, Segment, padding, pax, sparse};

/// What comes next in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// So many bytes were put into the buffer.
    Data(usize),
    /// So many bytes of zeros are not stored.
    Hole(u64),
    /// The body is over.
    End,
}

impl<R: Read> TarReader<R> {
    /// Reads on in the current body; `buffer` must not be empty.
    pub fn next_chunk(&mut self, buffer: &mut [u8]) -> Result<Chunk, Error> {
        if self.position == self.size {
            return Ok(Chunk::End);
        }
        let mut most = self.size - self.position;
        if self.sparse {
            if self.segment.is_none() {
                self.segment = self.segments.next();
            }
            match self.segment {
                Some(segment) if segment.offset <= self.position => most = segment.offset + segment.length - self.position,
                other => {
                    let end = other.map_or(self.size, |segment| segment.offset);
                    let length = end - self.position;
                    self.position = end;
                    return Ok(Chunk::Hole(length));
                }
            }
        }
        let most = most.min(buffer.len() as u64) as usize;
        let count = self.inner.read(&mut buffer[..most]).map_err(Error::reading)?;
        if count == 0 {
            return Err(self.malformed("the archive ends inside a file"));
        }
        self.offset += count as u64;
        self.stored -= count as u64;
        self.position += count as u64;
        if self.segment.is_some_and(|segment| segment.offset + segment.length == self.position) {
            self.segment = None;
        }
        Ok(Chunk::Data(count))
    }

    /// Begins the body of an entry whose header says `stored` bytes.
    pub(super) fn start_body(&mut self, header: &Header<'_>, entry: &mut Entry, stored: u64, pax: PaxSparse) -> Result<(), Error> {
        let (mut segments, mut size, mut left, mut is_sparse) = (Vec::new(), stored, stored, false);
        if header.typeflag() == b'S' {
            is_sparse = true;
            size = self.old_gnu_map(header, &mut segments)?;
        } else if pax.major == Some(1) && pax.minor == Some(0) {
            is_sparse = true;
            size = pax.real_size.ok_or_else(|| self.malformed("a sparse file without its size"))?;
            left = self.map_in_body(stored, &mut segments)?;
        } else if let Some(map) = pax.map {
            is_sparse = true;
            size = pax.real_size.ok_or_else(|| self.malformed("a sparse file without its size"))?;
            segments = map;
        } else if pax.major.is_some() || pax.real_size.is_some() {
            return Err(self.malformed("a sparse map of an unknown form"));
        }
        if is_sparse {
            segments = sparse::check(segments, size, left, &self.limits)?.map_err(|problem| self.malformed(problem))?;
            if let Some(name) = pax.name {
                entry.path = name;
            }
        }
        self.total = self.total.saturating_add(size);
        if self.total > self.limits.total_bytes {
            return Err(Error::Limit { what: "bytes in all files together", limit: self.limits.total_bytes });
        }
        entry.size = size;
        entry.sparse.clone_from(&segments);
        (self.stored, self.padding, self.position, self.size, self.sparse) = (left, padding(stored), 0, size, is_sparse);
        self.segments = segments.into_iter();
        self.segment = None;
        Ok(())
    }

    fn old_gnu_map(&mut self, header: &Header<'_>, segments: &mut Vec<Segment>) -> Result<u64, Error> {
        let (slots, mut more, size) = header.gnu_sparse().map_err(|problem| self.malformed(problem))?;
        sparse::read_slots(slots, segments).map_err(|problem| self.malformed(problem))?;
        while more {
            let block = self.block()?.ok_or_else(|| self.malformed("the archive ends inside a sparse map"))?;
            sparse::read_slots(&block[..504], segments).map_err(|problem| self.malformed(problem))?;
            more = block[504] != 0;
            if segments.len() as u64 > self.limits.sparse_segments {
                return Err(Error::Limit { what: "segments in a sparse file", limit: self.limits.sparse_segments });
            }
        }
        Ok(size)
    }

    /// PAX 1.0: the map stands as decimal lines before the data, padded to blocks. Gives what is left of the stored bytes.
    fn map_in_body(&mut self, stored: u64, segments: &mut Vec<Segment>) -> Result<u64, Error> {
        let (mut lines, mut left, mut line) = (Vec::<u64>::new(), stored, Vec::new());
        loop {
            if left < BLOCK as u64 {
                return Err(self.malformed("the sparse map is longer than the file"));
            }
            let block = self.block()?.ok_or_else(|| self.malformed("the archive ends inside a sparse map"))?;
            left -= BLOCK as u64;
            for byte in block {
                if byte != b'\n' {
                    line.push(byte);
                    if line.len() > 20 {
                        return Err(self.malformed("the sparse map is malformed"));
                    }
                    continue;
                }
                lines.push(pax::decimal(&line).ok_or_else(|| self.malformed("the sparse map is malformed"))?);
                line.clear();
                if lines[0] > self.limits.sparse_segments {
                    return Err(Error::Limit { what: "segments in a sparse file", limit: self.limits.sparse_segments });
                }
                if lines.len() as u64 == 1 + 2 * lines[0] {
                    segments.extend(lines[1..].chunks_exact(2).map(|pair| Segment { offset: pair[0], length: pair[1] }));
                    return Ok(left);
                }
            }
        }
    }

    /// Skips what is left of the current body.
    pub(super) fn skip_body(&mut self) -> Result<(), Error> {
        let (mut left, padding) = (self.stored + self.padding, self.padding);
        (self.stored, self.padding, self.position, self.size) = (0, 0, 0, 0);
        while left > 0 {
            let have = self.inner.fill_buf().map_err(Error::reading)?.len();
            // Docker's client leaves out the padding of the last file when it puts a Dockerfile into a context; Go reads that as the end.
            if have == 0 && left <= padding {
                return Ok(());
            }
            if have == 0 {
                return Err(self.malformed("the archive ends inside a file"));
            }
            let step = left.min(have as u64);
            self.inner.consume(step as usize);
            self.offset += step;
            left -= step;
        }
        Ok(())
    }
}

/// The body of the current entry, holes as zeros.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.next_chunk(buffer).map_err(Error::into_io)? {
            Chunk::Data(count) => Ok(count),
            Chunk::End => Ok(0),
            Chunk::Hole(length) => {
                let count = length.min(buffer.len() as u64);
                buffer[..count as usize].fill(0);
                // The rest of the hole is met again by the next call.
                self.position -= length - count;
                Ok(count as usize)
            }
        }
    }
}
