//! What a monitor leaves on disk for whoever comes later: `state` while it lives, `exit` when the program has ended.
//!
//! What must stay true: a file is complete or absent (written beside and renamed). The folder lies on a filesystem that a reboot empties, so nothing
//! is synced.

use std::path::Path;

use serde::Serialize;
use shipway_sys::Error;

/// Name of the exit file.
pub(crate) const EXIT: &str = "exit";
/// Name of the state file.
pub(crate) const STATE: &str = "state";
/// Name of the socket.
pub(crate) const SOCKET: &str = "monitor.sock";

/// Writes `value` as JSON to `folder/name`.
pub(super) fn write(folder: &Path, name: &str, value: &impl Serialize) -> Result<(), Error> {
    let draft = folder.join(format!("{name}.new"));
    let told = |error: std::io::Error| Error::from_io(format!("write({:?})", folder.join(name)), &error);
    std::fs::write(&draft, crate::message::to_json(value)).map_err(told)?;
    std::fs::rename(&draft, folder.join(name)).map_err(told)
}
