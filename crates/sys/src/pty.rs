//! Pseudo-terminals of one given devpts instance.
//!
//! What must stay true: both ends are reached by handle (S-108): the master through the instance's own `ptmx`, the slave through the master.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;

use crate::Error;
use crate::process::last_error;

/// A new terminal: the controlling end and the end for the program.
#[derive(Debug)]
pub struct Terminal {
    /// The end we read and write.
    pub master: OwnedFd,
    /// The end the program gets as 0, 1 and 2.
    pub slave: OwnedFd,
}

/// Opens a terminal in the devpts instance whose root folder is behind `devpts`.
///
/// # Source
/// pts(4); ioctl_tty(2), TIOCGPTPEER (kernel 4.13).
pub fn open_in(devpts: BorrowedFd<'_>) -> Result<Terminal, Error> {
    let master = rustix::fs::openat(devpts, "ptmx", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
        .map_err(|errno| Error::new("open(ptmx)", errno))?;
    rustix::pty::unlockpt(&master).map_err(|errno| Error::new("ioctl(TIOCSPTLCK)", errno))?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .map_err(|errno| Error::new("ioctl(TIOCGPTPEER)", errno))?;
    Ok(Terminal { master, slave })
}

/// Tells the terminal its size in characters; programs in it get SIGWINCH.
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<(), Error> {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).map_err(|errno| Error::new(format!("ioctl(TIOCSWINSZ, {rows}x{columns})"), errno))
}

/// Makes the terminal behind `slave` the controlling one of this session.
pub fn take_control(slave: BorrowedFd<'_>) -> Result<(), Error> {
    // SAFETY: TIOCSCTTY takes an integer argument; 0 asks not to steal the terminal from another session.
    let answer = unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) };
    if answer == 0 { Ok(()) } else { Err(last_error("ioctl(TIOCSCTTY)")) }
}
