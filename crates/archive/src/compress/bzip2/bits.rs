//! The bits of a bzip2 stream, highest first, and the codes they are read by.

use std::io::{self, Read};

/// Bytes read at once.
const READ: usize = 32 * 1024;
/// The longest code.
const LONGEST: u32 = 20;

/// What is wrong with a stream.
pub(super) fn wrong(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("bzip2: {reason}"))
}

/// Bits of a reader.
pub(super) struct Bits<R> {
    reader: R,
    buffer: Box<[u8]>,
    at: usize,
    filled: usize,
    /// The next bits, in the lowest `count`.
    held: u64,
    count: u32,
    /// How many of them stand for what is beyond the end.
    beyond: u32,
}

impl<R: Read> Bits<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; READ].into_boxed_slice(), at: 0, filled: 0, held: 0, count: 0, beyond: 0 }
    }

    /// The next bits, at most 48.
    pub(super) fn take(&mut self, width: u32) -> io::Result<u64> {
        self.hold(width)?;
        let bits = self.held >> (self.count - width) & ((1 << width) - 1);
        self.pass(width)?;
        Ok(bits)
    }

    /// Passes over what is left of a byte.
    pub(super) fn align(&mut self) {
        self.count -= self.count % 8;
    }

    /// Whether nothing comes any more. Between bytes only.
    pub(super) fn is_at_end(&mut self) -> io::Result<bool> {
        self.hold(8)?;
        Ok(self.count == self.beyond)
    }

    /// The next bits as far as the longest code needs them, without passing over them.
    fn look(&mut self) -> io::Result<u32> {
        self.hold(LONGEST)?;
        Ok((self.held >> (self.count - LONGEST)) as u32 & ((1 << LONGEST) - 1))
    }

    fn pass(&mut self, width: u32) -> io::Result<()> {
        self.count -= width;
        if self.count < self.beyond {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "bzip2: the stream ends too early"));
        }
        Ok(())
    }

    fn hold(&mut self, width: u32) -> io::Result<()> {
        while self.count < width {
            if self.at == self.filled {
                (self.at, self.filled) = (0, self.fill()?);
            }
            let byte = if self.filled == 0 {
                self.beyond += 8;
                0
            } else {
                self.at += 1;
                self.buffer[self.at - 1]
            };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
        Ok(())
    }

    fn fill(&mut self) -> io::Result<usize> {
        loop {
            match self.reader.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// A code: shorter ones first, among equals in the order of the symbols.
pub(super) struct Huffman {
    /// For each length: the first code of it, how many there are, and where their symbols begin.
    lengths: [(u32, u32, u32); LONGEST as usize + 1],
    shortest: u32,
    symbols: Vec<u16>,
}

impl Huffman {
    /// Reads the lengths of the codes of `count` symbols: the first, then steps up and down.
    pub(super) fn read<R: Read>(bits: &mut Bits<R>, count: usize) -> io::Result<Self> {
        let mut length = bits.take(5)? as u32;
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            loop {
                if !(1..=LONGEST).contains(&length) {
                    return Err(wrong("a code has no bits or too many"));
                }
                if bits.take(1)? == 0 {
                    break;
                }
                length = if bits.take(1)? == 0 { length + 1 } else { length - 1 };
            }
            all.push(length);
        }
        Self::of(&all)
    }

    fn of(all: &[u32]) -> io::Result<Self> {
        let mut lengths = [(0, 0, 0); LONGEST as usize + 1];
        let mut symbols = Vec::with_capacity(all.len());
        let mut code = 0_u32;
        for length in 1..=LONGEST {
            let begin = symbols.len() as u32;
            symbols.extend((0_u16..).zip(all).filter(|(_, its)| **its == length).map(|(symbol, _)| symbol));
            let count = symbols.len() as u32 - begin;
            if code + count > 1 << length {
                return Err(wrong("two codes are the same"));
            }
            lengths[length as usize] = (code, count, begin);
            code = (code + count) << 1;
        }
        let shortest = all.iter().copied().min().unwrap_or(1);
        Ok(Self { lengths, shortest, symbols })
    }

    /// The next symbol.
    pub(super) fn next<R: Read>(&self, bits: &mut Bits<R>) -> io::Result<u16> {
        let ahead = bits.look()?;
        for length in self.shortest..=LONGEST {
            let (first, count, begin) = self.lengths[length as usize];
            let code = ahead >> (LONGEST - length);
            if code < first + count {
                bits.pass(length)?;
                return Ok(self.symbols[(begin + code - first) as usize]);
            }
        }
        Err(wrong("a code stands for nothing"))
    }
}
