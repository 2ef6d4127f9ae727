//! What can go wrong with archives, by what the caller can do about it.

use std::io;

use shipway_model::kind::{Classified, ErrorKind};

/// Everything this crate fails with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something on our side of the work.
    #[error(transparent)]
    Sys(#[from] shipway_sys::Error),
    /// The stream could not be read, or its compression is broken.
    #[error("cannot read the archive: {0}")]
    Read(#[source] io::Error),
    /// The output could not be written.
    #[error("cannot write the archive: {0}")]
    Write(#[source] io::Error),
    /// The bytes are not a tar that all readers would understand alike.
    #[error("malformed tar at byte {offset}: {problem}")]
    Malformed {
        /// Where the block with the problem starts in the uncompressed stream.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// A bound of `Limits` was reached.
    #[error("the archive exceeds the limit of {limit} {what}")]
    Limit {
        /// What is limited, in words with the unit.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// One entry asks for something that is never done.
    #[error("entry \"{path}\" is refused: {reason}")]
    Refused {
        /// The name in the archive.
        path: String,
        /// Why.
        reason: String,
    },
    /// A hard link to a file that is neither in the archive nor below it, as far as is known what is below.
    #[error("entry \"{path}\" is refused: its hard link target \"{target}\" is not there")]
    NoLinkTarget {
        /// The name in the archive.
        path: String,
        /// What it links to.
        target: String,
    },
    /// A folder stands where a file is to come, or the other way round, and the caller wants neither replaced.
    #[error("{problem}")]
    OtherKind {
        /// Docker's words.
        problem: String,
    },
    /// A pattern cannot be understood.
    #[error("syntax error in pattern \"{pattern}\"")]
    Pattern {
        /// The pattern as written.
        pattern: String,
    },
    /// Stored bytes of ours do not check out.
    #[error("{what} is corrupt: {problem}")]
    Corrupt {
        /// What was read.
        what: &'static str,
        /// What does not fit.
        problem: String,
    },
    /// A file changed while it was read.
    #[error("file \"{path}\" changed while it was read")]
    Changed {
        /// The file, inside its tree.
        path: String,
    },
    /// A layer cannot express this.
    #[error("\"{path}\" cannot be put into a layer: {reason}")]
    Unsupported {
        /// The file, inside its tree.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A path that was asked for is not there.
    #[error("\"{path}\" is not there")]
    NotFound {
        /// The path asked for.
        path: String,
    },
}

impl Error {
    pub(crate) fn refused(path: &[u8], reason: impl Into<String>) -> Error {
        Error::Refused { path: show(path), reason: reason.into() }
    }

    /// An error of reading; one of ours that travelled inside an `io::Error` comes out again.
    pub(crate) fn reading(error: io::Error) -> Error {
        if !error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
            return Error::Read(error);
        }
        match error.into_inner().map(|inner| inner.downcast::<Error>()) {
            Some(Ok(ours)) => *ours,
            Some(Err(other)) => Error::Read(io::Error::other(other)),
            None => Error::Read(io::Error::from(io::ErrorKind::Other)),
        }
    }

    /// Lets an error of ours travel through `Read` and `Write`.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Error::Read(inner) | Error::Write(inner) => inner,
            Error::Sys(inner) => inner.into(),
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Sys(error) if error.is_no_space() => ErrorKind::Exhausted,
            Error::Sys(error) if error.is_not_found() => ErrorKind::NotFound,
            Error::Sys(_) => ErrorKind::Internal,
            Error::Read(error) | Error::Write(error) if error.kind() == io::ErrorKind::StorageFull => ErrorKind::Exhausted,
            Error::Write(_) => ErrorKind::Internal,
            Error::Read(_) | Error::Malformed { .. } | Error::Limit { .. } | Error::Refused { .. } | Error::Pattern { .. } => {
                ErrorKind::Invalid
            }
            Error::Corrupt { .. } => ErrorKind::Corrupt,
            Error::Changed { .. } => ErrorKind::Conflict,
            Error::OtherKind { .. } | Error::NoLinkTarget { .. } => ErrorKind::Invalid,
            Error::Unsupported { .. } => ErrorKind::Unsupported,
            Error::NotFound { .. } => ErrorKind::NotFound,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Changed { .. } => Some("run it again when nothing writes to the folder".to_owned()),
            _ => None,
        }
    }
}

/// A path for people.
pub(crate) fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
