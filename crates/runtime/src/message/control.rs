//! The control line: what the daemon orders a monitor to do, and what the monitor notes about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AttachWish, Ended, Failure, InitPart, Program, World};
use crate::clock::Instant;

/// Down the control line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Take a seat; handle 0 is the cgroup to be born into (version 2), if any.
    Seat,
    /// Clone the first process into this world. Handles: the namespaces of `world.joins`, in order.
    Raise(World),
    /// Launch. Handles: those of the init part, then the monitor's own.
    Launch(Box<Launch>),
    /// Run one program in a container that has no monitor of its own, then leave (the OCI command line).
    Execute(Box<ExecuteOrder>),
    /// Send a signal to the first process.
    Signal(i32),
}

/// Up the control line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Note {
    /// The seat is taken by this process.
    Seated { pid: i32 },
    /// The first process waits at its gate.
    Raised { pid: i32 },
    /// The program runs. `created` are the mount points that had to be made in the root.
    Started { at: Instant, created: Vec<String> },
    /// The program ordered by `Order::Execute` runs.
    Executed { pid: i32 },
    /// It does not.
    Failed(Failure),
    /// The program has ended.
    Ended(Ended),
    /// An ephemeral monitor has raised a new first process and can be used again.
    Ready { pid: i32 },
}

/// A launch: the monitor's part and the init's.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) monitor: MonitorPart,
    pub(crate) init: InitPart,
    /// How many of the handles are the init's; the rest are the monitor's.
    pub(crate) init_handles: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MonitorPart {
    pub(crate) id: String,
    /// Name of its cgroup, for whoever adopts it.
    pub(crate) group: String,
    /// `None` for an ephemeral one: no socket, no files, dies with the control line, can be used again.
    pub(crate) state_dir: Option<String>,
    pub(crate) log: Option<LogPart>,
    pub(crate) terminal: Option<(u16, u16)>,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    /// Index of a service line that attaches at once, with its wishes.
    pub(crate) attach: Option<(usize, AttachWish)>,
    /// Index of the file that counts kills for memory.
    pub(crate) oom_counter: Option<usize>,
    /// Index (among the init's) of the seccomp program, kept for later programs.
    pub(crate) seccomp: Option<usize>,
    /// Ephemeral only: raise a new first process into this world afterwards.
    pub(crate) again: Option<World>,
    /// Leave as soon as the first process holds at its last gate, and let it live on without us.
    pub(crate) hold: Option<Streams>,
}

/// Where the standard handles of a program without a monitor come from; numbers are indexes into the monitor's own handles.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Streams {
    /// These three.
    Given([usize; 3]),
    /// A terminal of this size (0, 0 for "not known") whose controlling end is sent to this socket, as runc's --console-socket expects it.
    Console { socket: usize, size: (u16, u16) },
}

/// A program for a container without a monitor. Handles: pidfd of its first process, then those of `streams`, `devpts` and the program's filter.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecuteOrder {
    pub(crate) program: Program,
    pub(crate) streams: Streams,
    /// Root of the container's devpts, for a terminal.
    pub(crate) devpts: Option<usize>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogPart {
    pub(crate) path: String,
    pub(crate) max_size: u64,
    pub(crate) max_files: u32,
    #[serde(default)]
    pub(crate) compress: bool,
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
}
