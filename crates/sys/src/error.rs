//! The one error of this crate: a system call that failed, told as a sentence.
//!
//! Upper floors add the noun ("cannot start container \"web\": ..."); here stands which call was made, with what, and what the kernel said.

use std::fmt;

use rustix::io::Errno;

/// A failed system call with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Name of the call and its arguments as a reader would write them, e.g. `openat2("etc/passwd" beneath "/data/layers/x")`.
    pub call: String,
    /// What the kernel answered.
    pub errno: Errno,
    /// What the kernel said in words beyond the number (the log of the new mount API), empty where it said nothing.
    pub detail: String,
}

impl Error {
    /// Tells `errno` as the answer to `call`.
    pub fn new(call: impl Into<String>, errno: Errno) -> Self {
        Self { call: call.into(), errno, detail: String::new() }
    }

    /// Adds what the kernel said in words.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Tells an I/O error of the standard library as the answer to `call`; an error without a number becomes `EIO`.
    pub fn from_io(call: impl Into<String>, error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Self::new(call, Errno::from_raw_os_error(number)),
            None => Self::new(call, Errno::IO).with_detail(error.to_string()),
        }
    }

    /// True when the thing asked for does not exist (`ENOENT`, `ENOTDIR`).
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno, Errno::NOENT | Errno::NOTDIR)
    }

    /// True when the disk, its inodes or its quota are used up.
    pub fn is_no_space(&self) -> bool {
        matches!(self.errno, Errno::NOSPC | Errno::DQUOT)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.call, describe(self.errno))?;
        if !self.detail.is_empty() {
            write!(out, " ({})", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The kernel's text for `errno` in lower case without the number, as strerror(3) has it.
fn describe(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    let end = text.rfind(" (os error").unwrap_or(text.len());
    let mut words = text[..end].to_owned();
    if let Some(first) = words.get_mut(0..1) {
        first.make_ascii_lowercase();
    }
    words
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::new(std::io::Error::from_raw_os_error(error.errno.raw_os_error()).kind(), error)
    }
}
