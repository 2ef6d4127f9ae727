//! What daemon, monitor, seat and init say to each other.
//!
//! Two kinds of lines exist. The *control line* (`control`) is a SOCK_SEQPACKET pair made at birth: orders with handles go down it, notes come up; the
//! monitor's lines to the first process and to the seat (`inner`) are of the same kind. The *service line* (`service`) is a byte stream that clients
//! open. Here stands what several of them speak of.

mod control;
mod inner;
mod service;

use serde::{Deserialize, Serialize};

pub(crate) use control::{ExecuteOrder, Launch, LogPart, MonitorPart, Note, Order, Streams};
pub(crate) use inner::{DevicePart, FilePart, Fill, FreshKind, FreshMount, InitPart, MountPart, MountWhat, Report, SeatOrder, SeatReport};
pub(crate) use service::{
    Answer, AttachWish, ExecuteRequest, LONGEST_FRAME, MonitorState, Request, VERSION, frame, json_frame, tag, take_frame,
};

use crate::clock::Instant;

/// Longest JSON text accepted anywhere.
pub(crate) const LONGEST: usize = 8 << 20;

/// How a program ended; also the text of the `exit` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) oom_killed: bool,
    pub(crate) at: Instant,
}

/// Why a program did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Which step.
    pub(crate) step: Step,
    /// What the kernel said, 0 when it was not asked.
    pub(crate) errno: i32,
    /// Call and words.
    pub(crate) text: String,
}

/// Steps of a launch, as coarse as a caller needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Clone,
    Join,
    World,
    Root,
    Mount,
    File,
    Device,
    Pivot,
    Sysctl,
    Terminal,
    Identity,
    WorkingDirectory,
    Seccomp,
    /// The program was not found.
    Lookup,
    Execute,
    Log,
    Protocol,
}

impl Failure {
    pub(crate) fn new(step: Step, error: shipway_sys::Error) -> Self {
        Self { step, errno: error.errno.raw_os_error(), text: error.to_string() }
    }

    pub(crate) fn said(step: Step, text: impl Into<String>) -> Self {
        Self { step, errno: 0, text: text.into() }
    }
}

/// The namespaces and standard mounts of a first process. Two equal worlds can stand in for each other, which is what the pool lives from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct World {
    /// `CLONE_NEW*` bits for the clone.
    pub(crate) fresh: u64,
    /// `CLONE_NEW*` bit of each namespace to join.
    pub(crate) joins: Vec<u64>,
    /// All devices, everything writable.
    pub(crate) privileged: bool,
    /// Hidden paths.
    pub(crate) masked: Vec<String>,
    /// Read-only paths.
    pub(crate) readonly: Vec<String>,
    /// The cgroup hierarchies to show, each a list of controllers; one empty list means version 2.
    pub(crate) cgroups: Vec<Vec<String>>,
    /// Make /dev/shm.
    pub(crate) own_ipc: bool,
    /// Make /dev/mqueue, which shows the IPC namespace that the container is in.
    #[serde(default)]
    pub(crate) queues: bool,
    /// Nothing beyond what was asked for: no kernel settings of a fresh network changed.
    pub(crate) bare: bool,
    /// The network and cgroup namespaces are the seat's, for this world and those that follow. A first process that finds the network used takes one of
    /// its own instead, so that no world differs from a fresh one.
    #[serde(default)]
    pub(crate) kept: bool,
}

/// A program and its identity, as the init and the seat need it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) make_cwd: bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) bounding: u64,
    pub(crate) permitted: u64,
    #[serde(default)]
    pub(crate) effective: u64,
    #[serde(default)]
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
    pub(crate) no_new_privileges: bool,
    /// Index of the seccomp program.
    pub(crate) seccomp: Option<usize>,
    /// (resource, soft, hard).
    pub(crate) rlimits: Vec<(u32, u64, u64)>,
    pub(crate) oom_score_adj: Option<i32>,
    /// The standard handles are one terminal.
    pub(crate) terminal: bool,
    #[serde(default = "default_umask")]
    pub(crate) umask: u32,
}

/// What files are not made with unless someone says otherwise.
pub(crate) fn default_umask() -> u32 {
    0o022
}

pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our messages have string keys only and no failing serializer")
}
