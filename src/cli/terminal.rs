//! The terminal this command runs in: raw mode, size, and telling the daemon about changes of size.
//!
//! What must stay true: raw mode ends when its guard is dropped, on every way out.

use super::client::{Call, Client};
use super::exit::Outcome;
use super::output;
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use shipway_model::Secret;
use std::io::IsTerminal;

/// Terminal in raw mode until dropped.
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Makes standard input raw when it is a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return None;
        }
        let before = termios::tcgetattr(&input).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&input, OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nobody is left to be told when this fails.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// True when standard input is a terminal.
pub(crate) fn input_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks for a line at the terminal.
pub(crate) fn ask(prompt: &str) -> Outcome<String> {
    output::bytes(prompt.as_bytes())?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Asks for a line that is not shown while it is typed.
pub(crate) fn ask_hidden(prompt: &str) -> Outcome<Secret> {
    output::bytes(prompt.as_bytes())?;
    let input = std::io::stdin();
    let before = termios::tcgetattr(&input).map_err(std::io::Error::from)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
    termios::tcsetattr(&input, OptionalActions::Flush, &hidden).map_err(std::io::Error::from)?;
    let guard = RawMode { before };
    let mut line = String::new();
    input.read_line(&mut line)?;
    drop(guard);
    Ok(Secret::new(line.trim_end_matches(['\n', '\r'])))
}

/// Rows and columns of the terminal on standard output, else of standard error.
pub(crate) fn size() -> Option<(u16, u16)> {
    let asked = termios::tcgetwinsize(std::io::stdout()).or_else(|_| termios::tcgetwinsize(std::io::stderr())).ok()?;
    (asked.ws_col > 0).then_some((asked.ws_row, asked.ws_col))
}

/// Columns of the terminal.
pub(crate) fn columns() -> Option<usize> {
    size().map(|(_, columns)| usize::from(columns))
}

/// Tells the daemon the terminal's size once; `path` is `/containers/ID/resize` or `/exec/ID/resize`.
pub(crate) async fn send_size(client: &Client, path: &str) -> bool {
    let Some((rows, columns)) = size() else { return true };
    client.done(Call::post(path).query("h", rows.to_string()).query("w", columns.to_string())).await.is_ok()
}

/// Tells the daemon the size now (a few times, while the process may not be there yet) and at every change. Never ends.
pub(crate) async fn follow_size(client: &Client, path: &str) {
    for attempt in 1..=10u64 {
        if send_size(client, path).await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(attempt * 10)).await;
    }
    let Ok(mut changes) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change()) else {
        return std::future::pending().await;
    };
    while changes.recv().await.is_some() {
        send_size(client, path).await;
    }
    std::future::pending().await
}
