//! What can go wrong with the database, told by what the caller can do about it.

use std::path::PathBuf;
use std::sync::Arc;

use shipway_model::{Classified, ErrorKind};

/// A failed operation of the database. Cheap to clone: one failed commit answers every writer of its group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The file could not be opened or set up.
    #[error("cannot open the database \"{}\": {source}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: Arc<rusqlite::Error>,
    },
    /// The file was written by a newer version; nothing in it was changed.
    #[error("the database \"{}\" has format {found}, this version knows formats up to {known}", path.display())]
    NewerVersion {
        /// The database file.
        path: PathBuf,
        /// Format found in the file.
        found: u32,
        /// Newest format this program knows.
        known: u32,
    },
    /// SQLite found the file damaged.
    #[error("the database is damaged: {what}")]
    Corrupt {
        /// What was found.
        what: String,
    },
    /// A row could not be read as the type its table promises.
    #[error("record \"{key}\" of table \"{table}\" cannot be read: {reason}")]
    Unreadable {
        /// Table of the row.
        table: &'static str,
        /// Key of the row as text.
        key: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// A value cannot be written as a row.
    #[error("record \"{key}\" of table \"{table}\" cannot be written: {reason}")]
    Unwritable {
        /// Table of the row.
        table: &'static str,
        /// Key of the row as text.
        key: String,
        /// Why it cannot be written.
        reason: String,
    },
    /// No space is left for the write; nothing of it happened.
    #[error("no space left to write the database")]
    NoSpace,
    /// An earlier commit met an I/O error, so nothing is written any more; reads go on.
    #[error("the database is read-only since a write failed: {cause}")]
    Degraded {
        /// The first failure.
        cause: String,
    },
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
    /// A write was started from inside a write, which would wait for itself for ever.
    #[error("a write was started inside another write")]
    Nested,
    /// Any other answer of SQLite.
    #[error("database: {source}")]
    Sql {
        /// What SQLite said.
        source: Arc<rusqlite::Error>,
    },
    /// A system call beside the database file failed.
    #[error(transparent)]
    Sys(#[from] shipway_sys::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { .. } => ErrorKind::Unavailable,
            Self::NewerVersion { .. } => ErrorKind::Unsupported,
            Self::Corrupt { .. } | Self::Unreadable { .. } => ErrorKind::Corrupt,
            Self::NoSpace => ErrorKind::Exhausted,
            Self::Degraded { .. } | Self::Closed => ErrorKind::Unavailable,
            Self::Sys(error) if error.is_no_space() => ErrorKind::Exhausted,
            Self::Unwritable { .. } | Self::Nested | Self::Sql { .. } | Self::Sys(_) => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NewerVersion { .. } => Some("start the newer version again, or use another data root".to_owned()),
            Self::NoSpace => Some("free space with `shipway system prune`; removing works on a full disk".to_owned()),
            Self::Degraded { .. } => Some("check the disk, then restart the daemon".to_owned()),
            _ => None,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ffi::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::NoSpace,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { what: error.to_string() },
            _ => Self::Sql { source: Arc::new(error) },
        }
    }
}

impl Error {
    /// True when the disk itself failed, so that what it says it has written can no longer be believed.
    pub(crate) fn is_disk_failure(&self) -> bool {
        use rusqlite::ffi;
        let Self::Sql { source } = self else { return false };
        let rusqlite::Error::SqliteFailure(failure, _) = source.as_ref() else { return false };
        // Other I/O errors (no memory, no room to map the index of the log) say nothing about bytes already written.
        let lost_writes = [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC, ffi::SQLITE_IOERR_TRUNCATE];
        lost_writes.contains(&failure.extended_code)
    }
}
