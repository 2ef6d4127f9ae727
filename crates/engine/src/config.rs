//! Settings of an engine, as finished values. Reading flags and files is the binary's work.

use std::collections::BTreeMap;
use std::path::PathBuf;

use shipway_model::Ulimit;
use shipway_network::{AddressPool, Forwarding, HostFirewall, PlanRequest};

pub use shipway_registry::HostSettings;

/// Everything an engine needs to know before it starts.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where durable data lives.
    pub data_root: PathBuf,
    /// Where sockets and other data of this boot live.
    pub exec_root: PathBuf,
    /// Version text of this binary.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
    /// Parked monitors kept ready for the next containers.
    pub pool_size: usize,
    /// Seconds that running containers get to stop when they are not left running.
    pub shutdown_timeout: std::time::Duration,
    /// Leave containers running when the daemon stops.
    pub live_restore: bool,
    /// Default resource limits of processes.
    pub default_ulimits: Vec<Ulimit>,
    /// Default size of /dev/shm in bytes.
    pub default_shm_size: u64,
    /// Default log driver and its options.
    pub log_driver: String,
    pub log_options: BTreeMap<String, String>,
    /// Set `no_new_privs` on every container.
    pub no_new_privileges: bool,
    /// Run an init in every container that does not say otherwise.
    pub init: bool,
    /// Name servers, search domains and options for containers.
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    /// Folders with descriptions of devices (CDI); later ones win.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// This is the machine's one usual daemon: its kernel objects have plain names.
    pub is_default: bool,
    /// Containers that name no network join the default bridge; without it they have loopback only.
    pub bridge: bool,
    /// What networks are made with.
    pub network: NetworkDefaults,
    /// Labels of the daemon, shown by info.
    pub labels: Vec<String>,
    /// Proxy variables given to build steps and containers.
    pub proxies: BTreeMap<String, String>,
    /// A binary that has the hidden personalities; this process's own when `None`. Tests have another.
    pub monitor_binary: Option<PathBuf>,
    /// Cgroup below which all containers live; made from the data root when `None`.
    pub cgroup_parent: Option<String>,
    /// Registries: which are insecure, which have mirrors.
    pub registries: HostSettings,
    /// Layers fetched, and sent, at the same time by all pulls and pushes.
    pub max_concurrent_downloads: usize,
    pub max_concurrent_uploads: usize,
    /// More is logged and shown.
    pub debug: bool,
}

/// What networks are made with, and what is done to the host for them.
#[derive(Debug, Clone)]
pub struct NetworkDefaults {
    /// Ranges of new networks; Docker's when empty.
    pub pools: Vec<AddressPool>,
    pub host_firewall: HostFirewall,
    pub forwarding: Forwarding,
    /// Containers of the default bridge reach each other.
    pub icc: bool,
    /// Bytes of a packet on the default bridge.
    pub mtu: Option<u32>,
    /// Where ports of the default bridge are published that name no address.
    pub host_binding: Option<std::net::IpAddr>,
    /// The default bridge's subnet and address; a free one when `None`.
    pub bridge: Option<PlanRequest>,
}

impl Default for NetworkDefaults {
    fn default() -> Self {
        Self {
            pools: Vec::new(),
            host_firewall: HostFirewall::default(),
            forwarding: Forwarding::default(),
            icc: true,
            mtu: None,
            host_binding: None,
            bridge: None,
        }
    }
}

impl EngineConfig {
    /// An engine on `data_root` and `exec_root` with every other setting at its documented default.
    pub fn new(data_root: PathBuf, exec_root: PathBuf) -> Self {
        Self {
            data_root,
            exec_root,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: "unknown".to_owned(),
            pool_size: 3,
            shutdown_timeout: std::time::Duration::from_secs(15),
            live_restore: true,
            default_ulimits: Vec::new(),
            default_shm_size: 64 << 20,
            log_driver: "json-file".to_owned(),
            log_options: BTreeMap::new(),
            no_new_privileges: false,
            init: false,
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            cdi_spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            is_default: false,
            bridge: true,
            network: NetworkDefaults::default(),
            labels: Vec::new(),
            proxies: BTreeMap::new(),
            monitor_binary: None,
            cgroup_parent: None,
            registries: HostSettings {
                hosts_folders: vec!["/etc/shipway/certs.d".into()],
                certs_folders: vec!["/etc/shipway/certs.d".into(), "/etc/docker/certs.d".into()],
                ..HostSettings::default()
            },
            max_concurrent_downloads: 4,
            max_concurrent_uploads: 5,
            debug: false,
        }
    }
}
