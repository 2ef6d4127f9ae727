//! Resources of a configuration in the terms of our cgroups, and `oci update`.
//!
//! What must stay true: zero and "nothing said" leave what is there; a limit we have no file for is refused by name.

use std::io::Read;
use std::path::Path;

use shipway_sys::cgroup::{self, Device, DeviceKind};

use super::Global;
use super::arguments::{Flag, parse};
use super::config::{self, DeviceRule, Resources};
use super::error::Error;
use super::store::{Status, Store};

/// Limits of memory, CPU, processes and block devices.
pub(super) fn limits_of(resources: &Resources) -> Result<cgroup::Limits, Error> {
    refuse_unsupported(resources)?;
    let (memory, cpu) = (&resources.memory, &resources.cpu);
    let said = |value: Option<i64>| value.filter(|value| *value != 0);
    Ok(cgroup::Limits {
        memory: said(memory.limit),
        memory_and_swap: said(memory.swap),
        memory_reservation: said(memory.reservation),
        swappiness: memory.swappiness,
        cpu_shares: cpu.shares.filter(|shares| *shares != 0),
        cpu_quota: said(cpu.quota),
        cpu_period: cpu.period.filter(|period| *period != 0),
        cpus: Some(cpu.cpus.clone()).filter(|text| !text.is_empty()),
        memory_nodes: Some(cpu.mems.clone()).filter(|text| !text.is_empty()),
        pids: said(resources.pids.limit),
        block_weight: resources.block_io.weight.filter(|weight| *weight != 0),
        realtime_period: cpu.realtime_period.filter(|period| *period != 0),
        realtime_runtime: cpu.realtime_runtime.filter(|time| *time != 0),
        oom_kill_disable: memory.disable_oom_killer.filter(|disable| *disable),
    })
}

fn refuse_unsupported(resources: &Resources) -> Result<(), Error> {
    let (cpu, block) = (&resources.cpu, &resources.block_io);
    let throttles = [
        &block.throttle_read_bps_device,
        &block.throttle_write_bps_device,
        &block.throttle_read_iops_device,
        &block.throttle_write_iops_device,
    ];
    let asked = [
        (cpu.burst.is_some_and(|burst| burst != 0), "resources.cpu.burst"),
        (cpu.idle.is_some_and(|idle| idle != 0), "resources.cpu.idle"),
        (!resources.hugepage_limits.is_empty(), "resources.hugepageLimits"),
        (
            resources.network.as_ref().is_some_and(|network| network.as_object().is_none_or(|object| !object.is_empty())),
            "resources.network",
        ),
        (resources.rdma.is_some(), "resources.rdma"),
        (!resources.unified.is_empty(), "resources.unified"),
        (block.leaf_weight.is_some_and(|weight| weight != 0), "resources.blockIO.leafWeight"),
        (!block.weight_device.is_empty(), "resources.blockIO.weightDevice"),
        (throttles.iter().any(|list| !list.is_empty()), "resources.blockIO.throttle...Device"),
    ];
    asked.iter().find(|(asked, _)| *asked).map_or(Ok(()), |(_, what)| Err(Error::unsupported(*what)))
}

/// What may be touched beside the devices every container has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeviceAccess {
    pub(super) everything: bool,
    pub(super) rules: Vec<Device>,
}

/// Reads the rules in their order; everything starts denied.
pub(super) fn devices_of(rules: &[DeviceRule]) -> Result<DeviceAccess, Error> {
    let mut access = DeviceAccess { everything: false, rules: Vec::new() };
    for rule in rules {
        let is_all =
            matches!(rule.kind.as_str(), "" | "a") && rule.major.is_none_or(|major| major < 0) && rule.minor.is_none_or(|minor| minor < 0);
        match (rule.allow, is_all) {
            (allow, true) if rule.access.is_empty() || ['r', 'w', 'm'].iter().all(|right| rule.access.contains(*right)) => {
                access = DeviceAccess { everything: allow, rules: Vec::new() };
            }
            (true, _) => access.rules.push(device(rule)?),
            // Our groups know no rule that takes away; denying what nothing has allowed is no wish at all.
            (false, _) if !access.everything && access.rules.is_empty() => {}
            (false, _) => return Err(Error::unsupported("a device rule that denies one device after others were allowed")),
        }
    }
    Ok(access)
}

