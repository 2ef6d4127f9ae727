//! What a build needs from others: someone who runs processes, someone who knows images, someone who downloads. The engine fulfils these traits; tests do
//! it with a few lines. A build hands down finished values and gets values back; no port knows what a Dockerfile is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use shipway_model::{Classified, Digest, ErrorKind, ImageConfig, ImageId, LayerId, Limits, Platform, Reference, Timestamp, Ulimit};
use shipway_store::Tree;
use tokio_util::sync::CancellationToken;

pub use crate::progress::LogStream;
use crate::request::{ExtraHost, RunNetwork};
use crate::solver::Flights;

/// Takes the output of a running step as it comes. Never blocks.
pub type LogSink = Arc<dyn Fn(LogStream, Bytes) + Send + Sync>;

/// The hands of a build, and the work it shares with other builds of this process. Clones are the same hands.
#[derive(Clone)]
pub struct Ports {
    /// Runs the process of a RUN step.
    pub executor: Arc<dyn Executor>,
    /// Finds base images.
    pub images: Arc<dyn ImageSource>,
    /// Downloads what ADD names by URL.
    pub fetcher: Arc<dyn Fetcher>,
    /// Work in progress of all builds that use these ports; equal work runs once.
    pub flights: Flights,
}

impl Ports {
    /// Joins the three hands; builds that shall share equal work must use clones of one value.
    pub fn new(executor: Arc<dyn Executor>, images: Arc<dyn ImageSource>, fetcher: Arc<dyn Fetcher>) -> Self {
        Self { executor, images, fetcher, flights: Flights::default() }
    }
}

/// Runs processes on a prepared snapshot.
pub trait Executor: Send + Sync {
    /// Mounts the snapshot, runs `step` to its end and unmounts. Output goes to `output` while it runs.
    ///
    /// When `cancel` fires the process is killed and the answer, within a second, is `ExecuteError::Cancelled`.
    ///
    /// # Errors
    /// Only what kept the process from running; an exit code other than 0 is an outcome.
    fn run<'a>(&'a self, step: RunStep, output: LogSink, cancel: CancellationToken) -> BoxFuture<'a, Result<RunOutcome, ExecuteError>>;
}

/// One process to run for a build.
#[derive(Clone)]
pub struct RunStep {
    /// The layers below, top first.
    pub lowers: Vec<PathBuf>,
    /// The folder that takes the changes.
    pub upper: PathBuf,
    /// The work folder overlayfs wants beside it.
    pub work: PathBuf,
    /// The layers below as a readable tree, for user names and the like.
    pub tree: Tree,
    /// Program and arguments.
    pub args: Vec<String>,
    /// The whole environment, built from scratch.
    pub env: Vec<String>,
    /// The folder to start in; exists.
    pub cwd: String,
    /// `name|uid[:group|gid]`, empty for root; names are looked up in the tree.
    pub user: String,
    /// The network.
    pub network: RunNetwork,
    /// Extra lines of /etc/hosts.
    pub extra_hosts: Vec<ExtraHost>,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// Process limits.
    pub ulimits: Vec<Ulimit>,
    /// Group limits.
    pub limits: Limits,
    /// Host name; the executor's default when absent.
    pub hostname: Option<String>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOutcome {
    /// 0-255; 128 + n for signal n.
    pub exit_code: i32,
    /// The kernel killed something of it for lack of memory.
    pub oom_killed: bool,
}

/// Why a process did not run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExecuteError {
    /// The program does not exist or cannot be executed.
    #[error("{message}")]
    NotStarted {
        /// What the launcher said.
        message: String,
        /// The exit code a shell would give: 127 not found, 126 not executable.
        exit_code: i32,
    },
    /// Something around the process failed: mounts, limits, the user's name.
    #[error("{message}")]
    Failed {
        /// What failed.
        message: String,
        /// What kind of failure it is for the caller.
        kind: ErrorKind,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Nobody wants the result any more.
    #[error("cancelled")]
    Cancelled,
}

impl Classified for ExecuteError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotStarted { .. } => ErrorKind::Invalid,
            Self::Failed { kind, .. } => *kind,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}

/// Knows images by name.
pub trait ImageSource: Send + Sync {
    /// Finds the image `reference` names for `platform`; fetches it where that is possible and (`pull`) asked for or needed.
    fn resolve<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a Platform,
        pull: bool,
    ) -> BoxFuture<'a, Result<ResolvedImage, ImageError>>;

    /// Whether `name`, as typed, is an image that is here. In memory, at once. Such a name is never taken for a mistyped stage.
    fn is_known(&self, name: &str) -> bool {
        let _ = name;
        false
    }

    /// Names of known images that resemble `name`, nearest first. In memory, at once.
    fn nearest(&self, name: &str) -> Vec<String>;
}

