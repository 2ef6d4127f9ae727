//! Why a build failed, told three ways: one line (`Display`), Docker's classic words (`docker_text`), and the first-class text with the place in the
//! Dockerfile (`render`). Errors are values that several builds may share, so that a step that fails for one fails for all that waited for it.

use std::sync::Arc;

use shipway_dockerfile::{Diagnostic, SourceText};
use shipway_model::{Classified, ErrorKind};

use crate::ports::ImageError;

/// Why a build failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile cannot be built as it stands; everything that could be found wrong without running anything is in here.
    #[error("{}", summary(diagnostics))]
    Dockerfile {
        /// The Dockerfile, for excerpts.
        text: Arc<SourceText>,
        /// Errors first to last by place; warnings may stand between them.
        diagnostics: Vec<Diagnostic>,
    },
    /// A base image could not be had.
    #[error("{error}")]
    Image {
        /// The Dockerfile, for excerpts.
        text: Arc<SourceText>,
        /// The findings at each FROM or COPY that names an image that could not be had.
        diagnostics: Vec<Diagnostic>,
        /// What the image source said about the first.
        error: ImageError,
    },
    /// The process of a RUN step ended with another code than 0.
    #[error("{0}")]
    Step(Box<StepFailure>),
    /// A step could not do its work (a file that is not there, a program that cannot be started).
    #[error("{}", diagnostic.message)]
    Operation {
        /// The Dockerfile, for excerpts.
        text: Arc<SourceText>,
        /// What the display calls the step.
        vertex: String,
        /// The finding at the instruction.
        diagnostic: Box<Diagnostic>,
        /// What kind of failure it is for the caller.
        kind: ErrorKind,
    },
    /// The context folder could not be read.
    #[error("cannot read the build context \"{path}\": {message}")]
    Context {
        /// The folder.
        path: String,
        /// Why.
        message: String,
    },
    /// The store refused or failed.
    #[error("{0}")]
    Store(Arc<shipway_store::Error>),
    /// The caller went away or stopped the build.
    #[error("context canceled")]
    Cancelled,
    /// `--squash`. In dockerd's words: there it belongs to the experimental mode, and BuildKit refuses it too.
    #[error("squash is only supported with experimental mode")]
    Squash,
    /// Something this version cannot do yet.
    #[error("{what} is not supported yet")]
    NotSupportedYet {
        /// What.
        what: String,
    },
    /// A mistake of ours.
    #[error("internal error: {what}")]
    Internal {
        /// What happened.
        what: String,
    },
}

/// A RUN step whose process failed.
#[derive(Debug, Clone)]
pub struct StepFailure {
    /// The Dockerfile, for excerpts.
    pub text: Arc<SourceText>,
    /// What the display calls the step: `[builder 3/4] RUN make`.
    pub vertex: String,
    /// Program and arguments, joined by blanks: `/bin/sh -c make`.
    pub command: String,
    /// The process' exit code.
    pub exit_code: i32,
    /// The kernel killed it for lack of memory.
    pub oom_killed: bool,
    /// The last lines it wrote, oldest first.
    pub last_log: Vec<String>,
    /// The finding at the instruction, with what the output tells about the cause.
    pub diagnostic: Diagnostic,
}

impl std::fmt::Display for StepFailure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.oom_killed {
            write!(out, "process \"{}\" did not complete successfully: cannot allocate memory", self.command)
        } else {
            write!(out, "process \"{}\" did not complete successfully: exit code: {}", self.command, self.exit_code)
        }
    }
}

/// One line for several findings: the first error, and how many more there are.
fn summary(diagnostics: &[Diagnostic]) -> String {
    let mut errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    let Some(first) = errors.next() else { return "the Dockerfile cannot be built".to_owned() };
    let text = format!("line {}: {}", first.span.start.line, first.message);
    match errors.count() {
        0 => text,
        more => format!("{text} (and {more} more)"),
    }
}

impl BuildError {
    /// What dockerd's classic builder says for the same failure: the text of its error object, and the exit code that goes with it.
    pub fn docker_text(&self) -> (String, Option<i32>) {
        match self {
            Self::Dockerfile { diagnostics, .. } => (docker_line(diagnostics).unwrap_or_else(|| self.to_string()), None),
            Self::Image { diagnostics, .. } => (docker_line(diagnostics).unwrap_or_else(|| self.to_string()), None),
            Self::Operation { diagnostic, .. } => (diagnostic.docker_text.clone().unwrap_or_else(|| self.to_string()), None),
            Self::Step(failure) => {
                (format!("The command '{}' returned a non-zero code: {}", failure.command, failure.exit_code), Some(failure.exit_code))
            }
            _ => (self.to_string(), None),
        }
    }

    /// The first-class text: place, excerpt, reason and hint of every finding. Several lines, ends with a line end.
    pub fn render(&self) -> String {
        match self {
            Self::Dockerfile { text, diagnostics } | Self::Image { text, diagnostics, .. } => {
                diagnostics.iter().filter(|d| d.is_error()).map(|d| d.render(text)).collect()
            }
            Self::Operation { text, diagnostic, .. } => diagnostic.render(text),
            Self::Step(failure) => failure.diagnostic.render(&failure.text),
            other => match other.hint() {
                Some(hint) => format!("error: {other}\n  hint: {hint}\n"),
                None => format!("error: {other}\n"),
            },
        }
    }

    /// The findings with a place in the Dockerfile.
    pub fn diagnostics(&self) -> Vec<&Diagnostic> {
        match self {
            Self::Dockerfile { diagnostics, .. } | Self::Image { diagnostics, .. } => diagnostics.iter().collect(),
            Self::Operation { diagnostic, .. } => vec![diagnostic],
            Self::Step(failure) => vec![&failure.diagnostic],
            _ => Vec::new(),
        }
    }

    /// The exit code of the failed process, where a process failed.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Step(failure) => Some(failure.exit_code),
            _ => None,
        }
    }

    /// True for failures known before anything ran: an HTTP server can still answer with a status of its own.
    pub fn is_static(&self) -> bool {
        matches!(self, Self::Dockerfile { .. })
    }

    /// A mistake of ours.
    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
    }
}

/// Docker's words for the first error that has some.
fn docker_line(diagnostics: &[Diagnostic]) -> Option<String> {
    diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).find_map(|diagnostic| diagnostic.docker_text.clone())
}

impl Classified for BuildError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Dockerfile { .. } | Self::Step(_) | Self::Context { .. } | Self::Squash => ErrorKind::Invalid,
            Self::Image { error, .. } => error.kind(),
            Self::Operation { kind, .. } => *kind,
            Self::Store(error) => error.kind(),
            Self::Cancelled => ErrorKind::Cancelled,
            Self::NotSupportedYet { .. } => ErrorKind::Unsupported,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Squash => {
                Some("leave --squash out; several stages and COPY --from keep an image small without losing the cache".to_owned())
            }
            other => other.diagnostics().iter().filter(|d| d.is_error()).find_map(|diagnostic| diagnostic.hint.clone()),
        }
    }
}

impl From<shipway_store::Error> for BuildError {
    fn from(error: shipway_store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<Arc<shipway_store::Error>> for BuildError {
    fn from(error: Arc<shipway_store::Error>) -> Self {
        Self::Store(error)
    }
}
