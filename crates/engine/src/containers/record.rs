//! The record of a container: what was asked, what it was made from, and its state. One row in the database, one value in memory.

use serde::{Deserialize, Serialize};
use shipway_model::{ContainerId, ContainerName, ImageId, LayerId, Timestamp};

use super::spec::CreateSpec;
use crate::networks::EndpointRecord;

/// A recorded wish and its state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub id: ContainerId,
    pub name: ContainerName,
    pub created: Timestamp,
    /// The image it was made from.
    pub image: ImageId,
    /// The image's layers, bottom first: the lower directories of its root.
    pub layers: Vec<LayerId>,
    pub spec: CreateSpec,
    /// The mounts as worked out at creation, the outermost first.
    #[serde(default)]
    pub mounts: Vec<super::ContainerMount>,
    /// The process as worked out from the request and the image.
    pub process: ResolvedProcess,
    pub state: ContainerState,
    /// How often the restart policy started it again.
    pub restart_count: u32,
    /// A person asked it to stop: `unless-stopped` leaves it alone.
    pub stopped_by_hand: bool,
    /// What its health check has found, where it has one and was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<super::Health>,
    /// When it last started, kept after it exited.
    pub started_at: Option<Timestamp>,
    /// The networks it is in, that of its mode first. Empty when it shares another's stack.
    #[serde(default)]
    pub endpoints: Vec<EndpointRecord>,
}

/// The process that start runs: image and request merged at creation, so that a later tag move changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedProcess {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub stop_signal: Option<String>,
    pub hostname: String,
    pub labels: std::collections::BTreeMap<String, String>,
    pub exposed_ports: std::collections::BTreeSet<shipway_model::Port>,
    pub volumes: std::collections::BTreeSet<String>,
    /// The health check, request and image merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<shipway_model::Healthcheck>,
    /// The image's shell, for health checks; Docker's default when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

impl ContainerRecord {
    /// When its last process ended, where one has.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match self.state {
            ContainerState::Exited { finished, .. } | ContainerState::Restarting { finished, .. } => Some(finished),
            _ => None,
        }
    }
}

impl ResolvedProcess {
    /// The argument vector: entrypoint, then command.
    pub fn args(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.command).cloned().collect()
    }
}

/// The life of a container. Transitions are in `state.rs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Recorded, never started; or its last start failed before the program ran.
    Created {
        error: Option<StartFailure>,
    },
    Running {
        pid: i32,
        started: Timestamp,
    },
    Paused {
        pid: i32,
        started: Timestamp,
    },
    /// Waiting for the restart policy's back-off.
    Restarting {
        code: i32,
        finished: Timestamp,
    },
    Exited {
        code: i32,
        finished: Timestamp,
        oom_killed: bool,
        error: Option<String>,
    },
    /// Being removed; a crash here is finished at the next boot.
    Removing,
    /// Could not be removed entirely.
    Dead {
        reason: String,
    },
}

/// Why a start failed before the program ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// 125, 126 or 127, as the docker client maps it.
    pub code: i32,
    pub message: String,
}

impl ContainerState {
    /// Docker's word for this state.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::Restarting { .. } => "restarting",
            Self::Exited { .. } => "exited",
            Self::Removing => "removing",
            Self::Dead { .. } => "dead",
        }
    }

    /// The host's id of its first process while it has one.
    pub fn pid(&self) -> Option<i32> {
        match self {
            Self::Running { pid, .. } | Self::Paused { pid, .. } => Some(*pid),
            _ => None,
        }
    }

    /// True while a process exists (running or paused).
    pub fn is_alive(&self) -> bool {
        self.pid().is_some()
    }

    /// True while it has a process or will have one again by its restart policy: what `ps` shows without -a.
    pub fn is_going_on(&self) -> bool {
        self.is_alive() || matches!(self, Self::Restarting { .. })
    }

    /// The exit code, where the process has ended.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Exited { code, .. } | Self::Restarting { code, .. } => Some(*code),
            Self::Created { error: Some(failure) } => Some(failure.code),
            _ => None,
        }
    }
}

/// What list and inspect show of a container: a consistent copy taken under its lock.
#[derive(Debug, Clone)]
pub struct ContainerView {
    pub record: ContainerRecord,
    /// Bytes in the writable layer and bytes of the whole root, when asked for.
    pub size: Option<ContainerSize>,
    /// The name of the image as listed: the request's text while it still names this image, else the id.
    pub image_name: String,
    pub log_path: Option<std::path::PathBuf>,
    pub hosts_path: std::path::PathBuf,
    pub hostname_path: std::path::PathBuf,
    pub resolv_conf_path: std::path::PathBuf,
    pub exec_ids: Vec<shipway_model::ExecId>,
    pub finished_at: Option<Timestamp>,
}

/// Disk use of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerSize {
    pub writable: u64,
    pub root: u64,
}
