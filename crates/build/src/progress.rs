//! The one event log of a build. Both displays, the JSON stream and the history of builds are renderings of it.
//!
//! What must stay true: a vertex is announced before anything refers to it; every started vertex is completed exactly once; step numbers are those of the
//! `Plan`; the last event is `Finished`. Log bytes are passed on as the process wrote them, cut nowhere.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shipway_model::{BuildId, ContainerId, ImageId, Timestamp};

/// Takes the events of a build as they happen. Called from several tasks; must not block.
pub type ProgressSink = Arc<dyn Fn(ProgressEvent) + Send + Sync>;

/// Names a vertex within one build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VertexId(pub u32);

impl fmt::Display for VertexId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

/// Which of its outputs a process wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// One instruction of the stages being built, as the step-by-step display counts them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Counted from 1.
    pub number: usize,
    /// How many there are.
    pub total: usize,
    /// The instruction in one line: `RUN echo hi`.
    pub display: String,
    /// The stage it belongs to, counted from 0 in the file.
    pub stage: usize,
    /// The vertex that does its work; none for instructions that only change the config.
    pub vertex: Option<VertexId>,
}

/// Something happened in a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ProgressEvent {
    /// The build has a name from now on. Told by whoever keeps the log, before anything else.
    Begun {
        /// Under which the log is kept.
        build: BuildId,
    },
    /// The instructions that will be looked at, in file order. Stages nobody needs are not in it: dockerd's classic builder would run them.
    Plan {
        /// The steps.
        steps: Vec<PlannedStep>,
    },
    /// A vertex exists.
    Vertex {
        /// Its id in all later events.
        id: VertexId,
        /// What displays call it: `[builder 2/6] RUN make`.
        name: String,
        /// The vertices whose results it needs.
        inputs: Vec<VertexId>,
        /// The first line of the Dockerfile it stands for, counted from 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<u32>,
    },
    /// Its work, or the look for a known result, begins.
    Started {
        /// The vertex.
        id: VertexId,
        /// When.
        at: Timestamp,
    },
    /// Why its result was, or was not, known. Only told when asked for.
    Explained {
        /// The vertex.
        id: VertexId,
        /// In one line: `cached`, or `not cached: ` and what differs from the last time.
        why: String,
    },
    /// Its result is known from an earlier build.
    Cached {
        /// The vertex.
        id: VertexId,
    },
    /// It is done, one way or the other.
    Completed {
        /// The vertex.
        id: VertexId,
        /// When.
        at: Timestamp,
        /// The result came from the cache.
        cached: bool,
        /// Why it failed, in one line; `context canceled` when nobody wanted it any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A part of a vertex's work advances.
    Status {
        /// The vertex.
        id: VertexId,
        /// What it is, unique within the vertex: `transferring dockerfile:`.
        status: String,
        /// How much is done, in bytes or 0.
        current: u64,
        /// How much there is, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// When it began.
        started: Timestamp,
        /// When it was done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        completed: Option<Timestamp>,
    },
    /// A process wrote something.
    Log {
        /// The vertex.
        id: VertexId,
        /// Where it wrote to.
        stream: LogStream,
        /// What it wrote; base64 in JSON.
        #[serde(with = "base64_bytes")]
        bytes: Vec<u8>,
        /// When.
        at: Timestamp,
    },
    /// Something is worth changing in the Dockerfile or in the call.
    Warning {
        /// The vertex it belongs to, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<VertexId>,
        /// The check's name: `JSONArgsRecommended`.
        code: String,
        /// What is wrong.
        message: String,
        /// Why, and what to do; may be several lines.
        detail: String,
        /// The line of the Dockerfile, counted from 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<u32>,
    },
    /// A step starts a process of its own (the classic display names a container for it).
    StepRunning {
        /// The step's number in the plan.
        step: usize,
        /// A random id, as the intermediate container of a classic builder would have.
        container: ContainerId,
    },
    /// The config after this instruction is known.
    StepImage {
        /// The step's number in the plan.
        step: usize,
        /// The digest of that config.
        image: ImageId,
        /// The step took nothing but known results.
        cached: bool,
    },
    /// The build is over.
    Finished {
        /// When.
        at: Timestamp,
        /// The image, when it succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<ImageId>,
        /// Why not, in one line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

/// Bytes as base64 text.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        STANDARD.decode(text.as_bytes()).map_err(de::Error::custom)
    }
}
