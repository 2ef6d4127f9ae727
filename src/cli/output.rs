//! The only place that writes to standard output and standard error.
//!
//! What must stay true: a failure is printed once, as `shipway: <message>` with its hints below; a closed pipe ends the command quietly.

use super::exit::{Failure, Outcome, Reason};
use std::io::{IsTerminal, Write};

/// Writes bytes to standard output and flushes, so that a follower sees them now.
pub(crate) fn bytes(content: &[u8]) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_all(content)?;
    out.flush()?;
    Ok(())
}

/// Writes text without adding anything.
pub(crate) fn text(content: &str) -> Outcome {
    bytes(content.as_bytes())
}

/// Writes one line.
pub(crate) fn line(content: impl AsRef<str>) -> Outcome {
    let mut whole = String::with_capacity(content.as_ref().len() + 1);
    whole.push_str(content.as_ref());
    whole.push('\n');
    bytes(whole.as_bytes())
}

/// Writes bytes to standard error.
pub(crate) fn error_bytes(content: &[u8]) -> Outcome {
    let mut out = std::io::stderr().lock();
    out.write_all(content)?;
    out.flush()?;
    Ok(())
}

/// Writes one line to standard error. A closed standard error is nobody's loss.
pub(crate) fn note(content: impl AsRef<str>) {
    let _ = error_bytes(format!("{}\n", content.as_ref()).as_bytes());
}

/// Prints a failure and its hints.
pub(crate) fn failure(failure: &Failure) {
    if failure.reason != Reason::Said {
        note(format!("shipway: {failure}"));
    }
    for hint in &failure.hints {
        note(format!("  hint: {hint}"));
    }
}

/// True when standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// True when standard error is a terminal.
pub(crate) fn error_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}
