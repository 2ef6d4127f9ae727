//! Limits that this kernel does not have: dropped with dockerd's warning, so that a container made for another machine runs here too.

use shipway_sys::probe::Probe;

use super::devices::Throttled;
use super::spec::HostOptions;

/// True when processes can be given time before all others, by cgroup.
pub(super) fn has_realtime() -> bool {
    Probe::get().cgroup.v1.get("cpu").is_some_and(|folder| folder.join("cpu.rt_runtime_us").exists())
}

/// Takes out of `host` what cannot be had and says so.
pub(super) fn discard_unknown(host: &mut HostOptions) -> Vec<String> {
    let HostOptions { limits, throttles, .. } = host;
    let layout = &Probe::get().cgroup;
    let unified = !layout.v1.contains_key("memory");
    let has = |controller: &str, files: &[&str]| {
        let folder = layout.v1.get(controller);
        folder.is_some_and(|folder| files.iter().any(|file| folder.join(file).exists()))
    };
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(text.to_owned());
    if limits.blkio_weight.is_some() && !unified && !has("blkio", &["blkio.weight", "blkio.bfq.weight"]) {
        limits.blkio_weight = None;
        warn("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.");
    }
    let has_weights = throttles.iter().any(|throttle| throttle.what == Throttled::Weight);
    if has_weights && !unified && !has("blkio", &["blkio.weight_device", "blkio.bfq.weight_device"]) {
        throttles.retain(|throttle| throttle.what != Throttled::Weight);
        warn("Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.");
    }
    if limits.memory_swap.is_some_and(|swap| swap > 0)
        && !unified
        && !has("memory", &["memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"])
    {
        limits.memory_swap = None;
        warn("Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.");
    }
    if limits.memory_swappiness.is_some() && unified {
        limits.memory_swappiness = None;
        warn("Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.");
    }
    if limits.oom_kill_disable == Some(true) && unified {
        limits.oom_kill_disable = None;
        warn("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
    } else if limits.oom_kill_disable == Some(true) && limits.memory.is_none() {
        warn(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
        );
    }
    warnings
}