/// An image whose layers are here.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// Its id.
    pub id: ImageId,
    /// Its config.
    pub config: ImageConfig,
    /// Its layers, bottom first.
    pub layers: Vec<LayerId>,
    /// The digest of its manifest, where it has one.
    pub digest: Option<Digest>,
    /// The name it was found by, complete.
    pub reference: Reference,
}

/// Why an image could not be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImageError {
    /// Neither here nor where it was looked for.
    #[error("no image \"{reference}\" here")]
    NotFound {
        /// The name, familiar form.
        reference: String,
        /// Names of images that resemble it, nearest first.
        nearest: Vec<String>,
    },
    /// The registry did not give it.
    #[error("{}", not_pulled(reference, *is_here, unreached.as_deref()))]
    Pull {
        /// The name, familiar form.
        reference: String,
        /// One of that name is here, and a newer one was asked for.
        is_here: bool,
        /// The registry, where nobody there could be asked.
        unreached: Option<Box<str>>,
        /// Why the registry did not give it.
        cause: String,
        /// What kind of failure it is for the caller.
        kind: ErrorKind,
        /// What to do about it.
        hint: Option<Box<str>>,
    },
    /// It is here, but not for the platform asked for.
    #[error("image \"{reference}\" is here for {available}, not for {wanted}")]
    Platform {
        /// The name, familiar form.
        reference: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// Anything else.
    #[error("{message}")]
    Other {
        /// What failed.
        message: String,
        /// What kind of failure it is for the caller.
        kind: ErrorKind,
    },
}

fn not_pulled(reference: &str, is_here: bool, unreached: Option<&str>) -> String {
    match (is_here, unreached) {
        (false, None) => format!("image \"{reference}\" is not here, and could not be pulled"),
        (false, Some(registry)) => format!("image \"{reference}\" is not here, and the registry {registry} could not be reached"),
        (true, None) => format!("image \"{reference}\" is here, but could not be pulled anew"),
        (true, Some(registry)) => format!("image \"{reference}\" could not be pulled anew: the registry {registry} could not be reached"),
    }
}

impl Classified for ImageError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::Platform { .. } => ErrorKind::NotFound,
            Self::Other { kind, .. } | Self::Pull { kind, .. } => *kind,
        }
    }
}

/// Downloads files for ADD.
pub trait Fetcher: Send + Sync {
    /// Writes what `url` names to the new file `into`.
    ///
    /// # Errors
    /// `FetchError::TooLarge` beyond `limit` bytes; the partial file is the caller's to delete.
    fn fetch<'a>(&'a self, url: &'a str, into: &'a Path, limit: u64) -> BoxFuture<'a, Result<Fetched, FetchError>>;
}

/// A downloaded file.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// When it was last changed, by the server's word.
    pub last_modified: Option<Timestamp>,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// The file name of the `Content-Disposition` header, where there was one.
    pub file_name: Option<String>,
    /// The address as it may be shown: without user, password and query (S-406).
    pub shown: String,
}

/// Why a download failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// This engine cannot download (yet) what the URL names.
    #[error("{message}")]
    Unsupported {
        /// What is missing.
        message: String,
    },
    /// The file is larger than allowed.
    #[error("the file at \"{url}\" is larger than {limit} bytes")]
    TooLarge {
        /// Where it is, without its secrets.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The server said no, or could not be reached.
    #[error("cannot download \"{url}\": {message}")]
    Failed {
        /// Where it is, without its secrets.
        url: String,
        /// Why.
        message: String,
        /// What kind of failure it is for the caller.
        kind: ErrorKind,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl Classified for FetchError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::TooLarge { .. } => ErrorKind::Exhausted,
            Self::Failed { kind, .. } => *kind,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { hint, .. } => hint.clone(),
            Self::Unsupported { .. } | Self::TooLarge { .. } => None,
        }
    }
}

/// A fetcher for engines that cannot download: every URL answers "not supported yet".
pub struct NoFetcher;

impl Fetcher for NoFetcher {
    fn fetch<'a>(&'a self, _url: &'a str, _into: &'a Path, _limit: u64) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move { Err(FetchError::Unsupported { message: "downloading is not supported yet".to_owned() }) })
    }
}
