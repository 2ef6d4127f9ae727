//! bzip2, decoded block by block as it comes.
//!
//! What must stay true: memory is bounded by one block of 900,000 bytes, whatever the stream says; streams that follow each other, as pbzip2 and lbzip2
//! write them, are one; the checksum of every block and stream is checked before the end is told; nothing a stream says makes it panic.
//!
//! # Source
//! There is no written standard; bzip2(1) 1.0 is the reference. A stream is `BZh`, the block size in hundred thousands as a digit, blocks, an end mark and a
//! checksum. A block: its mark, checksum, where its sorted text begins, which bytes occur, Huffman tables and which one is used for each fifty symbols,
//! the symbols: runs of the first byte of a move-to-front list in two digits, other places in it, an end.

mod bits;

use std::io::{self, Read};

use self::bits::{Bits, Huffman, wrong};

const BLOCK_MARK: u64 = 0x3141_5926_5359;
const END_MARK: u64 = 0x1772_4538_5090;
/// Bytes of a block for each step of the digit in the head.
const BLOCK_STEP: usize = 100_000;
/// Symbols that one table is used for.
const GROUP: usize = 50;
/// Symbols for a run: the two digits of its length.
const RUN_A: u16 = 0;
const RUN_B: u16 = 1;

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Stream,
    Block,
    Nothing,
}

/// The content of streams that follow each other.
pub(super) struct Bzip2Reader<R> {
    bits: Bits<R>,
    next: Next,
    is_first: bool,
    /// Most bytes of a block of this stream.
    limit: usize,
    block: Block,
    /// Of the blocks of this stream, as its end tells it.
    checksum: u32,
}

impl<R: Read> Bzip2Reader<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { bits: Bits::new(reader), next: Next::Stream, is_first: true, limit: 0, block: Block::default(), checksum: 0 }
    }

    /// Reads on until the next block is there; false at the end of everything.
    fn advance(&mut self) -> io::Result<bool> {
        loop {
            match self.next {
                Next::Nothing => return Ok(false),
                Next::Stream => {
                    self.bits.align();
                    if !self.is_first && self.bits.is_at_end()? {
                        self.next = Next::Nothing;
                        continue;
                    }
                    let (mark, digit) = (self.bits.take(24)?, self.bits.take(8)?);
                    if mark != u64::from_be_bytes(*b"\0\0\0\0\0BZh") || !(u64::from(b'1')..=u64::from(b'9')).contains(&digit) {
                        return Err(wrong("no stream begins where one must"));
                    }
                    self.limit = usize::from(u8::try_from(digit).unwrap_or_default() - b'0') * BLOCK_STEP;
                    (self.is_first, self.checksum, self.next) = (false, 0, Next::Block);
                }
                Next::Block => match self.bits.take(48)? {
                    BLOCK_MARK => {
                        self.block.decode(&mut self.bits, self.limit)?;
                        return Ok(true);
                    }
                    END_MARK => {
                        if self.bits.take(32)? != u64::from(self.checksum) {
                            return Err(wrong("the checksum of the stream does not match"));
                        }
                        self.next = Next::Stream;
                    }
                    _ => return Err(wrong("neither a block nor the end where one must be")),
                },
            }
        }
    }
}

impl<R: Read> Read for Bzip2Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let given = self.block.give(buffer);
            if given > 0 {
                return Ok(given);
            }
            if self.block.is_open {
                self.checksum = self.checksum.rotate_left(1) ^ self.block.close()?;
            }
            if !self.advance()? {
                return Ok(0);
            }
        }
    }
}

/// One block: its bytes in sorted order, each with the place of the one after it, and how far they have been given.
#[derive(Default)]
struct Block {
    /// A byte in the low eight bits, the place of the next one above.
    links: Vec<u32>,
    at: u32,
    left: usize,
    last: u8,
    /// How often the last byte came in a row; after four of them a byte is a number of further ones.
    row: u8,
    repeats: u8,
    checksum: u32,
    wanted: u32,
    is_open: bool,
}

impl Block {
    fn decode<R: Read>(&mut self, bits: &mut Bits<R>, limit: usize) -> io::Result<()> {
        self.wanted = u32::try_from(bits.take(32)?).unwrap_or_default();
        if bits.take(1)? != 0 {
            return Err(wrong("blocks of the randomised kind, which no program writes any more, are not read"));
        }
        let start = usize::try_from(bits.take(24)?).unwrap_or(usize::MAX);
        self.links.clear();
        self.read_symbols(bits, limit)?;
        self.sort_back();
        let first = self.links.get(start).ok_or_else(|| wrong("a block begins outside itself"))?;
        (self.at, self.left, self.row, self.repeats) = (first >> 8, self.links.len(), 0, 0);
        (self.checksum, self.is_open) = (u32::MAX, true);
        Ok(())
    }

