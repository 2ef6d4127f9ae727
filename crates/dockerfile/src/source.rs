//! Places in a source text: positions people read, byte ranges programs use.
//!
//! A position costs a binary search and a short count, whatever the length of its line, so that a file of one
//! enormous line stays linear to parse.

use serde::Serialize;
use std::ops::Range;

/// A place as people count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// Line, counted from 1.
    pub line: u32,
    /// Column, counted from 1 in characters (not bytes, not terminal cells).
    pub column: u32,
}

/// A stretch of a source text; `end` is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Span {
    pub start: Position,
    pub end: Position,
    /// Offset of the first byte in [`SourceText::text`].
    pub start_byte: usize,
    /// Offset after the last byte in [`SourceText::text`].
    pub end_byte: usize,
}

impl Span {
    /// The byte range in the source.
    pub fn range(&self) -> Range<usize> {
        self.start_byte..self.end_byte
    }

    /// The first and last line touched, counted from 1.
    pub fn lines(&self) -> (u32, u32) {
        let last = if self.end.column == 1 && self.end.line > self.start.line { self.end.line - 1 } else { self.end.line };
        (self.start.line, last)
    }

    /// The smallest span holding both.
    pub fn join(self, other: Self) -> Self {
        let (first, last) =
            (if self.start_byte <= other.start_byte { self } else { other }, if self.end_byte >= other.end_byte { self } else { other });
        Self { start: first.start, end: last.end, start_byte: first.start_byte, end_byte: last.end_byte }
    }
}

/// A Dockerfile as it was read, under the name messages shall use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    /// Printed before line and column, as in `Dockerfile:3:6`.
    pub name: String,
    /// The whole text; a byte order mark, if any, is still its first character.
    pub text: String,
}

impl SourceText {
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Takes bytes of unknown encoding; what is not UTF-8 becomes U+FFFD, so that the parser can point at it.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        Self { name: name.into(), text: String::from_utf8_lossy(bytes).into_owned() }
    }

    /// The text of a span; empty when the span belongs to another source.
    pub fn slice(&self, span: &Span) -> &str {
        self.text.get(span.range()).unwrap_or("")
    }

    /// The text of a line without its line end, counted from 1.
    ///
    /// # Cost
    /// Walks the text from its start.
    pub fn line(&self, number: u32) -> Option<&str> {
        let text = self.text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.text);
        text.split('\n').nth(number.checked_sub(1)? as usize).map(|line| line.strip_suffix('\r').unwrap_or(line))
    }
}

pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// Bytes between two counted places: small enough that counting the rest is cheap, large enough that the table is small.
const CHECKPOINT_BYTES: usize = 256;

/// Turns byte offsets into positions.
pub(crate) struct LineIndex<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
    /// Characters that start before byte `n * CHECKPOINT_BYTES`.
    characters_before: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let first = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        let mut line_starts = vec![first];
        line_starts.extend(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset + 1));
        let mut characters_before = Vec::with_capacity(text.len() / CHECKPOINT_BYTES + 1);
        let mut count = 0;
        for block in text.as_bytes().chunks(CHECKPOINT_BYTES) {
            characters_before.push(count);
            count += count_characters(block);
        }
        characters_before.push(count);
        Self { text, line_starts, characters_before }
    }

    pub(crate) fn line_count(&self) -> usize {
        self.line_starts.len()
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// The byte range of a line (counted from 0), without its line end.
    pub(crate) fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.line_starts[line];
        let mut end = self.line_starts.get(line + 1).map_or(self.text.len(), |next| next - 1);
        if end > start && self.text.as_bytes()[end - 1] == b'\r' {
            end -= 1;
        }
        start..end
    }

    /// Where the line after `line` starts; the length of the text after the last one.
    pub(crate) fn line_after(&self, line: usize) -> usize {
        self.line_starts.get(line + 1).copied().unwrap_or(self.text.len())
    }

    pub(crate) fn position(&self, byte: usize) -> Position {
        let byte = byte.min(self.text.len());
        let line = self.line_starts.partition_point(|start| *start <= byte).saturating_sub(1);
        let column = self.characters(byte).saturating_sub(self.characters(self.line_starts[line]));
        Position { line: line as u32 + 1, column: column as u32 + 1 }
    }

    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        let end = range.end.max(range.start);
        Span { start: self.position(range.start), end: self.position(end), start_byte: range.start, end_byte: end }
    }

    fn characters(&self, byte: usize) -> usize {
        let block = byte / CHECKPOINT_BYTES;
        self.characters_before[block] + count_characters(&self.text.as_bytes()[block * CHECKPOINT_BYTES..byte])
    }
}

/// Counts the bytes that start a character.
fn count_characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte & 0xc0) != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_skip_the_byte_order_mark() {
        let text = "\u{feff}가나 x\r\nb";
        let index = LineIndex::new(text);
        assert_eq!(index.position(text.find('x').unwrap()), Position { line: 1, column: 4 });
        assert_eq!(index.position(text.find('b').unwrap()), Position { line: 2, column: 1 });
        assert_eq!(&text[index.line_range(0)], "가나 x");
    }

    #[test]
    fn positions_past_many_checkpoints_are_exact() {
        let text = "é".repeat(2000);
        let index = LineIndex::new(&text);
        for character in [0usize, 1, 127, 128, 129, 1999, 2000] {
            assert_eq!(index.position(character * 2).column as usize, character + 1);
        }
    }
}
