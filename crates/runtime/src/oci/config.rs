//! config.json as the runtime-spec draws it, the parts that Linux has.
//!
//! What must stay true: a property the spec names is read here even when it is refused later (an unread one would be ignored in silence); lists may be
//! `null`, as Go programs write empty ones.
//!
//! Source: OCI runtime-spec 1.2, config.md and config-linux.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::Error;

/// Longest configuration read; podman's with its seccomp profile has 60 kB.
const LONGEST: usize = 8 << 20;

fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(input: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

macro_rules! documents {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* })*) => {
        $($(#[$meta])* #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(super) struct $name { $($(#[$field_meta])* #[serde(deserialize_with = "nullable")] pub(super) $field: $kind,)* })*
    };
}

documents! {
    Config {
        oci_version: String,
        process: Option<Process>,
        root: Option<Root>,
        hostname: String,
        domainname: String,
        mounts: Vec<Mount>,
        hooks: Hooks,
        annotations: BTreeMap<String, String>,
        linux: Linux,
    }
    Root { path: PathBuf, readonly: bool, }
    Process {
        terminal: bool,
        console_size: Option<ConsoleSize>,
        user: User,
        args: Vec<String>,
        env: Vec<String>,
        cwd: String,
        capabilities: Option<Capabilities>,
        rlimits: Vec<Rlimit>,
        no_new_privileges: bool,
        apparmor_profile: String,
        selinux_label: String,
        oom_score_adj: Option<i32>,
        scheduler: Option<Value>,
        io_priority: Option<Value>,
        #[serde(rename = "execCPUAffinity")]
        exec_cpu_affinity: Option<Value>,
    }
    ConsoleSize { height: u16, width: u16, }
    User { uid: u32, gid: u32, umask: Option<u32>, additional_gids: Vec<u32>, }
    Capabilities {
        bounding: Vec<String>,
        effective: Vec<String>,
        permitted: Vec<String>,
        inheritable: Vec<String>,
        ambient: Vec<String>,
    }
    Rlimit { #[serde(rename = "type")] kind: String, soft: u64, hard: u64, }
    Mount {
        destination: String,
        #[serde(rename = "type")]
        kind: String,
        source: String,
        options: Vec<String>,
        uid_mappings: Vec<Value>,
        gid_mappings: Vec<Value>,
    }
    Hooks {
        prestart: Vec<Hook>,
        create_runtime: Vec<Hook>,
        create_container: Vec<Hook>,
        start_container: Vec<Hook>,
        poststart: Vec<Hook>,
        poststop: Vec<Hook>,
    }
    Hook { path: PathBuf, args: Vec<String>, env: Vec<String>, timeout: Option<u64>, }
    Linux {
        uid_mappings: Vec<Value>,
        gid_mappings: Vec<Value>,
        sysctl: BTreeMap<String, String>,
        resources: Resources,
        cgroups_path: String,
        namespaces: Vec<NamespaceWish>,
        devices: Vec<Device>,
        seccomp: Option<Value>,
        rootfs_propagation: String,
        masked_paths: Vec<String>,
        readonly_paths: Vec<String>,
        mount_label: String,
        intel_rdt: Option<Value>,
        personality: Option<Value>,
        time_offsets: Option<Value>,
    }
    NamespaceWish { #[serde(rename = "type")] kind: String, path: PathBuf, }
    Device {
        #[serde(rename = "type")]
        kind: String,
        path: String,
        major: i64,
        minor: i64,
        file_mode: Option<u32>,
        uid: u32,
        gid: u32,
    }
    Resources {
        devices: Vec<DeviceRule>,
        memory: Memory,
        cpu: Cpu,
        pids: Pids,
        #[serde(rename = "blockIO")]
        block_io: BlockIo,
        hugepage_limits: Vec<Value>,
        network: Option<Value>,
        rdma: Option<Value>,
        unified: BTreeMap<String, String>,
    }
    DeviceRule {
        allow: bool,
        #[serde(rename = "type")]
        kind: String,
        major: Option<i64>,
        minor: Option<i64>,
        access: String,
    }
    Memory {
        limit: Option<i64>,
        reservation: Option<i64>,
        swap: Option<i64>,
        swappiness: Option<u64>,
        #[serde(rename = "disableOOMKiller")]
        disable_oom_killer: Option<bool>,
    }
    Cpu {
        shares: Option<u64>,
        quota: Option<i64>,
        period: Option<u64>,
        burst: Option<u64>,
        realtime_runtime: Option<i64>,
        realtime_period: Option<u64>,
        cpus: String,
        mems: String,
        idle: Option<i64>,
    }
    Pids { limit: Option<i64>, }
    BlockIo {
        weight: Option<u16>,
        leaf_weight: Option<u16>,
        weight_device: Vec<Value>,
        throttle_read_bps_device: Vec<Value>,
        throttle_write_bps_device: Vec<Value>,
        #[serde(rename = "throttleReadIOPSDevice")]
        throttle_read_iops_device: Vec<Value>,
        #[serde(rename = "throttleWriteIOPSDevice")]
        throttle_write_iops_device: Vec<Value>,
    }
}

/// Reads a JSON document of the host.
pub(super) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let file = std::fs::File::open(path).map_err(|error| Error::file("open", path, &error))?;
    let bytes = shipway_sys::fd::read_all_limited(file, LONGEST)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::document(path, error.to_string()))
}

impl Config {
    /// Reads the configuration of a bundle.
    pub(super) fn of_bundle(bundle: &Path) -> Result<Self, Error> {
        let path = bundle.join("config.json");
        let config: Self = read(&path)?;
        if !config.oci_version.starts_with("1.") {
            return Err(Error::document(&path, format!("ociVersion \"{}\" is not of version 1", config.oci_version)));
        }
        Ok(config)
    }
}
