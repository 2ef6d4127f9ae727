//! Kernel settings under /proc/sys/net, of the calling thread's network namespace.
//!
//! What must stay true: only names made here from validated interface names are opened.

use rustix::fs::{Mode, OFlags};
use shipway_sys::Error;

/// Which setting of which interface ("all" and "default" included).
pub(crate) fn of_interface(v6: bool, interface: &str, setting: &str) -> String {
    format!("net/ipv{}/conf/{interface}/{setting}", if v6 { 6 } else { 4 })
}

/// Reads a number; `None` when this kernel has no such setting.
pub(crate) fn read(name: &str) -> Option<i64> {
    let bytes = shipway_sys::fd::read_host_file(&format!("/proc/sys/{name}"), 64).ok()?;
    String::from_utf8_lossy(&bytes).trim().parse().ok()
}

/// Writes a number; a setting that this kernel lacks is passed over.
pub(crate) fn write(name: &str, value: i64) -> Result<(), Error> {
    match write_text(name, &value.to_string()) {
        Err(error) if error.errno == rustix::io::Errno::NOENT => Ok(()),
        done => done,
    }
}

/// Writes what people asked for.
pub(crate) fn write_text(name: &str, text: &str) -> Result<(), Error> {
    let path = format!("/proc/sys/{name}");
    let file = rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::new(format!("open({path:?})"), errno))?;
    rustix::io::write(&file, text.as_bytes()).map(drop).map_err(|errno| Error::new(format!("write({path:?}, {text})"), errno))
}

/// Writes a number unless it stands there already: reading is allowed where writing may not be.
pub(crate) fn ensure(name: &str, value: i64) -> Result<(), Error> {
    if read(name) == Some(value) { Ok(()) } else { write(name, value) }
}
