//! Physical lines become logical ones: comments and blank lines go, continuation lines are joined.
//!
//! What must stay true: every byte of a joined text knows where in the source it came from, so that a span found in
//! the joined text can always be shown in the file.

use crate::source::{LineIndex, Span};
use std::ops::Range;

/// A stretch of joined text that is contiguous in the source.
#[derive(Debug, Clone, Copy)]
struct Segment {
    joined: usize,
    source: usize,
}

/// One instruction's text.
#[derive(Debug, Default)]
pub(crate) struct LogicalLine {
    pub(crate) text: String,
    segments: Vec<Segment>,
    /// Number of the first line, counted from 1.
    pub(crate) number: usize,
    pub(crate) comments: Vec<String>,
    /// The first blank line between continued ones, counted from 0.
    pub(crate) empty_continuation: Option<usize>,
}

impl LogicalLine {
    fn push(&mut self, text: &str, source: usize) {
        self.segments.push(Segment { joined: self.text.len(), source });
        self.text.push_str(text);
    }

    fn source_offset(&self, joined: usize) -> usize {
        let next = self.segments.partition_point(|segment| segment.joined <= joined);
        let segment = self.segments[next.saturating_sub(1)];
        segment.source + (joined - segment.joined)
    }

    /// Where a range of the joined text stands in the source.
    pub(crate) fn source_range(&self, range: Range<usize>) -> Range<usize> {
        let start = self.source_offset(range.start);
        // The end belongs to the last byte inside the range, not to the line the next byte may come from.
        let end = if range.end > range.start { self.source_offset(range.end - 1) + 1 } else { start };
        start..end
    }

    /// The same as a span.
    pub(crate) fn span(&self, index: &LineIndex<'_>, range: Range<usize>) -> Span {
        index.span(self.source_range(range))
    }
}

/// Hands out logical lines and, between them, the bodies of here-documents.
pub(crate) struct LineReader<'a, 'i> {
    index: &'i LineIndex<'a>,
    escape: char,
    next: usize,
}

impl<'a, 'i> LineReader<'a, 'i> {
    pub(crate) fn new(index: &'i LineIndex<'a>, escape: char, first: usize) -> Self {
        Self { index, escape, next: first }
    }

    fn take(&mut self) -> Option<(usize, &'a str)> {
        if self.next >= self.index.line_count() {
            return None;
        }
        let range = self.index.line_range(self.next);
        self.next += 1;
        Some((range.start, &self.index.text()[range]))
    }

    /// The next instruction's text, if any is left.
    pub(crate) fn next_logical(&mut self) -> Option<LogicalLine> {
        let mut line = LogicalLine::default();
        loop {
            let (start, raw) = self.take()?;
            let text = raw.trim_start();
            if text.is_empty() {
                // A blank line parts a comment from what follows: it then describes nothing.
                line.comments.clear();
            } else if let Some(comment) = text.strip_prefix('#') {
                match comment.trim() {
                    "" => line.comments.clear(),
                    comment => line.comments.push(comment.to_owned()),
                }
            } else {
                line.number = self.next;
                let (content, continued) = self.split_continuation(text);
                line.push(content, start + (raw.len() - text.len()));
                if continued {
                    self.join_following(&mut line);
                }
                return Some(line);
            }
        }
    }

    fn join_following(&mut self, line: &mut LogicalLine) {
        while let Some((start, raw)) = self.take() {
            let text = raw.trim_start();
            if text.starts_with('#') {
                continue;
            }
            if text.is_empty() {
                line.empty_continuation.get_or_insert(self.next - 1);
                continue;
            }
            // Leading blanks of continuation lines belong to the text: Docker keeps them, and so do history and cache keys.
            let (content, continued) = self.split_continuation(raw);
            line.push(content, start);
            if !continued {
                return;
            }
        }
    }

    /// Cuts a final escape character (blanks may follow it); a doubled one is text and does not continue the line.
    fn split_continuation<'t>(&self, text: &'t str) -> (&'t str, bool) {
        let trimmed = text.trim_end_matches([' ', '\t']);
        match trimmed.strip_suffix(self.escape) {
            Some(content) if !content.ends_with(self.escape) => (content, true),
            _ => (text, false),
        }
    }

    /// Takes the lines up to the one that is exactly `name` (tabs before it are allowed when they are stripped). Answers the
    /// range of the content and whether the end was found; without it, the content is the rest of the file.
    pub(crate) fn take_heredoc(&mut self, name: &str, strip_tabs: bool) -> (Range<usize>, bool) {
        let start = if self.next == 0 { 0 } else { self.index.line_after(self.next - 1) };
        let mut end = start;
        while let Some((_, raw)) = self.take() {
            let line = if strip_tabs { raw.trim_start_matches('\t') } else { raw };
            if line == name {
                return (start..end, true);
            }
            end = self.index.line_after(self.next - 1);
        }
        (start..end, false)
    }
}
