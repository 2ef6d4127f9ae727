//! What a caller says about a container: finished values, nothing to look up.
//!
//! What must stay true: every field says what is wanted, not how; defaults are Docker's posture (security.md section 6).

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use shipway_model::{CapabilitySet, ContainerId, Limits, Ulimit};

pub use shipway_sys::mount::Propagation;

use crate::profile;

/// Numeric user of a process; names are resolved by the caller, inside the image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserIds {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Further groups; the primary one is added when missing (S-115).
    pub additional: Vec<u32>,
}

/// Size of a terminal in characters; zero means "not known".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// Which system calls a process may make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SeccompChoice {
    /// Docker's default profile for the process's capabilities.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// A profile in Docker's JSON format.
    Profile(Arc<[u8]>),
}

/// A program and the identity it runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// argv; the first is looked up in the container's PATH unless it has a slash.
    pub args: Vec<String>,
    /// `KEY=VALUE` each.
    pub env: Vec<String>,
    /// Absolute path inside the container; made if missing (first process only).
    pub cwd: String,
    /// Who.
    pub user: UserIds,
    /// A terminal of this size as 0, 1 and 2 instead of pipes.
    pub terminal: Option<TerminalSize>,
    /// Bounding and permitted set; effective only for user 0.
    pub capabilities: CapabilitySet,
    /// execve gives no new rights.
    pub no_new_privileges: bool,
    /// System calls.
    pub seccomp: SeccompChoice,
    /// Resource limits, lowered to what we may give.
    pub rlimits: Vec<Ulimit>,
    /// Badness for the OOM killer; lowered silently where not permitted.
    pub oom_score_adj: Option<i32>,
}

impl Default for ProcessSpec {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: UserIds::default(),
            terminal: None,
            capabilities: CapabilitySet::default_set(),
            no_new_privileges: false,
            seccomp: SeccompChoice::Default,
            rlimits: Vec::new(),
            oom_score_adj: None,
        }
    }
}

/// The root filesystem: folders stacked into an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RootFs {
    /// Read-only layers, the uppermost first. A single folder without `upper` is used as it is, read-only.
    pub lowers: Vec<PathBuf>,
    /// Folder for changes and its work folder, on one filesystem.
    pub upper: Option<(PathBuf, PathBuf)>,
    /// Never sync the upper folder: right for what is worthless after a crash (build steps, `--rm`).
    pub volatile: bool,
    /// Use this folder, writable, instead of an overlay (OCI bundles).
    pub plain: Option<PathBuf>,
}

/// Where a bind mount takes its tree from.
#[derive(Debug)]
pub enum BindSource {
    /// A path of the host, which must exist.
    Path(PathBuf),
    /// An open file or folder.
    Fd(OwnedFd),
}

/// One more mount, in the order given.
#[derive(Debug)]
pub enum Mount {
    /// A file or folder of the host.
    Bind {
        /// What.
        source: BindSource,
        /// Where, inside the container; missing targets are made.
        target: String,
        /// Whether it can be written.
        access: Access,
        /// How later mounts travel.
        propagation: Propagation,
        /// The mounts below the source travel the same way.
        propagates_below: bool,
        /// Take the mounts below the source along.
        recursive: bool,
        /// Whose files look like whose.
        ids: Option<ShownIds>,
    },
    /// The files of a stack of layers, read-only.
    Layers {
        /// Their folders, the uppermost first.
        lowers: Vec<PathBuf>,
        /// Where.
        target: String,
        /// The folder or file inside that is meant, in the place of all of it; links are followed inside only.
        subpath: Option<String>,
    },
    /// A fresh memory filesystem.
    Tmpfs {
        /// Where.
        target: String,
        /// Options as of mount(8): `size=64m`, `mode=1777`, `uid=`, `gid=`, `nr_inodes=`, `ro`, `exec`, `suid`, `dev` and their opposites. The
        /// latter three start as no. Without a mode it takes that of the folder it covers.
        options: Vec<String>,
    },
}

/// Whether a bind can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// As the mounts it is taken from.
    Full,
    /// Nowhere, mounts below included.
    ReadOnly,
    /// Not at its top; mounts below stay as they are.
    ReadOnlyTop,
}

/// An id-mapped mount: one user and one group of the disk are shown as others, everyone else as themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownIds {
    /// The user on the disk, and the one seen inside.
    pub user: (u32, u32),
    /// The group on the disk, and the one seen inside.
    pub group: (u32, u32),
}

impl Mount {
    /// A private recursive bind of a host path.
    pub fn bind(source: impl Into<PathBuf>, target: impl Into<String>, read_only: bool) -> Self {
        Mount::Bind {
            source: BindSource::Path(source.into()),
            target: target.into(),
            access: if read_only { Access::ReadOnly } else { Access::Full },
            propagation: Propagation::Private,
            propagates_below: true,
            recursive: true,
            ids: None,
        }
    }
}

/// Where the text of a generated file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// These bytes; changes inside the container die with it.
    Content(Vec<u8>),
    /// This file of the host, shared with the container.
    Path(PathBuf),
}

/// A file that stands in the container without being in its image: /etc/hosts, /etc/hostname, /etc/resolv.conf, secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Where.
    pub target: String,
    /// What.
    pub source: FileSource,
    /// Whether it can be written inside.
    pub read_only: bool,
}

