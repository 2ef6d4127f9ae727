//! What a step does, each kind in its own file, and the values they share: the tree a step builds on, what it makes, why it fails.
//!
//! Failures carry no place in a Dockerfile: the same work may serve builds of several Dockerfiles. The solver adds the place.

pub(crate) mod add;
pub(crate) mod changes;
pub(crate) mod chmod;
pub(crate) mod copy;
pub(crate) mod files;
pub(crate) mod former;
pub(crate) mod layer;
pub(crate) mod missing;
pub(crate) mod owner;
pub(crate) mod run;
pub(crate) mod select;
pub(crate) mod selection;
pub(crate) mod workdir;
pub(crate) mod writer;

use std::sync::Arc;

use shipway_model::{Classified, ErrorKind, LayerId};
use shipway_store::{Lease, Store};

use crate::key::ContentKey;

/// A tree: layers, bottom first, and what is in them.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    pub(crate) layers: Arc<[LayerId]>,
    pub(crate) content: ContentKey,
}

impl Stack {
    /// The tree with nothing in it.
    pub(crate) fn empty() -> Self {
        Self { layers: Arc::from([]), content: ContentKey::empty() }
    }

    /// The tree of these layers.
    ///
    /// # Errors
    /// A layer that is not in the store.
    pub(crate) fn of(store: &Store, layers: &[LayerId]) -> Result<Self, OpFailure> {
        let mut content = ContentKey::empty();
        for id in layers {
            let layer = store.layer(id).ok_or_else(|| OpFailure::internal(format!("layer {id} is not in the store")))?;
            content = content.with_layer(&layer.tree_digest);
        }
        Ok(Self { layers: layers.into(), content })
    }

    /// This tree with one more layer.
    pub(crate) fn with(&self, made: &Made) -> Self {
        let layers = self.layers.iter().copied().chain([made.layer]).collect();
        Self { layers, content: self.content.with_layer(&made.tree_digest) }
    }
}

/// The result of a step: a layer, kept alive as long as this value.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) layer: LayerId,
    pub(crate) tree_digest: [u8; 32],
    /// Keeps the layer from the collector until everybody who waits has it in a lease of their own. Only ever dropped.
    pub(crate) _lease: Lease,
}

/// Why a step failed.
#[derive(Debug, Clone)]
pub(crate) enum OpFailure {
    /// The process ended with another code than 0.
    Process { command: String, exit_code: i32, oom_killed: bool, last_log: Vec<String>, cause: Cause },
    /// Something the Dockerfile asks for cannot be done.
    Finding(Box<OpFinding>),
    /// The store failed.
    Store(Arc<shipway_store::Error>),
    /// Nobody wants the result.
    Cancelled,
    /// A mistake of ours.
    Internal { what: String },
}

/// What is known about why a process failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cause {
    /// The first line of its output that speaks of an error.
    pub(crate) first_error: Option<String>,
    /// A program the image does not have.
    pub(crate) program: Option<MissingProgram>,
}

/// A program the image does not have, and the nearest one it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissingProgram {
    pub(crate) name: String,
    pub(crate) near: Option<String>,
}

/// A finding without its place.
#[derive(Debug, Clone)]
pub(crate) struct OpFinding {
    /// Stable name of the finding: `E-COPY-NOTFOUND`.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) reason: Option<String>,
    pub(crate) hint: Option<String>,
    pub(crate) docker_text: Option<String>,
    pub(crate) kind: ErrorKind,
    /// The word of the instruction that it is about.
    pub(crate) about: Option<String>,
}

impl OpFinding {
    pub(crate) fn new(code: &'static str, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), reason: None, hint: None, docker_text: None, kind, about: None }
    }

    pub(crate) fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn about(mut self, word: impl Into<String>) -> Self {
        self.about = Some(word.into());
        self
    }

    pub(crate) fn docker(mut self, text: impl Into<String>) -> Self {
        self.docker_text = Some(text.into());
        self
    }
}

impl OpFailure {
    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
    }

    /// A finding with nothing but a message.
    pub(crate) fn finding(code: &'static str, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Finding(Box::new(OpFinding::new(code, kind, message)))
    }

    /// A call of the kernel that failed while the step was `doing` something.
    pub(crate) fn sys(doing: impl std::fmt::Display) -> impl FnOnce(shipway_sys::Error) -> Self {
        move |error| {
            let kind = if error.is_no_space() { ErrorKind::Exhausted } else { ErrorKind::Internal };
            Self::finding("E-STEP-IO", kind, format!("{doing}: {error}"))
        }
    }

    /// A failed read or write of the standard library while the step was `doing` something.
    pub(crate) fn io(doing: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| {
            let kind = if error.kind() == std::io::ErrorKind::StorageFull { ErrorKind::Exhausted } else { ErrorKind::Internal };
            Self::finding("E-STEP-IO", kind, format!("{doing}: {error}"))
        }
    }

    /// One line for displays.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Process { command, exit_code, .. } => {
                format!("process \"{command}\" did not complete successfully: exit code: {exit_code}")
            }
            Self::Finding(finding) => finding.message.clone(),
            Self::Store(error) => error.to_string(),
            Self::Cancelled => "context canceled".to_owned(),
            Self::Internal { what } => format!("internal error: {what}"),
        }
    }
}

impl From<OpFinding> for OpFailure {
    fn from(finding: OpFinding) -> Self {
        Self::Finding(Box::new(finding))
    }
}

impl From<shipway_store::Error> for OpFailure {
    fn from(error: shipway_store::Error) -> Self {
        match error.kind() {
            ErrorKind::Cancelled => Self::Cancelled,
            _ => Self::Store(Arc::new(error)),
        }
    }
}
