//! The xz container around LZMA2, decoded as a stream.
//!
//! Our own because the pure-Rust library at hand keeps a whole stream in memory. Here the window is what the stream declares, at most
//! `LARGEST_DICTIONARY`, and every checksum of the format is verified. Other filters than LZMA2 are refused.
//!
//! Source: The .xz File Format 1.2.0.

use std::io::{self, BufRead, Read};

use super::lzma::Model;

/// `xz -9` needs this much.
const LARGEST_DICTIONARY: usize = 64 << 20;

const HEADER_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];

/// Where in the format the reader is.
enum Place {
    StreamHeader,
    BlockHeader,
    Chunk,
    Done,
}

/// What follows a block to check it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CheckKind {
    None,
    Crc32,
    Crc64,
    Sha256,
}

enum Check {
    None,
    Crc32(u32),
    Crc64(u64),
    Sha256(Box<ring::digest::Context>),
}

/// Reads the content of xz streams.
pub(super) struct XzReader<R> {
    inner: Counted<R>,
    place: Place,
    streams: u32,
    kind: CheckKind,
    flags: [u8; 2],
    check: Check,
    model: Option<Model>,
    dictionary: usize,
    /// Everything still reachable by copies, and behind it what was not yet handed out.
    window: Vec<u8>,
    given: usize,
    /// Bytes since the window was reset; none before the first reset.
    position: Option<u64>,
    /// Start of the current block in the stream and its content so far.
    block_start: u64,
    header_size: u64,
    block_bytes: u64,
    declared: (Option<u64>, Option<u64>),
    blocks: Vec<(u64, u64)>,
}

impl<R: BufRead> XzReader<R> {
    pub(super) fn new(inner: R) -> Self {
        XzReader {
            inner: Counted { inner, count: 0 },
            place: Place::StreamHeader,
            streams: 0,
            kind: CheckKind::None,
            flags: [0; 2],
            check: Check::None,
            model: None,
            dictionary: 0,
            window: Vec::new(),
            given: 0,
            position: None,
            block_start: 0,
            header_size: 0,
            block_bytes: 0,
            declared: (None, None),
            blocks: Vec::new(),
        }
    }

    fn step(&mut self) -> io::Result<()> {
        match self.place {
            Place::StreamHeader => self.stream_header(),
            Place::BlockHeader => self.block_header(),
            Place::Chunk => self.chunk(),
            Place::Done => Ok(()),
        }
    }

    fn stream_header(&mut self) -> io::Result<()> {
        // Between streams stand multiples of four zeros.
        while self.streams > 0 {
            match self.inner.inner.fill_buf()?.first() {
                None => {
                    self.place = Place::Done;
                    return Ok(());
                }
                Some(0) => {
                    if self.inner.array::<4>()? != [0; 4] {
                        return Err(broken("stream padding"));
                    }
                }
                Some(_) => break,
            }
        }
        let header = self.inner.array::<12>()?;
        let sum = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if header[..6] != HEADER_MAGIC || header[6] != 0 || crc32(0, &header[6..8]) != sum {
            return Err(broken("stream header"));
        }
        self.kind = match header[7] {
            0 => CheckKind::None,
            1 => CheckKind::Crc32,
            4 => CheckKind::Crc64,
            10 => CheckKind::Sha256,
            _ => return Err(broken("kind of check")),
        };
        self.flags = [header[6], header[7]];
        self.blocks.clear();
        self.streams += 1;
        self.place = Place::BlockHeader;
        Ok(())
    }

