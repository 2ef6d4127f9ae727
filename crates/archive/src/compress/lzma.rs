//! One LZMA chunk: range decoder, probability models, copies out of the window.
//!
//! What must stay true: every index comes from a bounded number of bits or is checked against the window; a broken chunk is an error, never a panic.
//!
//! Source: LZMA specification (7-zip, `lzma-specification.txt`), xz file format 1.1 for LZMA2.

/// A broken chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

const STATES: usize = 12;
const START: u16 = 1 << 10;
const MATCH_MINIMUM: usize = 2;

/// Lengths: a choice of three ranges.
struct Lengths {
    choice: [u16; 2],
    low: [[u16; 8]; 16],
    middle: [[u16; 8]; 16],
    high: [u16; 256],
}

/// All adaptive state of a decoder.
pub(super) struct Model {
    literal_context: u32,
    literal_position: u32,
    position_mask: usize,
    state: usize,
    distances: [usize; 4],
    is_match: [[u16; 16]; STATES],
    is_repeat: [u16; STATES],
    is_repeat0: [u16; STATES],
    is_repeat1: [u16; STATES],
    is_repeat2: [u16; STATES],
    is_short: [[u16; 16]; STATES],
    literals: Vec<u16>,
    slots: [[u16; 64]; 4],
    special: [u16; 128],
    align: [u16; 16],
    lengths: Lengths,
    repeat_lengths: Lengths,
}

impl Lengths {
    fn new() -> Lengths {
        Lengths { choice: [START; 2], low: [[START; 8]; 16], middle: [[START; 8]; 16], high: [START; 256] }
    }

    fn decode(&mut self, range: &mut Range<'_>, position: usize) -> Result<usize, Broken> {
        Ok(MATCH_MINIMUM
            + if range.bit(&mut self.choice[0])? == 0 {
                range.tree(&mut self.low[position], 3)?
            } else if range.bit(&mut self.choice[1])? == 0 {
                8 + range.tree(&mut self.middle[position], 3)?
            } else {
                16 + range.tree(&mut self.high, 8)?
            })
    }
}

impl Model {
    /// A fresh model for the property byte of LZMA2 (`lc + lp` at most 4).
    pub(super) fn new(properties: u8) -> Result<Model, Broken> {
        if properties >= 225 {
            return Err(Broken);
        }
        let (lc, lp, pb) = (u32::from(properties % 9), u32::from(properties / 9 % 5), u32::from(properties / 45));
        if lc + lp > 4 {
            return Err(Broken);
        }
        Ok(Model {
            literal_context: lc,
            literal_position: lp,
            position_mask: (1 << pb) - 1,
            state: 0,
            distances: [0; 4],
            is_match: [[START; 16]; STATES],
            is_repeat: [START; STATES],
            is_repeat0: [START; STATES],
            is_repeat1: [START; STATES],
            is_repeat2: [START; STATES],
            is_short: [[START; 16]; STATES],
            literals: vec![START; 0x300 << (lc + lp)],
            slots: [[START; 64]; 4],
            special: [START; 128],
            align: [START; 16],
            lengths: Lengths::new(),
            repeat_lengths: Lengths::new(),
        })
    }

    /// The same properties from the start.
    pub(super) fn reset(&mut self) {
        let properties = (self.position_mask + 1).trailing_zeros() * 45 + self.literal_position * 9 + self.literal_context;
        if let Ok(fresh) = Model::new(properties as u8) {
            *self = fresh;
        }
    }

    /// Decodes one chunk of `length` bytes onto the end of `window`; `position` bytes came since the window was reset.
    pub(super) fn chunk(
        &mut self,
        data: &[u8],
        length: usize,
        window: &mut Vec<u8>,
        position: u64,
        dictionary: usize,
    ) -> Result<(), Broken> {
        let mut range = Range::new(data)?;
        let (begin, end) = (window.len(), window.len() + length);
        while window.len() < end {
            let now = position + (window.len() - begin) as u64;
            let place = now as usize & self.position_mask;
            if range.bit(&mut self.is_match[self.state][place])? == 0 {
                self.literal(&mut range, window, now)?;
                continue;
            }
            let length = self.match_length(&mut range, place)?;
            let distance = self.distances[0] + 1;
            if distance as u64 > (position + (window.len() - begin) as u64)
                || distance > dictionary
                || distance > window.len()
                || length > end - window.len()
            {
                return Err(Broken);
            }
            copy_back(window, distance, length);
        }
        if range.finished() { Ok(()) } else { Err(Broken) }
    }

    fn literal(&mut self, range: &mut Range<'_>, window: &mut Vec<u8>, now: u64) -> Result<(), Broken> {
        let before = if now == 0 { 0 } else { usize::from(*window.last().ok_or(Broken)?) };
        let low = now as usize & ((1 << self.literal_position) - 1);
        let context = (low << self.literal_context) + (before >> (8 - self.literal_context));
        let table = &mut self.literals[0x300 * context..0x300 * (context + 1)];
        let mut symbol = 1;
        if self.state >= 7 {
            let distance = self.distances[0] + 1;
            if distance > window.len() {
                return Err(Broken);
            }
            let mut matched = usize::from(window[window.len() - distance]);
            while symbol < 0x100 {
                matched <<= 1;
                let expected = matched & 0x100;
                let bit = range.bit(&mut table[0x100 + expected + symbol])?;
                symbol = symbol << 1 | bit;
                if expected >> 8 != bit {
                    break;
                }
            }
        }
        while symbol < 0x100 {
            symbol = symbol << 1 | range.bit(&mut table[symbol])?;
        }
        window.push(symbol as u8);
        self.state = match self.state {
            0..=3 => 0,
            4..=9 => self.state - 3,
            _ => self.state - 6,
        };
        Ok(())
    }

