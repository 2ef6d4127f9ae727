//! `info` and `version`: facts about this engine and the machine below it.

use std::path::PathBuf;

use crate::Engine;
use crate::containers::ContainerState;

/// Versions, for `version`.
#[derive(Debug, Clone)]
pub struct VersionInfo {
    pub version: String,
    pub commit: String,
    pub kernel: String,
    pub os: &'static str,
    pub arch: String,
}

/// What `info` tells.
#[derive(Debug, Clone)]
pub struct SystemInfo {
    pub id: String,
    pub name: String,
    pub containers: usize,
    pub running: usize,
    pub paused: usize,
    pub stopped: usize,
    pub images: usize,
    pub kernel: String,
    pub operating_system: String,
    pub os_version: String,
    pub arch: String,
    pub cpus: usize,
    pub memory: u64,
    pub root_dir: PathBuf,
    pub cgroup_version: u8,
    pub live_restore: bool,
    pub debug: bool,
    pub labels: Vec<String>,
    pub version: String,
    pub open_files: usize,
    pub event_listeners: usize,
    pub warnings: Vec<String>,
}

impl Engine {
    /// Versions of this binary and the kernel.
    pub fn version(&self) -> VersionInfo {
        let system = rustix::system::uname();
        VersionInfo {
            version: self.inner.config.version.clone(),
            commit: self.inner.config.commit.clone(),
            kernel: system.release().to_string_lossy().into_owned(),
            os: "linux",
            arch: shipway_model::Platform::host().architecture,
        }
    }

    /// Facts about the engine and the machine.
    pub fn info(&self) -> SystemInfo {
        let system = rustix::system::uname();
        let containers = self.inner.containers.all();
        let (mut running, mut paused) = (0, 0);
        for container in &containers {
            match container.record().state {
                ContainerState::Running { .. } => running += 1,
                ContainerState::Paused { .. } => paused += 1,
                _ => {}
            }
        }
        let release = OsRelease::read();
        SystemInfo {
            id: shipway_model::Digest::sha256_of(self.inner.config.data_root.as_os_str().as_encoded_bytes()).hex(),
            name: system.nodename().to_string_lossy().into_owned(),
            containers: containers.len(),
            running,
            paused,
            stopped: containers.len() - running - paused,
            images: self.inner.store.images().list().len(),
            kernel: system.release().to_string_lossy().into_owned(),
            operating_system: release.pretty_name,
            os_version: release.version_id,
            arch: system.machine().to_string_lossy().into_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: total_memory(),
            root_dir: self.inner.config.data_root.clone(),
            cgroup_version: if shipway_sys::probe::Probe::get().cgroup.mode() == shipway_sys::probe::CgroupMode::Unified { 2 } else { 1 },
            live_restore: self.inner.config.live_restore,
            debug: self.inner.config.debug,
            labels: self.inner.config.labels.clone(),
            version: self.inner.config.version.clone(),
            open_files: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            event_listeners: self.inner.events.listeners(),
            warnings: degraded(),
        }
    }
}

/// The two facts of /etc/os-release that `info` shows.
struct OsRelease {
    pretty_name: String,
    version_id: String,
}

impl OsRelease {
    fn read() -> Self {
        let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
        };
        Self { pretty_name: field("PRETTY_NAME"), version_id: field("VERSION_ID") }
    }
}

/// Memory of the machine in bytes; 0 when /proc does not tell.
fn total_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.map_or(0, |kilobytes| kilobytes * 1024)
}

/// What this machine cannot give; asked for less and said once (R12 of security.md).
fn degraded() -> Vec<String> {
    const SYS_RESOURCE: u32 = 24;
    let mut warnings = Vec::new();
    if !shipway_sys::probe::Probe::get().capabilities.has(SYS_RESOURCE) {
        warnings.push("WARNING: no CAP_SYS_RESOURCE: resource limits are capped at the daemon's own".to_owned());
    }
    warnings
}