    fn block_header(&mut self) -> io::Result<()> {
        self.block_start = self.inner.count;
        let size = self.inner.array::<1>()?[0];
        if size == 0 {
            return self.index();
        }
        let mut header = vec![size];
        header.resize((usize::from(size) + 1) * 4, 0);
        self.inner.exact(&mut header[1..])?;
        let (body, sum) = header.split_at(header.len() - 4);
        if crc32(0, body).to_le_bytes() != sum || body[1] & 0x3f != 0 {
            return Err(broken("block header, or a filter other than LZMA2"));
        }
        let mut rest = &body[2..];
        let optional = |set: bool, rest: &mut &[u8]| if set { varint(rest).map(Some) } else { Ok(None) };
        self.declared = (optional(body[1] & 0x40 != 0, &mut rest)?, optional(body[1] & 0x80 != 0, &mut rest)?);
        let (id, length) = (varint(&mut rest)?, varint(&mut rest)?);
        let Some((&bits, padding)) = rest.split_first().filter(|_| id == 0x21 && length == 1) else { return Err(broken("filter")) };
        if bits > 40 || padding.iter().any(|byte| *byte != 0) {
            return Err(broken("block header"));
        }
        let dictionary = if bits == 40 { u64::from(u32::MAX) } else { (2 | u64::from(bits) & 1) << (bits / 2 + 11) };
        if dictionary > LARGEST_DICTIONARY as u64 {
            return Err(broken("window size: it is larger than 64 MiB"));
        }
        self.dictionary = dictionary as usize;
        self.header_size = header.len() as u64;
        self.block_bytes = 0;
        (self.model, self.position) = (None, None);
        self.check = match self.kind {
            CheckKind::None => Check::None,
            CheckKind::Crc32 => Check::Crc32(0),
            CheckKind::Crc64 => Check::Crc64(0),
            CheckKind::Sha256 => Check::Sha256(Box::new(ring::digest::Context::new(&ring::digest::SHA256))),
        };
        self.place = Place::Chunk;
        Ok(())
    }

    fn chunk(&mut self) -> io::Result<()> {
        let control = self.inner.array::<1>()?[0];
        if control == 0 {
            return self.end_block();
        }
        if control == 1 || control >= 0xe0 {
            self.window.clear();
            self.given = 0;
            self.position = Some(0);
        }
        let position = self.position.ok_or_else(|| broken("first chunk"))?;
        self.trim();
        let start = self.window.len();
        let length = match control {
            1 | 2 => {
                let length = usize::from(u16::from_be_bytes(self.inner.array()?)) + 1;
                self.window.resize(start + length, 0);
                self.inner.exact(&mut self.window[start..])?;
                length
            }
            0x80.. => self.compressed_chunk(control, position)?,
            _ => return Err(broken("chunk type")),
        };
        self.position = Some(position + length as u64);
        self.block_bytes += length as u64;
        let fresh = &self.window[start..];
        match &mut self.check {
            Check::None => {}
            Check::Crc32(sum) => *sum = crc32(*sum, fresh),
            Check::Crc64(sum) => *sum = crc64(*sum, fresh),
            Check::Sha256(context) => context.update(fresh),
        }
        Ok(())
    }

    fn compressed_chunk(&mut self, control: u8, position: u64) -> io::Result<usize> {
        let sizes = self.inner.array::<4>()?;
        let length = (usize::from(control & 0x1f) << 16) + usize::from(u16::from_be_bytes([sizes[0], sizes[1]])) + 1;
        let mut data = vec![0; usize::from(u16::from_be_bytes([sizes[2], sizes[3]])) + 1];
        match control >> 5 & 3 {
            0 => {}
            1 => self.model.as_mut().ok_or_else(|| broken("first chunk"))?.reset(),
            _ => {
                let properties = self.inner.array::<1>()?[0];
                self.model = Some(Model::new(properties).map_err(|_| broken("properties"))?);
            }
        }
        self.inner.exact(&mut data)?;
        let model = self.model.as_mut().ok_or_else(|| broken("first chunk"))?;
        model.chunk(&data, length, &mut self.window, position, self.dictionary).map_err(|_| broken("compressed data"))?;
        Ok(length)
    }

    /// Lets go of what no copy can reach any more. Called only when everything was handed out.
    fn trim(&mut self) {
        if self.window.len() > self.dictionary + self.dictionary.max(4 << 20) {
            self.window.drain(..self.window.len() - self.dictionary);
        }
        self.given = self.window.len();
    }

