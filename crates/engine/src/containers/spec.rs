//! What a caller asks for when it creates a container: finished values, already parsed; and the JSON it said it in, kept to be answered verbatim.
//!
//! Docker's inspect repeats the request body. We keep that body as opaque text (`Echo`), store it, return it, and never read a decision from it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shipway_model::{
    Capability, CapabilitySet, ContainerId, ContainerName, Healthcheck, Limits, MountSpec, Platform, Port, PortBinding, Ulimit,
};

/// A container as asked for. `None` and empty mean "what the image says", then "what the engine defaults to".
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateSpec {
    /// The wanted name; a made-up one when `None`.
    pub name: Option<ContainerName>,
    /// The image as typed: a reference, an id or a prefix of one.
    pub image: String,
    /// The wanted platform; the host's when `None`.
    pub platform: Option<Platform>,
    /// Replaces the image's entrypoint. `Some(vec![])` and `Some(vec![""])` clear it.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// `KEY=VALUE` overrides; a bare `KEY` removes the image's variable.
    pub env: Vec<String>,
    /// Working directory inside the container.
    pub working_dir: Option<String>,
    /// `name|uid[:group|gid]`, resolved in the image when the container starts.
    pub user: Option<String>,
    /// Host name; the short id when `None`.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Give the process a terminal.
    pub tty: bool,
    /// Keep standard input open for later attachments.
    pub open_stdin: bool,
    /// Close standard input when the first attached client leaves.
    pub stdin_once: bool,
    /// Labels beside the image's.
    pub labels: BTreeMap<String, String>,
    /// Ports beside the image's that inspect lists as exposed.
    pub exposed_ports: BTreeSet<Port>,
    /// Paths that get an anonymous volume, beside the image's.
    pub volumes: BTreeSet<String>,
    /// Signal that asks the process to stop, as it was typed (inspect says it so) and known to be one; the image's or SIGTERM when `None`.
    pub stop_signal: Option<String>,
    /// How long stop waits before it kills; ten seconds when `None`, for ever when negative in Docker's API (`Duration::MAX` here).
    pub stop_timeout: Option<Duration>,
    /// Replaces the image's health check.
    pub healthcheck: Option<Healthcheck>,
    /// What the host gives and withholds.
    pub host: HostOptions,
    /// The request as it was typed, for inspect.
    pub echo: Echo,
}

/// The request body's two halves as received; opaque to the engine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Echo {
    /// Docker's `Config` object as JSON text.
    pub config: String,
    /// Docker's `HostConfig` object as JSON text.
    pub host_config: String,
    /// Docker's `NetworkingConfig` object as JSON text, empty when absent.
    pub networking: String,
}