/// The network a container sees.
#[derive(Debug, Default)]
pub enum NetNs {
    /// Its own, with loopback up and nothing else until the caller wires it (see [`crate::Reserved::network_namespace`]).
    #[default]
    Private,
    /// The host's.
    Host,
    /// The namespace at this path.
    Path(PathBuf),
    /// The namespace behind this handle.
    Fd(OwnedFd),
    /// That of the process with this host pid.
    Container(i32),
}

/// One of the other namespaces.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// The namespace at this path.
    Path(PathBuf),
    /// That of the process with this host pid.
    Container(i32),
}

/// What is the container's own and what is shared.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// Network.
    pub net: NetNs,
    /// Process numbers.
    pub pid: Namespace,
    /// System V IPC and message queues. A shared one brings the /dev/shm of whom it is shared with (of a process's; not of a path's).
    pub ipc: Namespace,
    /// Host name.
    pub uts: Namespace,
    /// View of the cgroup tree; only private and host.
    pub cgroup: Namespace,
    /// Users; only `Host` is supported yet.
    pub user: UserNamespace,
}

/// Which users exist inside.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum UserNamespace {
    /// The host's.
    #[default]
    Host,
}

/// A device node to make and allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Path of the host whose device is meant.
    pub host_path: PathBuf,
    /// Path inside.
    pub container_path: String,
    /// Any of `r`, `w`, `m`.
    pub permissions: String,
}

/// Standard input and what clients may do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stdio {
    /// Keep an input open (docker's -i); otherwise it is /dev/null.
    pub open_stdin: bool,
    /// Close the input when the first client that attached to it leaves.
    pub stdin_once: bool,
}

/// Where output is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LogConfig {
    /// Nowhere.
    #[default]
    None,
    /// Docker's json-file, rotated.
    JsonFile {
        /// The newest file; older ones get `.1`, `.2`, ...
        path: PathBuf,
        /// Bytes before rotation; 0 for never.
        max_size: u64,
        /// How many files in all, at least 1.
        max_files: u32,
        /// Pack older files with gzip (`.1.gz`).
        compress: bool,
        /// Written into every line as `attrs`; nothing when empty.
        attributes: BTreeMap<String, String>,
    },
}

/// 64 MiB, Docker's size of /dev/shm.
pub const DEFAULT_SHM_SIZE: u64 = 64 << 20;
/// Default size of a log file before rotation, and how many there are (security.md section 6).
pub const DEFAULT_LOG_SIZE: u64 = 20 << 20;
/// How many log files are kept.
pub const DEFAULT_LOG_FILES: u32 = 5;

/// A container to launch.
#[derive(Debug)]
pub struct ContainerSpec {
    /// Names its kernel objects.
    pub id: ContainerId,
    /// Host name inside.
    pub hostname: String,
    /// NIS domain inside.
    pub domainname: Option<String>,
    /// Root filesystem.
    pub root: RootFs,
    /// First process.
    pub process: ProcessSpec,
    /// Further mounts.
    pub mounts: Vec<Mount>,
    /// Generated files, attached after the mounts.
    pub files: Vec<GeneratedFile>,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Cgroup limits.
    pub limits: Limits,
    /// Further devices.
    pub devices: Vec<Device>,
    /// Further cgroup device rules (`--device-cgroup-rule`).
    pub device_rules: Vec<shipway_sys::cgroup::Device>,
    /// Bounds on the use of block devices.
    pub throttles: Vec<shipway_sys::cgroup::Throttle>,
    /// Paths hidden inside.
    pub masked_paths: Vec<String>,
    /// Paths made read-only inside.
    pub readonly_paths: Vec<String>,
    /// Nothing in the root can be written.
    pub read_only_root: bool,
    /// All devices, /sys and cgroups writable, nothing hidden. Capabilities and seccomp are said in `process`.
    pub privileged: bool,
    /// Kernel settings of its own namespaces, `net.ipv4.ip_forward` = `1`.
    pub sysctls: BTreeMap<String, String>,
    /// Bytes of /dev/shm; 0 for none at all.
    pub shm_size: u64,
    /// Put a reaper in front of the program as process 1 (docker's --init).
    pub init: bool,
    /// Standard input.
    pub stdio: Stdio,
    /// Output.
    pub log: LogConfig,
    /// Folder for the monitor's socket and notes, made if missing (0700). On a filesystem that a reboot empties.
    pub state_dir: PathBuf,
    /// Make the cgroup below this one of the host (a path from the top of every hierarchy) instead of in ours.
    pub cgroup_parent: Option<String>,
    /// A client that is there from the first byte; see [`crate::Running::attachment`].
    pub attach: Option<crate::AttachOptions>,
}

impl ContainerSpec {
    /// A container with Docker's defaults.
    pub fn new(id: ContainerId, root: RootFs, process: ProcessSpec, state_dir: PathBuf) -> Self {
        Self {
            hostname: id.to_string().chars().take(12).collect(),
            id,
            domainname: None,
            root,
            process,
            mounts: Vec::new(),
            files: Vec::new(),
            namespaces: Namespaces::default(),
            limits: Limits::default(),
            devices: Vec::new(),
            device_rules: Vec::new(),
            throttles: Vec::new(),
            masked_paths: profile::default_masked_paths(),
            readonly_paths: profile::default_readonly_paths(),
            read_only_root: false,
            privileged: false,
            sysctls: BTreeMap::new(),
            shm_size: DEFAULT_SHM_SIZE,
            init: false,
            stdio: Stdio::default(),
            log: LogConfig::None,
            state_dir,
            cgroup_parent: None,
            attach: None,
        }
    }
}
