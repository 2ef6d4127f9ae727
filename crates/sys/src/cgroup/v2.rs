//! Version 2: one unified hierarchy.
//!
//! What must stay true: wishes in version 1's units are converted as systemd and the OCI runtimes do, so the same command means the same on both.

use std::fs;
use std::path::Path;

use rustix::io::Errno;

use super::{BlockUsage, Group, Limits, Usage, pair, read_number, read_pairs, write_file};
use crate::Error;

/// Hands the controllers of `folder` down to its children, each that it can.
pub(super) fn delegate_controllers(folder: &Path) {
    for name in controllers_of(folder) {
        // A controller in use by a threaded or real-time setup refuses; the limit that needs it will say so.
        let _ = write_file(&folder.join("cgroup.subtree_control"), &format!("+{name}"));
    }
}

pub(super) fn controllers_of(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

pub(super) fn limit(group: &Group, limits: &Limits) -> Result<(), Error> {
    let folder = group.folder("").ok_or_else(|| Error::new("find cgroup folder", Errno::NODEV))?;
    let set = |file: &str, text: String| -> Result<(), Error> {
        let path = folder.join(file);
        write_file(&path, &text).map_err(|error| {
            // A missing file means that the controller is not there.
            if error.errno == Errno::NOENT { Error::new(error.call, Errno::NODEV) } else { error }
        })
    };
    let or_max = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
    if let Some(value) = limits.memory {
        set("memory.max", or_max(value))?;
    }
    if let Some(both) = limits.memory_and_swap {
        let swap = if both < 0 { "max".to_owned() } else { (both - limits.memory.unwrap_or(0)).max(0).to_string() };
        if folder.join("memory.swap.max").exists() {
            set("memory.swap.max", swap)?;
        }
    }
    if let Some(value) = limits.memory_reservation {
        set("memory.low", or_max(value))?;
    }
    if let Some(shares) = limits.cpu_shares {
        set("cpu.weight", weight_of_shares(shares).to_string())?;
    }
    if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
        let quota = limits.cpu_quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
        set("cpu.max", format!("{quota} {}", limits.cpu_period.unwrap_or(100_000)))?;
    }
    if let Some(text) = &limits.cpus {
        set("cpuset.cpus", text.clone())?;
    }
    if let Some(text) = &limits.memory_nodes {
        set("cpuset.mems", text.clone())?;
    }
    if let Some(value) = limits.pids {
        set("pids.max", if value <= 0 { "max".to_owned() } else { value.to_string() })?;
    }
    if let Some(value) = limits.block_weight {
        set("io.weight", format!("default {}", weight_of_blocks(value.into())))?;
    }
    Ok(())
}

/// 2..=262144 shares to a weight of 1..=10000, linearly, as systemd does.
fn weight_of_shares(shares: u64) -> u64 {
    if shares == 0 { 100 } else { 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142 }
}

/// A weight of 10..=1000 to one of 1..=10000, linearly.
pub(super) fn weight_of_blocks(weight: u64) -> u64 {
    1 + weight.saturating_sub(10) * 9999 / 990
}

pub(super) fn freeze(group: &Group, frozen: bool) -> Result<(), Error> {
    let folder = group.folder("").ok_or_else(|| Error::new("find cgroup folder", Errno::NODEV))?;
    write_file(&folder.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
    for _ in 0..1000 {
        if pair(&read_pairs(&folder.join("cgroup.events")), "frozen") == u64::from(frozen) {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Err(Error::new(format!("write({folder:?}/cgroup.freeze)"), Errno::BUSY))
}

pub(super) fn usage(group: &Group) -> Usage {
    let Some(folder) = group.folder("") else { return Usage::default() };
    let cpu = read_pairs(&folder.join("cpu.stat"));
    let events = read_pairs(&folder.join("memory.events"));
    Usage {
        cpu_total: pair(&cpu, "usage_usec") * 1000,
        cpu_system: pair(&cpu, "system_usec") * 1000,
        cpu_user: pair(&cpu, "user_usec") * 1000,
        cpu_each: Vec::new(),
        throttling: (pair(&cpu, "nr_periods"), pair(&cpu, "nr_throttled"), pair(&cpu, "throttled_usec") * 1000),
        memory: read_number(&folder.join("memory.current")).unwrap_or(0),
        memory_peak: read_number(&folder.join("memory.peak")).unwrap_or(0),
        memory_limit: read_number(&folder.join("memory.max")).unwrap_or(u64::MAX),
        memory_failures: pair(&events, "max"),
        memory_details: read_pairs(&folder.join("memory.stat")),
        pids: read_number(&folder.join("pids.current")).unwrap_or(0),
        pids_limit: read_number(&folder.join("pids.max")),
        block: block_usage(&fs::read_to_string(folder.join("io.stat")).unwrap_or_default()),
        oom_kills: pair(&events, "oom_kill"),
    }
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...` per line.
fn block_usage(text: &str) -> Vec<BlockUsage> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|word| word.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        let counters: Vec<(&str, u64)> =
            words.filter_map(|word| word.split_once('=')).filter_map(|(k, v)| Some((k, v.parse().ok()?))).collect();
        let get = |key: &str| counters.iter().find(|(name, _)| *name == key).map_or(0, |(_, value)| *value);
        for (operation, bytes, operations) in [("Read", "rbytes", "rios"), ("Write", "wbytes", "wios")] {
            found.push(BlockUsage { major, minor, operation: operation.to_owned(), bytes: get(bytes), operations: get(operations) });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        for (shares, weight) in [(2, 1), (1024, 39), (262_144, 10_000), (0, 100)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn io_stat_is_split_by_direction() {
        let found = block_usage("8:16 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\nbogus\n");
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].bytes, found[1].operations, found[1].operation.as_str()), (20, 2, "Write"));
    }
}
