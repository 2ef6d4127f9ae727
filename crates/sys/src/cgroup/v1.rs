//! Version 1: one hierarchy per controller.
//!
//! What must stay true: files are written in the order the kernel wants (memory before memory+swap when raising, the other way when lowering).

use std::fs;
use std::path::Path;

use rustix::io::Errno;

use super::{BlockUsage, Device, Group, Limits, Usage, pair, read_number, read_pairs, write_file};
use crate::Error;

/// The controllers a sandbox needs, where the host has them.
pub(super) const CONTROLLERS: &[&str] = &["memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "freezer", "blkio"];

/// A new cpuset is empty and refuses processes until it is told where they may run.
pub(super) fn inherit_cpuset(folder: &Path) -> Result<(), Error> {
    let Some(parent) = folder.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mine = fs::read_to_string(folder.join(file)).unwrap_or_default();
        if mine.trim().is_empty() {
            let given =
                fs::read_to_string(parent.join(file)).map_err(|error| Error::from_io(format!("read({parent:?}/{file})"), &error))?;
            write_file(&folder.join(file), given.trim())?;
        }
    }
    Ok(())
}

pub(super) fn limit(group: &Group, limits: &Limits) -> Result<(), Error> {
    let set = |controller: &str, file: &str, text: String| -> Result<(), Error> {
        let folder = group.folder(controller).ok_or_else(|| Error::new(format!("set {file} = {text}"), Errno::NODEV))?;
        write_file(&folder.join(file), &text)
    };
    limit_memory(group, limits)?;
    if let Some(value) = limits.memory_reservation {
        set("memory", "memory.soft_limit_in_bytes", value.to_string())?;
    }
    if let Some(value) = limits.swappiness {
        set("memory", "memory.swappiness", value.to_string())?;
    }
    if let Some(disable) = limits.oom_kill_disable {
        set("memory", "memory.oom_control", u8::from(disable).to_string())?;
    }
    if let Some(value) = limits.cpu_shares {
        set("cpu", "cpu.shares", value.to_string())?;
    }
    if let Some(value) = limits.cpu_period {
        set("cpu", "cpu.cfs_period_us", value.to_string())?;
    }
    if let Some(value) = limits.cpu_quota {
        set("cpu", "cpu.cfs_quota_us", value.to_string())?;
    }
    if let Some(value) = limits.realtime_period {
        set("cpu", "cpu.rt_period_us", value.to_string())?;
    }
    if let Some(value) = limits.realtime_runtime {
        set("cpu", "cpu.rt_runtime_us", value.to_string())?;
    }
    if let Some(text) = &limits.cpus {
        set("cpuset", "cpuset.cpus", text.clone())?;
    }
    if let Some(text) = &limits.memory_nodes {
        set("cpuset", "cpuset.mems", text.clone())?;
    }
    if let Some(value) = limits.pids {
        set("pids", "pids.max", if value <= 0 { "max".to_owned() } else { value.to_string() })?;
    }
    if let Some(value) = limits.block_weight {
        let folder = group.folder("blkio").ok_or_else(|| Error::new("set blkio.weight", Errno::NODEV))?;
        write_file(&folder.join(weight_file(&folder, "")), &value.to_string())?;
    }
    Ok(())
}

/// The name of the file of weights: the scheduler that offers one decides it.
pub(super) fn weight_file(folder: &Path, suffix: &str) -> String {
    let name = if folder.join("blkio.bfq.weight").exists() { "blkio.bfq.weight" } else { "blkio.weight" };
    format!("{name}{suffix}")
}

fn limit_memory(group: &Group, limits: &Limits) -> Result<(), Error> {
    if limits.memory.is_none() && limits.memory_and_swap.is_none() {
        return Ok(());
    }
    let folder = group.folder("memory").ok_or_else(|| Error::new("set memory limit", Errno::NODEV))?;
    let memory = limits.memory.map(|value| (folder.join("memory.limit_in_bytes"), value));
    // A kernel without swap accounting has no such file; then there is nothing to bound.
    let both = limits.memory_and_swap.map(|value| (folder.join("memory.memsw.limit_in_bytes"), value)).filter(|(path, _)| path.exists());
    let write =
        |wish: &Option<(std::path::PathBuf, i64)>| wish.as_ref().map_or(Ok(()), |(path, value)| write_file(path, &value.to_string()));
    // The sum may never be below the memory limit: which goes first depends on whether the limits grow or shrink.
    let now = read_number(&folder.join("memory.memsw.limit_in_bytes")).unwrap_or(u64::MAX);
    let grows = limits.memory.is_some_and(|value| value < 0 || value as u64 > now);
    if grows {
        write(&both)?;
        write(&memory)
    } else {
        write(&memory)?;
        write(&both)
    }
}

