//! The crate through its public face: what a text means, what is said about it, and that no text can hurt it.

mod corpus;
mod expansion;
mod promises;
mod refusals;
mod robustness;
mod scoping;

use shipway_dockerfile::{Diagnostic, Dockerfile, InstructionKind, Parsed, SourceText, parse};

pub(crate) fn source(text: &str) -> SourceText {
    SourceText::new("Dockerfile", text)
}

pub(crate) fn parsed(text: &str) -> Parsed {
    parse(&source(text))
}

/// Parses text that must be free of errors.
pub(crate) fn good(text: &str) -> Dockerfile {
    let parsed = parsed(text);
    assert!(!parsed.has_errors(), "{text:?}: {:#?}", parsed.diagnostics);
    parsed.dockerfile
}

/// The kind of the first instruction after `FROM scratch`.
pub(crate) fn kind(line: &str) -> InstructionKind {
    let mut dockerfile = good(&format!("FROM scratch\n{line}\n"));
    dockerfile.stages[0].instructions.remove(0).kind
}

/// One line per finding: place, code and message.
pub(crate) fn summary(text: &str) -> Vec<String> {
    let line = |found: &Diagnostic| format!("{}:{} {} {}", found.span.start.line, found.span.start.column, found.code, found.message);
    parsed(text).diagnostics.iter().map(line).collect()
}

/// The only finding with this code.
pub(crate) fn finding(text: &str, code: &str) -> Diagnostic {
    let parsed = parsed(text);
    let mut found: Vec<_> = parsed.diagnostics.iter().filter(|found| found.code == code).cloned().collect();
    assert_eq!(found.len(), 1, "{code} in {text:?}: {:#?}", parsed.diagnostics);
    found.remove(0)
}