    fn end_block(&mut self) -> io::Result<()> {
        let unpadded = self.inner.count - self.block_start;
        let compressed = unpadded - self.header_size;
        while !(self.inner.count - self.block_start).is_multiple_of(4) {
            if self.inner.array::<1>()? != [0] {
                return Err(broken("block padding"));
            }
        }
        let fits = match std::mem::replace(&mut self.check, Check::None) {
            Check::None => true,
            Check::Crc32(sum) => self.inner.array::<4>()? == sum.to_le_bytes(),
            Check::Crc64(sum) => self.inner.array::<8>()? == sum.to_le_bytes(),
            Check::Sha256(context) => self.inner.array::<32>()? == context.finish().as_ref(),
        };
        let check_size = match self.kind {
            CheckKind::None => 0,
            CheckKind::Crc32 => 4,
            CheckKind::Crc64 => 8,
            CheckKind::Sha256 => 32,
        };
        let (said_compressed, said_bytes) = self.declared;
        if !fits || said_compressed.is_some_and(|said| said != compressed) || said_bytes.is_some_and(|said| said != self.block_bytes) {
            return Err(broken("check of a block"));
        }
        self.blocks.push((unpadded + check_size, self.block_bytes));
        // The index costs memory per block; a stream of millions of empty blocks is no archive.
        if self.blocks.len() > 1 << 20 {
            return Err(broken("number of blocks"));
        }
        self.place = Place::BlockHeader;
        Ok(())
    }

    /// The index repeats the sizes of all blocks; the footer repeats the flags.
    fn index(&mut self) -> io::Result<()> {
        let mut sum = crc32(0, &[0]);
        let mut number = |inner: &mut Counted<R>| -> io::Result<u64> {
            let mut value = 0u64;
            for shift in (0..63).step_by(7) {
                let byte = inner.array::<1>()?[0];
                sum = crc32(sum, &[byte]);
                value |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    return Ok(value);
                }
            }
            Err(broken("index"))
        };
        if number(&mut self.inner)? != self.blocks.len() as u64 {
            return Err(broken("index"));
        }
        for block in &self.blocks {
            if (number(&mut self.inner)?, number(&mut self.inner)?) != *block {
                return Err(broken("index"));
            }
        }
        while !(self.inner.count - self.block_start).is_multiple_of(4) {
            let zero = self.inner.array::<1>()?;
            sum = crc32(sum, &zero);
            if zero != [0] {
                return Err(broken("index"));
            }
        }
        let size = self.inner.count - self.block_start + 4;
        if self.inner.array::<4>()? != sum.to_le_bytes() {
            return Err(broken("index"));
        }
        let footer = self.inner.array::<12>()?;
        let backward = u64::from(u32::from_le_bytes([footer[4], footer[5], footer[6], footer[7]]));
        let sum = crc32(0, &footer[4..10]).to_le_bytes();
        if footer[..4] != sum || (backward + 1) * 4 != size || footer[8..10] != self.flags || footer[10..] != *b"YZ" {
            return Err(broken("stream footer"));
        }
        self.place = Place::StreamHeader;
        Ok(())
    }
}

impl<R: BufRead> Read for XzReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.window.len() && !matches!(self.place, Place::Done) && !buffer.is_empty() {
            self.step()?;
        }
        let count = buffer.len().min(self.window.len() - self.given);
        buffer[..count].copy_from_slice(&self.window[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

/// The input with the number of bytes taken.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: BufRead> Counted<R> {
    fn exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(buffer)?;
        self.count += buffer.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn varint(rest: &mut &[u8]) -> io::Result<u64> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or_else(|| broken("block header"))?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(broken("block header"))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the xz stream is broken: {what}"))
}

fn crc32(sum: u32, bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = table32();
    !bytes.iter().fold(!sum, |sum, byte| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)])
}

fn crc64(sum: u64, bytes: &[u8]) -> u64 {
    static TABLE: [u64; 256] = table64();
    !bytes.iter().fold(!sum, |sum, byte| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)])
}

const fn table32() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut value, mut bit) = (at as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
}

const fn table64() -> [u64; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut value, mut bit) = (at as u64, 0);
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xc96c_5795_d787_0f42 } else { value >> 1 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
}
