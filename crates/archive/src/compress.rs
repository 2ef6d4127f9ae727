//! Compressed streams: told apart by their first bytes, decoded under a bound, gzip and zstd written reproducibly.
//!
//! What must stay true: labels are never believed, only magic bytes; a decoder holds a bounded window whatever the stream says; the same bytes, level
//! and block size always compress to the same bytes, however many threads work.

mod gzip;
mod lzma;
mod xz;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Limits};

pub use gzip::GzipBlocks;

/// Size of the buffer before the decoder.
const BUFFER: usize = 128 * 1024;

/// Largest zstd window: 2^27 bytes, which `zstd --ultra -22` needs and above which the reference refuses too.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Not at all, or not known to us.
    Plain,
    /// RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// The xz container with LZMA2.
    Xz,
    /// RFC 8878.
    Zstd,
}

/// Tells the format by the first bytes; six are enough.
pub fn detect(start: &[u8]) -> Format {
    match start {
        [0x1f, 0x8b, 8, ..] => Format::Gzip,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        // A skippable frame may come first (0x184D2A50 to 5F).
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd,
        _ => Format::Plain,
    }
}

/// The uncompressed bytes of `reader`, whatever it is compressed with, within `limits`; and what it was.
///
/// # Errors
/// Reading gives `Error::Limit` inside the `io::Error` when more than `limits.total_bytes` come out, or too many for what went in.
pub fn decoder<'a>(reader: impl Read + Send + 'a, limits: &Limits) -> Result<(Format, Box<dyn Read + Send + 'a>), Error> {
    let taken = Arc::new(AtomicU64::new(0));
    let buffered = BufReader::with_capacity(BUFFER, Counting { inner: reader, taken: Arc::clone(&taken) });
    let start = peek(buffered)?;
    let format = detect(start.fill_buf_ref());
    let decoder: Box<dyn Read + Send + 'a> = match format {
        Format::Plain => Box::new(start),
        Format::Gzip => Box::new(gzip::MultiMember::new(start)),
        Format::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(start)),
        Format::Xz => Box::new(xz::XzReader::new(start)),
        Format::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(start).map_err(Error::Read)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(Error::Read)?;
            Box::new(decoder)
        }
    };
    // Plain bytes expand by nothing; the bound on the sum still counts for them.
    Ok((format, Box::new(Bounded { inner: decoder, taken, given: 0, limits: *limits })))
}

/// A writer that compresses with zstd; it must be told that it has seen all.
pub type ZstdEncoder<W> = zstd::stream::write::Encoder<'static, W>;

/// Compresses with zstd, one frame with a checksum; finish it with [`zstd::stream::write::Encoder::finish`].
pub fn zstd_encoder<W: Write>(out: W, level: i32) -> Result<ZstdEncoder<W>, Error> {
    let mut encoder = zstd::stream::write::Encoder::new(out, level).map_err(Error::Write)?;
    encoder.include_checksum(true).map_err(Error::Write)?;
    Ok(encoder)
}

/// A reader whose first bytes have been looked at: they come again.
struct Peeked<R> {
    start: [u8; 6],
    length: usize,
    at: usize,
    rest: R,
}

/// `BufRead::fill_buf` may give a single byte; six must be collected.
fn peek<R: BufRead>(reader: R) -> Result<Peeked<R>, Error> {
    let mut peeked = Peeked { start: [0; 6], length: 0, at: 0, rest: reader };
    while peeked.length < 6 {
        match peeked.rest.read(&mut peeked.start[peeked.length..]) {
            Ok(0) => break,
            Ok(count) => peeked.length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::reading(error)),
        }
    }
    Ok(peeked)
}

impl<R> Peeked<R> {
    fn fill_buf_ref(&self) -> &[u8] {
        &self.start[self.at..self.length]
    }
}

impl<R: BufRead> Read for Peeked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.length {
            return self.rest.read(buffer);
        }
        let count = buffer.len().min(self.length - self.at);
        buffer[..count].copy_from_slice(&self.start[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Peeked<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.length { self.rest.fill_buf() } else { Ok(&self.start[self.at..self.length]) }
    }

    fn consume(&mut self, count: usize) {
        if self.at == self.length {
            self.rest.consume(count);
        } else {
            self.at += count;
        }
    }
}

/// Counts what is taken from below.
struct Counting<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Stops bombs.
struct Bounded<R> {
    inner: R,
    taken: Arc<AtomicU64>,
    given: u64,
    limits: Limits,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.given += count as u64;
        let limits = &self.limits;
        // Headers and padding of a tar come on top of the files; a sixteenth is more than they ever take of a sensible archive.
        if self.given > limits.total_bytes.saturating_add(limits.total_bytes / 16).saturating_add(1 << 20) {
            return Err(Error::Limit { what: "uncompressed bytes", limit: limits.total_bytes }.into_io());
        }
        let taken = self.taken.load(Ordering::Relaxed);
        if self.given > limits.ratio_after && self.given / limits.ratio > taken {
            return Err(Error::Limit { what: "uncompressed bytes for one compressed byte", limit: limits.ratio }.into_io());
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
