//! What went wrong for the caller, as a closed list. The outer floor maps it to a status in one switch.

/// The kind of an error: what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// You asked wrongly.
    Invalid,
    /// Who are you?
    Unauthenticated,
    /// You may not.
    Forbidden,
    /// No such thing.
    NotFound,
    /// State or name in the way.
    Conflict,
    /// Already so.
    Unchanged,
    /// Not by this kernel, driver or version.
    Unsupported,
    /// Try again later.
    Unavailable,
    /// Disk, ports, addresses or processes are used up.
    Exhausted,
    /// Stored bytes do not match their digest.
    Corrupt,
    /// The client left.
    Cancelled,
    /// Our mistake; the log has the rest.
    Internal,
}

/// An error that knows its kind and may carry advice.
pub trait Classified: std::error::Error {
    /// What the caller can do about it.
    fn kind(&self) -> ErrorKind;

    /// Advice, shown on a line of its own and never part of the message.
    fn hint(&self) -> Option<String> {
        None
    }
}