/// What the host gives a container and what it withholds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HostOptions {
    /// Bind mounts, volumes and tmpfs, in the order they are mounted.
    pub mounts: Vec<MountSpec>,
    /// Driver of volumes that are made for this container; `local` when empty.
    #[serde(default)]
    pub volume_driver: String,
    /// Which network the container lives in.
    pub network: NetworkMode,
    /// Wishes about networks, that of the mode among them.
    #[serde(default)]
    pub endpoints: Vec<crate::networks::EndpointWish>,
    /// Ports to publish.
    pub publish: Vec<PortBinding>,
    /// Publish every exposed port on a free host port.
    pub publish_all: bool,
    /// Remove the container and its anonymous volumes when it exits.
    pub auto_remove: bool,
    /// Mount the root file system read-only.
    pub read_only_root: bool,
    /// All capabilities, all devices, no masks, no seccomp.
    pub privileged: bool,
    /// Capabilities beside the default set, as typed (`ALL` included).
    pub cap_add: Vec<String>,
    /// Capabilities taken from the set, as typed.
    pub cap_drop: Vec<String>,
    /// Parsed `--security-opt` values.
    pub security: SecurityOptions,
    /// Memory, CPU, pids and block I/O limits.
    pub limits: Limits,
    /// Resource limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// Run a small init as process 1 that reaps and forwards signals.
    pub init: Option<bool>,
    /// Lines for /etc/hosts as `name:address`; the address may be `host-gateway`.
    pub extra_hosts: Vec<String>,
    /// Name servers for /etc/resolv.conf.
    pub dns: Vec<String>,
    /// Options for /etc/resolv.conf.
    pub dns_options: Vec<String>,
    /// Search domains for /etc/resolv.conf.
    pub dns_search: Vec<String>,
    /// Size of /dev/shm in bytes; 64 MiB when `None`.
    pub shm_size: Option<u64>,
    /// Kernel parameters set inside the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Host devices given to the container as `(host path, container path, permissions)`.
    pub devices: Vec<(String, String, String)>,
    /// Cgroup device rules as typed, `c 1:3 rwm`.
    #[serde(default)]
    pub device_rules: Vec<String>,
    /// Bounds on the use of block devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttles: Vec<super::Throttle>,
    /// Devices that a specification of the host (CDI) describes.
    #[serde(default)]
    pub device_requests: Vec<super::DeviceRequest>,
    /// Additional groups, by name or number.
    pub group_add: Vec<String>,
    /// `""`, `private`, `host`, `container:X`.
    pub pid_mode: String,
    /// `""`, `none`, `private`, `shareable`, `host`, `container:X`.
    pub ipc_mode: String,
    /// `""` or `host`.
    pub uts_mode: String,
    /// `""`, `private` or `host`.
    pub cgroupns_mode: String,
    /// `""` or `host`.
    pub userns_mode: String,
    /// What happens when the process exits by itself.
    pub restart: RestartPolicy,
    /// Where output is kept.
    pub log: LogSpec,
    /// Preference of the kernel's out-of-memory killer, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Cgroup below which the container's own is made.
    pub cgroup_parent: Option<String>,
    /// Replaces the default masked paths.
    pub masked_paths: Option<Vec<String>>,
    /// Replaces the default read-only paths.
    pub readonly_paths: Option<Vec<String>>,
    /// OCI runtime by name; ours when empty.
    pub runtime: String,
    /// Other containers whose mounts this one shares, as typed.
    pub volumes_from: Vec<String>,
    /// Legacy links, as typed.
    pub links: Vec<String>,
}

/// Where a container's network stack comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// The engine's default network: the bridge, or loopback only where the daemon has none.
    #[default]
    Default,
    /// A private stack with loopback only.
    None,
    /// The host's stack.
    Host,
    /// The stack of another container.
    Container(String),
    /// A network by name.
    Named(String),
}

/// Parsed `--security-opt` values (features.md C-04).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityOptions {
    /// Set `no_new_privs` before the program starts.
    pub no_new_privileges: bool,
    /// Which system calls the process may make.
    pub seccomp: SeccompOption,
    /// Neither mask nor write-protect paths below /proc and /sys.
    pub unconfined_paths: bool,
    /// Mount cgroups writable.
    pub writable_cgroups: bool,
}

/// Which system calls a process may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompOption {
    /// The built-in profile.
    #[default]
    Default,
    /// All of them.
    Unconfined,
    /// A profile in Docker's JSON format.
    Profile(String),
}

/// What happens when a container's process exits by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// Start again whatever happened, also when the daemon starts.
    Always,
    /// As `Always`, unless somebody stopped it.
    UnlessStopped,
    /// Start again after a failure, at most so many times (0: no limit).
    OnFailure(u32),
}

/// Where output is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// Driver name as typed; `json-file`, `local` and `none` exist.
    pub driver: String,
    /// Driver options as typed.
    pub options: BTreeMap<String, String>,
}

impl Default for LogSpec {
    fn default() -> Self {
        Self { driver: "json-file".to_owned(), options: BTreeMap::new() }
    }
}

/// The answer to a creation.
#[derive(Debug, Clone)]
pub struct Created {
    /// The new container.
    pub id: ContainerId,
    /// What was accepted but will not work as asked.
    pub warnings: Vec<String>,
}

/// The capabilities that the default set, additions and removals leave.
///
/// # Errors
/// `Invalid` for a name that is no capability.
pub(crate) fn capabilities_of(host: &HostOptions) -> crate::Result<CapabilitySet> {
    if host.privileged {
        return Ok(Capability::all());
    }
    // Judged list by list first: the user is told which one holds the wrong name.
    for (what, add, drop) in [("CapAdd", &host.cap_add[..], &[][..]), ("CapDrop", &[][..], &host.cap_drop[..])] {
        CapabilitySet::from_docker(add, drop).map_err(|error| crate::Error::Invalid { reason: format!("invalid {what}: {error}") })?;
    }
    CapabilitySet::from_docker(&host.cap_add, &host.cap_drop).map_err(|error| crate::Error::Invalid { reason: error.to_string() })
}