    /// The bytes of the block in the order in which they were sorted.
    fn read_symbols<R: Read>(&mut self, bits: &mut Bits<R>, limit: usize) -> io::Result<()> {
        let mut front = bytes_in_use(bits)?;
        let end = u16::try_from(front.len() + 1).map_err(|_| wrong("too many symbols"))?;
        let tables = usize::try_from(bits.take(3)?).unwrap_or_default();
        if !(2..=6).contains(&tables) {
            return Err(wrong("a block has two to six tables"));
        }
        let selectors = read_selectors(bits, tables)?;
        let tables: Vec<Huffman> = (0..tables).map(|_| Huffman::read(bits, usize::from(end) + 1)).collect::<io::Result<_>>()?;
        let (mut run, mut digit) = (0_usize, 1_usize);
        for selector in selectors {
            let table = &tables[usize::from(selector)];
            for _ in 0..GROUP {
                let symbol = table.next(bits)?;
                if symbol == RUN_A || symbol == RUN_B {
                    run += digit * (usize::from(symbol) + 1);
                    // Longer than any block: the digits stop counting before they overflow.
                    if run > limit {
                        return Err(wrong("a block is larger than its stream allows"));
                    }
                    digit *= 2;
                    continue;
                }
                if self.links.len() + run > limit {
                    return Err(wrong("a block is larger than its stream allows"));
                }
                self.links.resize(self.links.len() + run, u32::from(front[0]));
                (run, digit) = (0, 1);
                if symbol == end {
                    return Ok(());
                }
                if self.links.len() == limit {
                    return Err(wrong("a block is larger than its stream allows"));
                }
                let place = usize::from(symbol) - 1;
                let byte = front[place];
                front.copy_within(..place, 1);
                front[0] = byte;
                self.links.push(u32::from(byte));
            }
        }
        Err(wrong("a block has no end"))
    }

    /// Undoes the sorting: gives every place the one that follows it in the text.
    fn sort_back(&mut self) {
        let mut starts = [0_u32; 256];
        for link in &self.links {
            starts[(link & 0xff) as usize] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            (*start, sum) = (sum, sum + *start);
        }
        for place in 0..self.links.len() {
            let start = &mut starts[(self.links[place] & 0xff) as usize];
            let follows = *start as usize;
            *start += 1;
            self.links[follows] |= (place as u32) << 8;
        }
    }

    /// Copies out as much as there is room for.
    fn give(&mut self, buffer: &mut [u8]) -> usize {
        let mut given = 0;
        while given < buffer.len() {
            if self.repeats > 0 {
                self.repeats -= 1;
            } else if self.left == 0 {
                break;
            } else {
                self.left -= 1;
                let link = self.links[self.at as usize];
                let byte = (link & 0xff) as u8;
                self.at = link >> 8;
                if self.row == 4 {
                    (self.repeats, self.row) = (byte, 0);
                    continue;
                }
                self.row = if self.row > 0 && byte == self.last { self.row + 1 } else { 1 };
                self.last = byte;
            }
            buffer[given] = self.last;
            self.checksum = self.checksum << 8 ^ CHECKSUMS[((self.checksum >> 24) as u8 ^ self.last) as usize];
            given += 1;
        }
        given
    }

    /// The checksum of the block, all of which was given.
    fn close(&mut self) -> io::Result<u32> {
        self.is_open = false;
        if !self.checksum == self.wanted { Ok(self.wanted) } else { Err(wrong("the checksum of a block does not match")) }
    }
}

/// The bytes that occur, in order: sixteen bits say which sixteenths have any, sixteen more which of each.
fn bytes_in_use<R: Read>(bits: &mut Bits<R>) -> io::Result<Vec<u8>> {
    let sixteenths = bits.take(16)?;
    let mut used = Vec::with_capacity(256);
    for high in (0..16_u8).filter(|high| sixteenths >> (15 - high) & 1 == 1) {
        let bytes = bits.take(16)?;
        used.extend((0..16_u8).filter(|low| bytes >> (15 - low) & 1 == 1).map(|low| high << 4 | low));
    }
    if used.is_empty() { Err(wrong("a block has no bytes")) } else { Ok(used) }
}

/// Which table is used for each group of symbols.
fn read_selectors<R: Read>(bits: &mut Bits<R>, tables: usize) -> io::Result<Vec<u8>> {
    let count = bits.take(15)?;
    let mut front: Vec<u8> = (0..6).collect();
    let mut selectors = Vec::new();
    for _ in 0..count {
        let mut place = 0;
        while bits.take(1)? == 1 {
            place += 1;
            if place >= tables {
                return Err(wrong("a table is used that is not there"));
            }
        }
        let table = front[place];
        front.copy_within(..place, 1);
        front[0] = table;
        selectors.push(table);
    }
    Ok(selectors)
}

/// CRC-32 with the polynomial of Ethernet, highest bit first.
const CHECKSUMS: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            value = if value >> 31 == 1 { value << 1 ^ 0x04c1_1db7 } else { value << 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};
