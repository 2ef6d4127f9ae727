//! The monitor's own lines: to the first process on its way to the program, and to the seat.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Failure, Program, World};

/// The init's part; numbers named `handle` are indexes into the handles of the message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InitPart {
    pub(crate) root: usize,
    /// Attach the standard /proc, /dev and /sys before the mounts.
    pub(crate) standard_mounts: bool,
    pub(crate) mounts: Vec<MountPart>,
    pub(crate) files: Vec<FilePart>,
    pub(crate) devices: Vec<DevicePart>,
    /// Symlinks to make where nothing stands: place and text.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) masked: Vec<String>,
    pub(crate) readonly: Vec<String>,
    pub(crate) read_only_root: bool,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) shm_size: u64,
    pub(crate) reaper: bool,
    /// A listening socket: when all is done but the exec, wait for a client there, which is then told a failure.
    pub(crate) gate: Option<usize>,
    pub(crate) program: Program,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MountPart {
    pub(crate) target: String,
    pub(crate) what: MountWhat,
    pub(crate) is_folder: bool,
    /// What it takes from the folder at its place before it covers it.
    pub(crate) fill: Fill,
}

/// What a memory filesystem takes from the folder of the image that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fill {
    Nothing,
    /// Its permission bits, as runc does.
    Mode,
    /// Everything (podman's `tmpcopyup`).
    Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MountWhat {
    /// The detached mount of this handle.
    Handle(usize),
    /// A filesystem that shows the namespaces of whoever makes it, so that only the init can.
    Fresh(FreshMount),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FreshMount {
    pub(crate) kind: FreshKind,
    /// Bits of mount_setattr(2).
    pub(crate) attributes: u64,
    /// The filesystem's own options.
    pub(crate) options: Vec<(String, Option<String>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FreshKind {
    Proc,
    Sysfs,
    Queues,
    /// The world's own devpts.
    Terminals,
    /// The container's own groups in every hierarchy.
    Cgroups,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FilePart {
    pub(crate) target: String,
    pub(crate) content: Vec<u8>,
    pub(crate) read_only: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DevicePart {
    pub(crate) path: String,
    pub(crate) block: bool,
    pub(crate) number: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// From the init to the monitor, before it becomes the program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Waiting at the gate; handle 0 is the root of the world's devpts.
    AtGate,
    /// About to execute; the mount points made in the root.
    Created(Vec<String>),
    /// Everything is done; waiting at the last gate.
    Holding,
    /// Failed.
    Failed(Failure),
}

/// From the monitor to the seat.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SeatOrder {
    /// Handles: the init's end of its line, then those of `world.joins`.
    Raise(World),
    /// Handles: error line, 0, 1, 2, the seccomp program if any, a pidfd of the first process. `joins`: the namespaces to enter, once.
    Execute { program: Box<Program>, joins: u64 },
}

/// From the seat to the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SeatReport {
    Cloned { pid: i32 },
    Failed(Failure),
}