pub(super) fn allow_devices(group: &Group, devices: &[Device]) -> Result<(), Error> {
    let Some(folder) = group.folder("devices") else { return Ok(()) };
    write_file(&folder.join("devices.deny"), "a")?;
    allow_more_devices(group, devices)
}

pub(super) fn allow_more_devices(group: &Group, devices: &[Device]) -> Result<(), Error> {
    let Some(folder) = group.folder("devices") else { return Ok(()) };
    for device in devices {
        write_file(&folder.join("devices.allow"), &device.rule())?;
    }
    Ok(())
}

pub(super) fn freeze(group: &Group, frozen: bool) -> Result<(), Error> {
    let folder = group.folder("freezer").ok_or_else(|| Error::new("set freezer.state", Errno::NODEV))?;
    let path = folder.join("freezer.state");
    let wish = if frozen { "FROZEN" } else { "THAWED" };
    // FREEZING lasts until the last thread has reached a stop; writing again helps one that slept through (cgroup-v1/freezer-subsystem.rst).
    for _ in 0..1000 {
        write_file(&path, wish)?;
        if fs::read_to_string(&path).is_ok_and(|text| text.trim() == wish) {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    if frozen {
        write_file(&path, "THAWED")?;
    }
    Err(Error::new(format!("write({path:?}, {wish:?})"), Errno::BUSY))
}

pub(super) fn usage(group: &Group) -> Usage {
    let mut usage = Usage::default();
    if let Some(folder) = group.folder("cpuacct") {
        usage.cpu_total = read_number(&folder.join("cpuacct.usage")).unwrap_or(0);
        usage.cpu_user = read_number(&folder.join("cpuacct.usage_user")).unwrap_or(0);
        usage.cpu_system = read_number(&folder.join("cpuacct.usage_sys")).unwrap_or(0);
        let each = fs::read_to_string(folder.join("cpuacct.usage_percpu")).unwrap_or_default();
        usage.cpu_each = each.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    }
    if let Some(folder) = group.folder("cpu") {
        let pairs = read_pairs(&folder.join("cpu.stat"));
        usage.throttling = (pair(&pairs, "nr_periods"), pair(&pairs, "nr_throttled"), pair(&pairs, "throttled_time"));
    }
    if let Some(folder) = group.folder("memory") {
        usage.memory = read_number(&folder.join("memory.usage_in_bytes")).unwrap_or(0);
        usage.memory_peak = read_number(&folder.join("memory.max_usage_in_bytes")).unwrap_or(0);
        usage.memory_limit = read_number(&folder.join("memory.limit_in_bytes")).unwrap_or(u64::MAX);
        usage.memory_failures = read_number(&folder.join("memory.failcnt")).unwrap_or(0);
        usage.memory_details = read_pairs(&folder.join("memory.stat"));
        usage.oom_kills = super::parse_oom_kills(&fs::read_to_string(folder.join("memory.oom_control")).unwrap_or_default());
    }
    if let Some(folder) = group.folder("pids") {
        usage.pids = read_number(&folder.join("pids.current")).unwrap_or(0);
        usage.pids_limit = read_number(&folder.join("pids.max"));
    }
    if let Some(folder) = group.folder("blkio") {
        usage.block = block_usage(&folder);
    }
    usage
}

fn block_usage(folder: &Path) -> Vec<BlockUsage> {
    let lines = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    let mut found: Vec<BlockUsage> = Vec::new();
    let bytes = lines("blkio.throttle.io_service_bytes_recursive");
    let operations = lines("blkio.throttle.io_serviced_recursive");
    for (text, is_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let Some((device, operation, value)) = parse_block_line(line) else { continue };
            let (major, minor) = device;
            let index = found.iter().position(|entry| (entry.major, entry.minor) == device && entry.operation == operation);
            let index = index.unwrap_or_else(|| {
                found.push(BlockUsage { major, minor, operation: operation.to_owned(), bytes: 0, operations: 0 });
                found.len() - 1
            });
            if is_bytes {
                found[index].bytes = value;
            } else {
                found[index].operations = value;
            }
        }
    }
    found
}

/// `8:0 Read 4096`; totals and anything else give `None`.
fn parse_block_line(line: &str) -> Option<((u64, u64), &str, u64)> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let operation = words.next().filter(|word| matches!(*word, "Read" | "Write"))?;
    Some(((major.parse().ok()?, minor.parse().ok()?), operation, words.next()?.parse().ok()?))
}