fn device(rule: &DeviceRule) -> Result<Device, Error> {
    let kind = match rule.kind.as_str() {
        "" | "a" => DeviceKind::Any,
        "c" | "u" => DeviceKind::Character,
        "b" => DeviceKind::Block,
        other => return Err(Error::usage(format!("there is no device type \"{other}\""))),
    };
    let number = |value: Option<i64>| value.filter(|value| *value >= 0).map(u32::try_from).transpose();
    let (Ok(major), Ok(minor)) = (number(rule.major), number(rule.minor)) else {
        return Err(Error::usage("a device number is too large"));
    };
    let right = |letter: char| rule.access.contains(letter);
    Ok(Device { kind, major, minor, read: right('r'), write: right('w'), make: right('m') })
}

const UPDATE_FLAGS: &[Flag] = &[
    Flag::short_value("resources", 'r'),
    Flag::value("blkio-weight"),
    Flag::value("cpu-period"),
    Flag::value("cpu-quota"),
    Flag::value("cpu-share"),
    Flag::value("cpuset-cpus"),
    Flag::value("cpuset-mems"),
    Flag::value("memory"),
    Flag::value("memory-reservation"),
    Flag::value("memory-swap"),
    Flag::value("pids-limit"),
];

/// `oci update`: other limits for a container that lives.
pub(super) fn update(global: &Global, words: &[String]) -> Result<u8, Error> {
    let parsed = parse(words, UPDATE_FLAGS)?;
    let [id] = parsed.words(1, "update [flags] <container-id>")?;
    let container = Store::new(global).load(id)?;
    if container.status() == Status::Stopped {
        return Err(Error::NotRunning);
    }
    let mut wanted = match parsed.text("resources") {
        Some("-") => {
            let mut text = String::new();
            let path = Path::new("/dev/stdin");
            std::io::stdin().read_to_string(&mut text).map_err(|error| Error::file("read", path, &error))?;
            serde_json::from_str(&text).map_err(|error| Error::document(path, error.to_string()))?
        }
        Some(path) => config::read(Path::new(path))?,
        None => Resources::default(),
    };
    if parsed.text("resources").is_none() {
        wanted.block_io.weight = parsed.number("blkio-weight")?;
        wanted.cpu.period = parsed.number("cpu-period")?;
        wanted.cpu.quota = parsed.number("cpu-quota")?;
        wanted.cpu.shares = parsed.number("cpu-share")?;
        wanted.cpu.cpus = parsed.text("cpuset-cpus").unwrap_or_default().to_owned();
        wanted.cpu.mems = parsed.text("cpuset-mems").unwrap_or_default().to_owned();
        wanted.memory.limit = parsed.number("memory")?;
        wanted.memory.reservation = parsed.number("memory-reservation")?;
        wanted.memory.swap = parsed.number("memory-swap")?;
        wanted.pids.limit = parsed.number("pids-limit")?;
    }
    container.group()?.limit(&limits_of(&wanted)?)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(text: &str) -> Result<DeviceAccess, Error> {
        devices_of(&serde_json::from_str::<Vec<DeviceRule>>(text).expect("json"))
    }

    #[test]
    fn device_rules_are_read_in_order() {
        let null = Device { kind: DeviceKind::Character, major: Some(1), minor: None, read: true, write: false, make: false };
        let some = access(r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"access":"r"}]"#).expect("rules");
        assert_eq!(some, DeviceAccess { everything: false, rules: vec![null] });
        assert!(access(r#"[{"allow":true,"access":"rwm"}]"#).expect("rules").everything);
        assert!(!access(r#"[{"allow":true},{"allow":false,"type":"a"}]"#).expect("rules").everything);
        assert!(access(r#"[{"allow":true},{"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]"#).is_err());
    }

    #[test]
    fn zero_says_nothing_and_the_unknown_is_refused() {
        let limits = |text: &str| limits_of(&serde_json::from_str(text).expect("json"));
        let read = limits(r#"{"memory":{"limit":1048576,"swap":0},"pids":{"limit":-1},"cpu":{"shares":0,"cpus":"0"}}"#).expect("limits");
        let wanted = cgroup::Limits { memory: Some(1 << 20), pids: Some(-1), cpus: Some("0".into()), ..cgroup::Limits::default() };
        assert_eq!(read, wanted);
        let refusal = limits(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":1}]}"#).expect_err("refused");
        assert_eq!(refusal.to_string(), "resources.hugepageLimits is not supported yet");
    }
}
