//! The hidden faces of our binary.
//!
//! What must stay true: asked first thing in `main`, before any thread or async runtime exists; nobody reaches them by an ordinary command line.

use std::ffi::OsString;
use std::process::ExitCode;

/// First argument of a monitor's command line.
pub(crate) const MONITOR: &str = "shipway-monitor";

/// Becomes a monitor when `args` (all of them, the program's name first) say so, and returns what to exit with; otherwise `None`, and main goes on.
pub fn personality(args: &[OsString]) -> Option<ExitCode> {
    match args {
        [name, word] if name == MONITOR && word == "monitor" => Some(crate::monitor::main()),
        _ => None,
    }
}
