//! Why a command of the OCI face was refused.
//!
//! What must stay true: phrases that callers of runc match stand here and nowhere else: "does not exist", "is not running", "not stopped".

use std::path::{Path, PathBuf};

use shipway_model::{Classified, ErrorKind};

use crate::error::LaunchError;

/// A refusal.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The command line makes no sense.
    #[error("{text}")]
    Usage { text: String },
    /// An id with characters that could mean a path.
    #[error("invalid container id format: \"{id}\"")]
    BadId { id: String },
    #[error("container with given ID already exists: \"{id}\"")]
    Exists { id: String },
    #[error("container does not exist: \"{id}\"")]
    NotFound { id: String },
    /// The state does not allow it: "cannot start a container that is not created".
    #[error("cannot {verb} container \"{id}\" that is not {wanted}: it is {status}")]
    WrongState { verb: &'static str, id: String, wanted: &'static str, status: &'static str },
    #[error("container not running")]
    NotRunning,
    /// The state does not allow it, in runc's words.
    #[error("{text}")]
    Refused { text: String },
    /// config.json or another document is not what it should be.
    #[error("{path:?}: {text}")]
    Document { path: PathBuf, text: String },
    #[error("{what} is not supported yet")]
    Unsupported { what: String },
    #[error("{call}({path:?}): {text}")]
    File { call: &'static str, path: PathBuf, text: String },
    #[error("{kind} hook {path:?}: {text}")]
    Hook { kind: &'static str, path: PathBuf, text: String },
    #[error("cgroup \"{path}\" already has processes in it")]
    CgroupInUse { path: String },
    #[error("unable to start container process: {0}")]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Sys(#[from] shipway_sys::Error),
}

impl Error {
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::Usage { text: text.into() }
    }

    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self::Refused { text: text.into() }
    }

    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    pub(super) fn file(call: &'static str, path: &Path, error: &std::io::Error) -> Self {
        Self::File {
            call,
            path: path.to_owned(),
            text: shipway_sys::Error::from_io("", error).to_string().trim_start_matches(": ").to_owned(),
        }
    }

    pub(super) fn document(path: &Path, text: impl Into<String>) -> Self {
        Self::Document { path: path.to_owned(), text: text.into() }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage { .. } | Self::BadId { .. } | Self::Document { .. } => ErrorKind::Invalid,
            Self::Exists { .. } | Self::WrongState { .. } | Self::NotRunning | Self::Refused { .. } | Self::CgroupInUse { .. } => {
                ErrorKind::Conflict
            }
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Launch(error) => error.kind(),
            Self::File { .. } | Self::Hook { .. } | Self::Sys(_) => ErrorKind::Internal,
        }
    }
}