    /// Length of the copy; its distance stands in `distances[0]` afterwards.
    fn match_length(&mut self, range: &mut Range<'_>, place: usize) -> Result<usize, Broken> {
        let after_literal = self.state < 7;
        if range.bit(&mut self.is_repeat[self.state])? == 0 {
            let length = self.lengths.decode(range, place)?;
            let distance = self.distance(range, length)?;
            self.distances = [distance, self.distances[0], self.distances[1], self.distances[2]];
            self.state = if after_literal { 7 } else { 10 };
            return Ok(length);
        }
        if range.bit(&mut self.is_repeat0[self.state])? == 0 {
            if range.bit(&mut self.is_short[self.state][place])? == 0 {
                self.state = if after_literal { 9 } else { 11 };
                return Ok(1);
            }
        } else if range.bit(&mut self.is_repeat1[self.state])? == 0 {
            self.distances.swap(0, 1);
        } else if range.bit(&mut self.is_repeat2[self.state])? == 0 {
            self.distances[..3].rotate_right(1);
        } else {
            self.distances.rotate_right(1);
        }
        self.state = if after_literal { 8 } else { 11 };
        self.repeat_lengths.decode(range, place)
    }

    fn distance(&mut self, range: &mut Range<'_>, length: usize) -> Result<usize, Broken> {
        let slot = range.tree(&mut self.slots[(length - MATCH_MINIMUM).min(3)], 6)?;
        if slot < 4 {
            return Ok(slot);
        }
        let bits = (slot >> 1) - 1;
        let base = (2 | slot & 1) << bits;
        if slot < 14 {
            return Ok(base + range.reverse(&mut self.special[base - slot..], bits)?);
        }
        let high = range.direct(bits - 4)?;
        Ok(base + (high << 4) + range.reverse(&mut self.align, 4)?)
    }
}

fn copy_back(window: &mut Vec<u8>, distance: usize, length: usize) {
    let from = window.len() - distance;
    if distance >= length {
        window.extend_from_within(from..from + length);
        return;
    }
    for at in from..from + length {
        window.push(window[at]);
    }
}

/// The range decoder over one chunk.
struct Range<'a> {
    data: &'a [u8],
    at: usize,
    range: u32,
    code: u32,
}

impl<'a> Range<'a> {
    fn new(data: &'a [u8]) -> Result<Range<'a>, Broken> {
        let start: [u8; 5] = data.get(..5).and_then(|start| start.try_into().ok()).ok_or(Broken)?;
        if start[0] != 0 {
            return Err(Broken);
        }
        Ok(Range { data, at: 5, range: u32::MAX, code: u32::from_be_bytes([start[1], start[2], start[3], start[4]]) })
    }

    #[inline(always)]
    fn normalise(&mut self) -> Result<(), Broken> {
        if self.range < 1 << 24 {
            let byte = *self.data.get(self.at).ok_or(Broken)?;
            self.at += 1;
            self.range <<= 8;
            self.code = self.code << 8 | u32::from(byte);
        }
        Ok(())
    }

    #[inline(always)]
    fn bit(&mut self, probability: &mut u16) -> Result<usize, Broken> {
        self.normalise()?;
        let bound = (self.range >> 11) * u32::from(*probability);
        if self.code < bound {
            self.range = bound;
            *probability += ((1 << 11) - *probability) >> 5;
            Ok(0)
        } else {
            self.range -= bound;
            self.code -= bound;
            *probability -= *probability >> 5;
            Ok(1)
        }
    }

    fn tree(&mut self, table: &mut [u16], bits: u32) -> Result<usize, Broken> {
        let mut symbol = 1;
        for _ in 0..bits {
            symbol = symbol << 1 | self.bit(&mut table[symbol])?;
        }
        Ok(symbol - (1 << bits))
    }

    fn reverse(&mut self, table: &mut [u16], bits: usize) -> Result<usize, Broken> {
        let (mut symbol, mut value) = (1, 0);
        for place in 0..bits {
            let bit = self.bit(&mut table[symbol])?;
            symbol = symbol << 1 | bit;
            value |= bit << place;
        }
        Ok(value)
    }

    fn direct(&mut self, bits: usize) -> Result<usize, Broken> {
        let mut value = 0;
        for _ in 0..bits {
            self.normalise()?;
            self.range >>= 1;
            let bit = self.code >= self.range;
            if bit {
                self.code -= self.range;
            }
            value = value << 1 | usize::from(bit);
        }
        Ok(value)
    }

    /// A chunk is used up exactly, and its code ends at zero.
    fn finished(&mut self) -> bool {
        self.normalise().is_ok() && self.code == 0 && self.at == self.data.len()
    }
}
