//! What daemon, monitor, seat and init say to each other.
//!
//! Two kinds of lines exist. The *control line* is a SOCK_SEQPACKET pair made at birth: orders with handles go down it, notes come up. The *service
//! line* is a byte stream over `monitor.sock` (or handed over at launch), framed as
//!
//! ```text
//! u32 little-endian: length of what follows | u8 tag | bytes
//! ```
//!
//! with tags: 0 JSON, 1 input or standard output, 2 end of input or standard error. What must stay true: monitors outlive the daemon, so a service
//! message that an older or newer side does not know is answered with an error and never guessed at; `VERSION` grows with every incompatible change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Instant;

/// Version of the service line.
pub(crate) const VERSION: u32 = 1;
/// Longest JSON text accepted anywhere.
pub(crate) const LONGEST: usize = 8 << 20;
/// Longest frame of a service line that a monitor accepts.
pub(crate) const LONGEST_FRAME: usize = LONGEST + 1;

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

/// What a client attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttachWish {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

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

/// First frame of a client on the service line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Who are you.
    State,
    /// Frames from now on, both ways, until either side leaves.
    Attach(AttachWish),
    /// Tell the end when it comes.
    Wait,
    /// Send a signal to the first process or to the exec of this id.
    Signal {
        number: i32,
        exec: Option<String>,
        /// To every process of its session's group.
        #[serde(default)]
        group: bool,
    },
    /// Change the size of a terminal.
    Resize { rows: u16, cols: u16, exec: Option<String> },
    /// Run one more program; its frames follow on this line.
    Execute(Box<ExecuteRequest>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecuteRequest {
    pub(crate) id: String,
    pub(crate) program: Program,
    /// Use the container's seccomp program.
    pub(crate) confined: bool,
    pub(crate) terminal: Option<(u16, u16)>,
    pub(crate) attach: AttachWish,
    /// Kill it (and what is in its group) when its client goes away.
    #[serde(default)]
    pub(crate) tied: bool,
}

/// Answers on the service line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    State(MonitorState),
    Started {
        pid: i32,
    },
    Failed(Failure),
    Ended(Ended),
    Done,
    /// Something was lost for this client: it was too slow for too long.
    Dropped,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MonitorState {
    pub(crate) version: u32,
    pub(crate) id: String,
    pub(crate) monitor: i32,
    pub(crate) pid: i32,
    pub(crate) seat: i32,
    pub(crate) group: String,
    /// Bounding set of the container.
    pub(crate) capabilities: u64,
    pub(crate) started: Instant,
    pub(crate) ended: Option<Ended>,
}

/// Tags of the service line.
pub(crate) mod tag {
    pub(crate) const JSON: u8 = 0;
    pub(crate) const DATA: u8 = 1;
    pub(crate) const OTHER: u8 = 2;
}

/// One frame.
pub(crate) fn frame(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32 + 1).to_le_bytes());
    out.push(tag);
    out.extend_from_slice(bytes);
}

/// One JSON frame.
pub(crate) fn json_frame(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    frame(tag::JSON, &to_json(value), &mut out);
    out
}

/// Takes the first whole frame off `buffer`: tag and bytes.
///
/// # Errors
/// A length beyond the limit, which ends the conversation.
pub(crate) fn take_frame(buffer: &mut Vec<u8>) -> Result<Option<(u8, Vec<u8>)>, ()> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length == 0 || length > LONGEST_FRAME {
        return Err(());
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let rest = buffer.split_off(4 + length);
    let whole = std::mem::replace(buffer, rest);
    Ok(Some((whole[4], whole[5..].to_vec())))
}

pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our messages have string keys only and no failing serializer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut stream = Vec::new();
        frame(tag::DATA, b"hello", &mut stream);
        frame(tag::OTHER, b"", &mut stream);
        for cut in 0..stream.len() {
            let mut buffer = stream[..cut].to_vec();
            let mut seen = Vec::new();
            while let Ok(Some(one)) = take_frame(&mut buffer) {
                seen.push(one);
            }
            buffer.extend_from_slice(&stream[cut..]);
            while let Ok(Some(one)) = take_frame(&mut buffer) {
                seen.push(one);
            }
            assert_eq!(seen, [(tag::DATA, b"hello".to_vec()), (tag::OTHER, Vec::new())]);
        }
    }

    #[test]
    fn a_giant_frame_ends_the_conversation() {
        assert!(take_frame(&mut vec![0xff, 0xff, 0xff, 0xff, 0]).is_err());
        assert!(take_frame(&mut vec![0, 0, 0, 0, 0]).is_err());
    }
}
