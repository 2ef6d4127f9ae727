//! Colours of the live picture: blue for done, red for failed, yellow for cancelled; `NO_COLOR` and `BUILDKIT_COLORS` are honoured.

use crate::cli::session::Session;

/// Escape sequences before a line of each kind; empty for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Colours {
    pub(super) done: String,
    pub(super) failed: String,
    pub(super) cancelled: String,
    pub(super) warning: String,
    pub(super) faint: String,
}

impl Colours {
    /// No colours at all.
    pub(crate) fn none() -> Self {
        Self { done: String::new(), failed: String::new(), cancelled: String::new(), warning: String::new(), faint: String::new() }
    }

    /// The usual ones.
    pub(crate) fn usual() -> Self {
        let code = |code: &str| format!("\x1b[{code}m");
        Self { done: code("34"), failed: code("31"), cancelled: code("33"), warning: code("33"), faint: code("2") }
    }

    /// What the environment asks for: `BUILDKIT_COLORS=run=green:error=1,0,0:...`.
    pub(crate) fn chosen(session: &Session) -> Self {
        if session.variable("NO_COLOR").is_some() {
            return Self::none();
        }
        let mut colours = Self::usual();
        for pair in session.variable("BUILDKIT_COLORS").unwrap_or_default().split(':') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let Some(sequence) = sequence(value) else { continue };
            match name {
                "run" => colours.done = sequence,
                "error" => colours.failed = sequence,
                "cancel" => colours.cancelled = sequence,
                "warning" => colours.warning = sequence,
                _ => {}
            }
        }
        colours
    }

    /// `line` in a colour.
    pub(super) fn paint(colour: &str, line: &str) -> String {
        if colour.is_empty() { line.to_owned() } else { format!("{colour}{line}\x1b[0m") }
    }
}

fn sequence(value: &str) -> Option<String> {
    const NAMES: [&str; 8] = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
    let value = value.to_lowercase();
    let (bright, name) = value.strip_prefix("light").map_or((false, value.as_str()), |name| (true, name));
    if let Some(at) = NAMES.iter().position(|known| *known == name) {
        return Some(format!("\x1b[{}m", at + if bright { 90 } else { 30 }));
    }
    let parts: Vec<u8> = value.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    match parts.as_slice() {
        [red, green, blue] => Some(format!("\x1b[38;2;{red};{green};{blue}m")),
        _ => None,
    }
}
