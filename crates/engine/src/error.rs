//! The engine's errors: what went wrong for the caller, with the kind that the outer floor maps to a status.

use shipway_model::{Classified, ErrorKind};

/// Why a verb failed. The message is the user's; the log has the rest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Asked wrongly.
    #[error("{reason}")]
    Invalid { reason: String },
    /// Asked wrongly, and there is a better way to ask.
    #[error("{reason}")]
    InvalidWithHint { reason: String, hint: String },
    #[error("No such container: {name}")]
    NoSuchContainer { name: String, hint: Option<String> },
    #[error("No such image: {name}")]
    NoSuchImage { name: String, nearest: Vec<String> },
    #[error("No such exec instance: {name}")]
    NoSuchExec { name: String },
    /// Any other thing that does not exist (a build, a network, a volume).
    #[error("{noun} {name} not found")]
    NotFound { noun: &'static str, name: String },
    /// A path of a container.
    #[error("Could not find the file {path} in container {container}")]
    NoSuchPath { path: String, container: String },
    /// Where it would be written, nothing can be.
    #[error("{reason}")]
    ReadOnly { reason: String },
    /// As `NotFound`, in the words that clients match.
    #[error("{reason}")]
    NotFoundInWords { reason: String, hint: Option<String> },
    #[error("configuration network \"{name}\" does not exist")]
    NoSuchConfiguration { name: String },
    /// Nobody may, in this state of things.
    #[error("{reason}")]
    Forbidden { reason: String, hint: Option<String> },
    /// The network hand refused.
    #[error(transparent)]
    Network(Box<shipway_network::Error>),
    /// The network hand refused an endpoint; Docker's words around its own.
    #[error("driver failed programming external connectivity on endpoint {name} ({endpoint}): {source}")]
    Endpoint { name: String, endpoint: String, source: Box<shipway_network::Error> },
    /// A prefix of an id that several things share.
    #[error("Multiple IDs found with provided prefix: {prefix}")]
    AmbiguousPrefix { prefix: String },
    /// Name or state in the way.
    #[error("{reason}")]
    Conflict { reason: String, hint: Option<String> },
    /// Already so.
    #[error("{reason}")]
    Unchanged { reason: String },
    /// Not by this version: the words say what and since when it is planned.
    #[error("{what} is not supported yet")]
    NotSupportedYet { what: String },
    /// Its log driver keeps nothing.
    #[error("configured logging driver does not support reading")]
    LogsNotKept { hint: String },
    /// The process could not be started. `code` is 125, 126 or 127.
    #[error("{message}")]
    StartFailed { code: i32, message: String, hint: Option<String> },
    /// A build failed; the first-class text and Docker's text both travel.
    #[error(transparent)]
    Build(Box<shipway_build::BuildError>),
    #[error(transparent)]
    Store(#[from] shipway_store::Error),
    #[error(transparent)]
    State(#[from] shipway_state::Error),
    #[error("{doing}: {source}")]
    Runtime { doing: String, source: shipway_runtime::LaunchError },
    #[error("{doing}: {source}")]
    Sys { doing: String, source: shipway_sys::Error },
    #[error("{doing}: {source}")]
    Io { doing: String, source: std::io::Error },
    #[error("the client went away")]
    Cancelled,
    /// A registry, or the way to one (then it is `unreached`), failed; in Docker's words.
    #[error("{reason}")]
    Remote { reason: String, kind: ErrorKind, hint: Option<String>, unreached: bool },
    /// What dockerd answers with status 500 although nothing is broken, in its words.
    #[error("{reason}")]
    Refused { reason: String },
    /// Our own mistake.
    #[error("internal error: {what}")]
    Internal { what: String },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } | Self::InvalidWithHint { .. } => ErrorKind::Invalid,
            Self::NoSuchContainer { .. }
            | Self::NoSuchImage { .. }
            | Self::NoSuchExec { .. }
            | Self::NoSuchPath { .. }
            | Self::NotFound { .. }
            | Self::NotFoundInWords { .. } => ErrorKind::NotFound,
            Self::NoSuchConfiguration { .. } => ErrorKind::NotFound,
            Self::ReadOnly { .. } | Self::Forbidden { .. } => ErrorKind::Forbidden,
            Self::Network(source) | Self::Endpoint { source, .. } => source.kind(),
            Self::AmbiguousPrefix { .. } => ErrorKind::Invalid,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Unchanged { .. } => ErrorKind::Unchanged,
            Self::NotSupportedYet { .. } | Self::LogsNotKept { .. } => ErrorKind::Unsupported,
            // dockerd answers 400 for a program that cannot be started and clients look at the text.
            Self::StartFailed { .. } => ErrorKind::Invalid,
            Self::Build(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::State(error) => error.kind(),
            Self::Runtime { source, .. } => source.kind(),
            Self::Sys { source, .. } if source.is_no_space() => ErrorKind::Exhausted,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => ErrorKind::Exhausted,
            Self::Sys { .. } | Self::Io { .. } | Self::Refused { .. } | Self::Internal { .. } => ErrorKind::Internal,
            Self::Remote { kind, .. } => *kind,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::InvalidWithHint { hint, .. } | Self::LogsNotKept { hint } => Some(hint.clone()),
            Self::NotFoundInWords { hint, .. }
            | Self::Remote { hint, .. }
            | Self::NoSuchContainer { hint, .. }
            | Self::Conflict { hint, .. }
            | Self::Forbidden { hint, .. }
            | Self::StartFailed { hint, .. } => hint.clone(),
            Self::Network(source) | Self::Endpoint { source, .. } => source.hint(),
            Self::NoSuchImage { nearest, .. } => nearest.first().map(|name| format!("did you mean {name}?")),
            Self::Build(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

impl From<shipway_network::Error> for Error {
    fn from(error: shipway_network::Error) -> Self {
        Self::Network(Box::new(error))
    }
}

impl From<shipway_build::BuildError> for Error {
    fn from(error: shipway_build::BuildError) -> Self {
        Self::Build(Box::new(error))
    }
}

impl Error {
    /// A request that contradicts itself or breaks a rule.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }

    /// No network is called so; in the words that clients match.
    pub(crate) fn no_such_network(name: &str, hint: Option<String>) -> Self {
        Self::NotFoundInWords { reason: format!("network {name} not found"), hint }
    }

    /// Nobody drives things so; in the words that clients match.
    pub(crate) fn no_such_plugin(name: &str, hint: &str) -> Self {
        Self::NotFoundInWords { reason: format!("plugin \"{name}\" not found"), hint: Some(hint.to_owned()) }
    }

    /// A mistake of ours.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
    }

    /// Wraps an I/O failure with what was being done.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// Wraps a kernel refusal with what was being done.
    pub fn sys(doing: impl Into<String>) -> impl FnOnce(shipway_sys::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Sys { doing, source }
    }
}
