//! What can go wrong in the store, told by what the caller can do about it.

use std::path::PathBuf;

use shipway_model::{Classified, ErrorKind};

/// A failed operation of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The thing asked for is not here.
    #[error("no such {noun}: {name}")]
    NotFound {
        /// What kind of thing.
        noun: &'static str,
        /// The name as asked for.
        name: String,
    },
    /// A name is taken, or a thing is in use.
    #[error("{noun} \"{name}\" {reason}")]
    Conflict {
        /// What kind of thing.
        noun: &'static str,
        /// Its name.
        name: String,
        /// What stands in the way.
        reason: String,
    },
    /// What was handed in is not valid.
    #[error("{what} is not valid: {reason}")]
    Invalid {
        /// What was handed in.
        what: String,
        /// Why it cannot be taken.
        reason: String,
    },
    /// An archive has only what another image lacks, and that one is not here.
    #[error("the archive has only what image \"{base}\" lacks, and layer {layer} of that image is not here")]
    MissingBase {
        /// What the archive calls the image.
        base: String,
        /// Its id.
        id: String,
        /// The first layer that is missing.
        layer: String,
    },
    /// An archive has images for other platforms only.
    #[error("the archive has no image for {wanted}")]
    NoPlatform {
        /// What was asked for.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// A layer with links into the layers below it is here, unpacked on others.
    #[error("layer {layer} has links to files of the layers below it, and is here already on top of other layers")]
    OtherBelow {
        /// Its diff id.
        layer: String,
    },
    /// An option of a volume that its driver cannot take, in dockerd's words.
    #[error("{reason}")]
    Option {
        /// The words.
        reason: String,
    },
    /// What a volume's options say cannot be mounted, in dockerd's words.
    #[error("{text}")]
    Mount {
        /// The words.
        text: String,
        /// What the kernel said beyond them.
        detail: String,
    },
    /// Another process owns this data root.
    #[error("the data root \"{}\" is in use by process {pid}{}", root.display(), about(text))]
    Locked {
        /// The data root.
        root: PathBuf,
        /// Process that holds the lock, 0 when it did not say.
        pid: u32,
        /// What that process wrote about itself.
        text: String,
    },
    /// Stored or received bytes are not what they claim to be.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// Which thing.
        what: String,
        /// What was expected and found.
        reason: String,
    },
    /// The disk, its inodes or its quota are used up; nothing of the operation is kept.
    #[error("no space left on the disk of the data root{}", needs(*needed))]
    NoSpace {
        /// Bytes the operation needed, where known.
        needed: Option<u64>,
    },
    /// The disk failed while making something durable; the store only reads from now on.
    #[error("the store is read-only since the disk failed: {cause}")]
    Degraded {
        /// The first failure.
        cause: String,
    },
    /// Understood, but not done by this version.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What was asked.
        what: String,
    },
    /// A system call failed.
    #[error("{doing}: {source}")]
    Sys {
        /// What was being done.
        doing: String,
        /// The call.
        source: shipway_sys::Error,
    },
    /// Reading or writing an archive failed.
    #[error(transparent)]
    Archive(#[from] shipway_archive::Error),
    /// The database failed.
    #[error(transparent)]
    State(shipway_state::Error),
}

impl Error {
    pub(crate) fn not_found(noun: &'static str, name: impl ToString) -> Self {
        Self::NotFound { noun, name: name.to_string() }
    }

    pub(crate) fn corrupt(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.into() }
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Invalid { what: what.into(), reason: reason.to_string() }
    }

    /// Tells an error of the standard library that happened while `doing` something.
    pub(crate) fn io(doing: impl Into<String>, error: &std::io::Error) -> Self {
        let doing = doing.into();
        // An adapter may have carried one of our own system errors through `io::Error`; that one says more.
        match error.get_ref().and_then(|inner| inner.downcast_ref::<shipway_sys::Error>()) {
            Some(inner) => Self::sys(doing, inner.clone()),
            None => Self::sys(doing.clone(), shipway_sys::Error::from_io(doing, error)),
        }
    }

    pub(crate) fn sys(doing: impl Into<String>, source: shipway_sys::Error) -> Self {
        if source.is_no_space() { Self::NoSpace { needed: None } } else { Self::Sys { doing: doing.into(), source } }
    }
}

/// Adds what was being done to a failed system call.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, shipway_sys::Error> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::sys(what(), source))
    }
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::io(what(), &error))
    }
}

impl<T> Doing<T> for rustix::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|errno| {
            let what = what();
            Error::sys(what.clone(), shipway_sys::Error::new(what, errno))
        })
    }
}

impl From<shipway_state::Error> for Error {
    fn from(error: shipway_state::Error) -> Self {
        match error {
            shipway_state::Error::NoSpace => Self::NoSpace { needed: None },
            shipway_state::Error::Degraded { cause } => Self::Degraded { cause },
            other => Self::State(other),
        }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::MissingBase { .. } | Self::NoPlatform { .. } => ErrorKind::NotFound,
            Self::Conflict { .. } | Self::OtherBelow { .. } => ErrorKind::Conflict,
            Self::Invalid { .. } | Self::Option { .. } | Self::Mount { .. } => ErrorKind::Invalid,
            Self::Locked { .. } | Self::Degraded { .. } => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::NoSpace { .. } => ErrorKind::Exhausted,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Sys { .. } => ErrorKind::Internal,
            Self::Archive(error) => error.kind(),
            Self::State(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingBase { base, id, .. } => Some(format!(
                "bring the image with the id {id} here first (`shipway pull {base}`, or load an archive of it), then load this again"
            )),
            Self::NoPlatform { available, .. } => Some(format!("there are images for {}", available.join(", "))),
            Self::OtherBelow { .. } => {
                Some("remove the other image that has it (`shipway image rm`, then `shipway image prune`), and pull again".to_owned())
            }
            Self::NoSpace { .. } => Some("free space with `shipway system prune`; removing works on a full disk".to_owned()),
            Self::Corrupt { what, .. } if what.starts_with("the database") => {
                Some("put a copy of the database back, or use another --data-root; nothing was changed".to_owned())
            }
            Self::Corrupt { .. } => {
                Some("`shipway system fsck --strict` looks at everything, `--repair` removes what cannot be saved".to_owned())
            }
            Self::Mount { detail, .. } if !detail.is_empty() => Some(format!("the kernel says: {detail}")),
            Self::Locked { .. } => Some("stop that process or use another --data-root".to_owned()),
            Self::Degraded { .. } => Some("check the disk, then restart the daemon".to_owned()),
            Self::Archive(error) => error.hint(),
            Self::State(error) => error.hint(),
            _ => None,
        }
    }
}

fn about(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

fn needs(bytes: Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes are needed"))
}
