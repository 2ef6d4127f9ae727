//! What we say about a Dockerfile: one finding, its place, its reason and the nearest right thing.
//!
//! Text taken from the source is printed without control characters, and only a window of a very long line is shown.

use crate::secrets::masked;
use crate::source::{SourceText, Span};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Write as _;
use unicode_width::UnicodeWidthChar;

/// Whether a finding stops the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// One finding in a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable name: `E-…` for errors of the language, the name of the check for findings of checks.
    pub code: &'static str,
    pub severity: Severity,
    pub span: Span,
    /// What is wrong, without file and place.
    pub message: String,
    /// Why it matters or how it came to be, in the user's words.
    pub reason: Option<String>,
    /// The nearest right thing.
    pub hint: Option<String>,
    /// The text dockerd's classic builder answers for the same mistake, where clients may match on it.
    pub docker_text: Option<String>,
}

impl Diagnostic {
    pub(crate) fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, span, message: message.into(), reason: None, hint: None, docker_text: None }
    }

    pub(crate) fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    pub(crate) fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn hint_if(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    pub(crate) fn docker(mut self, text: impl Into<String>) -> Self {
        self.docker_text = Some(text.into());
        self
    }

    /// Whether this finding stops the build.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Prints the finding for people: place and message, the line with a caret under the spot, why, and what to do.
    ///
    /// # Cost
    /// Finds the line by walking the source.
    pub fn render(&self, source: &SourceText) -> String {
        let severity = if self.is_error() { "error" } else { "warning" };
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{}:{}:{}: {severity}: {} [{}]",
            printable(&source.name),
            self.span.start.line,
            self.span.start.column,
            printable(&self.message),
            self.code
        );
        if let Some(line) = source.line(self.span.start.line) {
            self.render_excerpt(&masked(line), &mut out);
        }
        for (label, text) in [("why", &self.reason), ("hint", &self.hint)] {
            if let Some(text) = text {
                let _ = writeln!(out, "  {label}: {}", printable(text));
            }
        }
        out
    }

    fn render_excerpt(&self, line: &str, out: &mut String) {
        let start = self.span.start.column.saturating_sub(1) as usize;
        let first = start.saturating_sub(EXCERPT_BEFORE);
        let window: Vec<char> = line.chars().skip(first).take(EXCERPT_CHARACTERS).map(visible).collect();
        let start = (start - first).min(window.len());
        let end = if self.span.end.line > self.span.start.line {
            window.len()
        } else {
            (self.span.end.column.saturating_sub(1) as usize).saturating_sub(first).min(window.len())
        };
        let cells = |characters: &[char]| characters.iter().map(|character| character.width().unwrap_or(1)).sum::<usize>();
        let more_before = if first > 0 { "…" } else { "" };
        let more_after =
            if window.len() == EXCERPT_CHARACTERS && line.chars().nth(first + EXCERPT_CHARACTERS).is_some() { "…" } else { "" };
        let text: String = window.iter().collect();
        let margin = format!("{:>4} | ", self.span.start.line);
        let caret = "^".repeat(cells(&window[start..end.max(start)]).max(1));
        let indent = " ".repeat(more_before.chars().count() + cells(&window[..start]));
        let _ = writeln!(out, "{margin}{more_before}{}{more_after}", text.trim_end());
        let _ = writeln!(out, "{}| {indent}{caret}", " ".repeat(margin.len() - 2));
    }
}

/// Characters shown of a long line, and how many of them stand before the spot.
const EXCERPT_CHARACTERS: usize = 160;
const EXCERPT_BEFORE: usize = 80;

/// A character as a terminal may safely show it: a tab is one blank, a control or direction mark is a replacement sign.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        other if other.is_control() => '\u{fffd}',
        other => other,
    }
}

fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(|character| character == '\n' || visible(character) == character) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|character| if character == '\n' { character } else { visible(character) }).collect())
}

/// How many findings are kept; a file of garbage would otherwise answer with one per line.
const DIAGNOSTIC_LIMIT: usize = 500;

/// Collects findings up to the limit.
#[derive(Default)]
pub(crate) struct Sink {
    diagnostics: Vec<Diagnostic>,
    dropped: usize,
    has_error: bool,
}

impl Sink {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let first_error = diagnostic.is_error() && !self.has_error;
        self.has_error |= diagnostic.is_error();
        if self.diagnostics.len() < DIAGNOSTIC_LIMIT {
            self.diagnostics.push(diagnostic);
        } else {
            // An error past the limit must still stop the build: the errors that were kept see to that, or it replaces a warning.
            if first_error {
                self.diagnostics.pop();
                self.diagnostics.push(diagnostic);
            }
            self.dropped += 1;
        }
    }

    /// Whether a further error would only be counted; if so, counts it. Spares the work of wording what nobody will read.
    pub(crate) fn count_if_full(&mut self) -> bool {
        let is_full = self.diagnostics.len() >= DIAGNOSTIC_LIMIT && self.has_error;
        self.dropped += usize::from(is_full);
        is_full
    }

    /// Counts findings that were left out elsewhere.
    pub(crate) fn note_dropped(&mut self, count: usize) {
        self.dropped += count;
    }

    /// Whether nothing was found so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|diagnostic| (diagnostic.span.start_byte, diagnostic.severity));
        if let (Some(last), dropped @ 1..) = (self.diagnostics.last_mut(), self.dropped) {
            let note = format!("{dropped} more findings are not shown");
            last.reason = Some(last.reason.take().map_or(note.clone(), |reason| format!("{reason}; {note}")));
        }
        self.diagnostics
    }
}
