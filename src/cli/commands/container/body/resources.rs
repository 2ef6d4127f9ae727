//! Limits and devices of `run` and `create`.

use super::*;
use shipway_model::limits::Ulimit;
use std::str::FromStr as _;

/// Limits, devices and GPUs into HostConfig.
pub(super) fn resources(host: &mut Keys, flags: &ContainerFlags) -> Outcome {
    host.bytes("Memory", "-m, --memory", flags.memory.as_ref())?;
    host.bytes("MemoryReservation", "--memory-reservation", flags.memory_reservation.as_ref())?;
    host.bytes("MemorySwap", "--memory-swap", flags.memory_swap.as_ref())?;
    host.bytes("KernelMemory", "--kernel-memory", flags.kernel_memory.as_ref())?;
    host.bytes("ShmSize", "--shm-size", flags.shm_size.as_ref())?;
    host.maybe("MemorySwappiness", flags.memory_swappiness);
    host.on("OomKillDisable", flags.oom_kill_disable);
    host.maybe("CpuShares", flags.cpu_shares);
    host.maybe("CpuPeriod", flags.cpu_period);
    host.maybe("CpuQuota", flags.cpu_quota);
    host.maybe("CpuRealtimePeriod", flags.cpu_rt_period);
    host.maybe("CpuRealtimeRuntime", flags.cpu_rt_runtime);
    host.maybe("NanoCpus", flags.cpus.map(|cpus| (cpus * 1e9).round() as i64));
    host.maybe("CpusetCpus", flags.cpuset_cpus.clone());
    host.maybe("CpusetMems", flags.cpuset_mems.clone());
    host.maybe("CgroupParent", flags.cgroup_parent.clone());
    host.maybe("PidsLimit", flags.pids_limit);
    host.maybe("BlkioWeight", flags.blkio_weight);
    let rates = [
        ("BlkioWeightDevice", "Weight", &flags.blkio_weight_device),
        ("BlkioDeviceReadBps", "Rate", &flags.device_read_bps),
        ("BlkioDeviceReadIOps", "Rate", &flags.device_read_iops),
        ("BlkioDeviceWriteBps", "Rate", &flags.device_write_bps),
        ("BlkioDeviceWriteIOps", "Rate", &flags.device_write_iops),
    ];
    for (key, field, given) in rates {
        if !given.is_empty() {
            let parsed: Outcome<Vec<Value>> = given.iter().map(|text| device_rate(text, field, key.ends_with("Bps"))).collect();
            host.put(key, parsed?);
        }
    }
    if !flags.ulimit.is_empty() {
        let mut ulimits = Vec::new();
        for text in &flags.ulimit {
            let ulimit = Ulimit::from_str(text).map_err(|error| Failure::argument(text, "--ulimit", &error))?;
            ulimits.push(json!({"Name": ulimit.name, "Soft": ulimit.soft, "Hard": ulimit.hard}));
        }
        host.put("Ulimits", ulimits);
    }
    let (described, nodes): (Vec<&String>, Vec<&String>) = flags.device.iter().partition(|text| is_cdi_name(text));
    if !nodes.is_empty() {
        let devices: Outcome<Vec<Value>> = nodes.into_iter().map(|text| device(text)).collect();
        host.put("Devices", devices?);
    }
    for rule in &flags.device_cgroup_rule {
        if !is_device_rule(rule) {
            let why = format!("invalid device cgroup format '{rule}'");
            return Err(Failure::usage(format!("invalid argument \"{rule}\" for \"--device-cgroup-rule\" flag: {why}")));
        }
    }
    host.list("DeviceCgroupRules", &flags.device_cgroup_rule);
    let mut requests = flags.gpus.as_deref().map(gpus).transpose()?.into_iter().collect::<Vec<_>>();
    if !described.is_empty() {
        requests.push(json!({"Driver": "cdi", "Count": 0, "DeviceIDs": described, "Capabilities": null, "Options": null}));
    }
    if !requests.is_empty() {
        host.put("DeviceRequests", requests);
    }
    Ok(())
}

/// `vendor.com/class=name`: a device that a specification of the host describes.
fn is_cdi_name(text: &str) -> bool {
    let plain = |text: &str, more: &str| {
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || more.contains(letter))
    };
    text.split_once('=')
        .and_then(|(kind, name)| Some((kind.split_once('/')?, name)))
        .is_some_and(|((vendor, class), name)| plain(vendor, "-_.") && plain(class, "-_") && plain(name, "-_.:"))
}

/// `TYPE MAJOR:MINOR RIGHTS`.
fn is_device_rule(text: &str) -> bool {
    let number = |text: &str| text == "*" || !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, rights] = parts[..] else { return false };
    ["a", "b", "c"].contains(&kind)
        && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
        && (1..=3).contains(&rights.len())
        && rights.chars().all(|letter| "rwm".contains(letter))
}

fn device_rate(text: &str, field: &str, in_bytes: bool) -> Outcome<Value> {
    let bad = || Failure::usage(format!("bad format for path: {text}")).hint("a device limit is written /dev/sda:VALUE");
    let (path, value) = text.split_once(':').ok_or_else(bad)?;
    let number =
        if in_bytes { human::bytes(value).map_err(|failure| failure.with_code(125))? } else { value.parse().map_err(|_| bad())? };
    Ok(json!({"Path": path, field: number}))
}

/// `src[:dst[:rwm]]`.
fn device(text: &str) -> Outcome<Value> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_mode = |part: &str| !part.is_empty() && part.len() <= 3 && part.chars().all(|letter| "rwm".contains(letter));
    let (source, target, mode) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, mode] if is_mode(mode) => (*source, *source, *mode),
        [source, target] => (*source, *target, "rwm"),
        [source, target, mode] if is_mode(mode) => (*source, *target, *mode),
        [_, _, mode] => return Err(Failure::usage(format!("bad mode specified: {mode}"))),
        _ => {
            return Err(Failure::usage(format!("invalid device specification: {text}"))
                .hint("a device is written /dev/HOST[:/dev/CONTAINER[:rwm]]"));
        }
    };
    Ok(json!({"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": mode}))
}

fn gpus(text: &str) -> Outcome<Value> {
    if text == "all" {
        return Ok(json!({"Driver": "", "Count": -1, "DeviceIDs": null, "Capabilities": [["gpu"]], "Options": {}}));
    }
    if let Ok(count) = text.parse::<i64>() {
        return Ok(json!({"Driver": "", "Count": count, "DeviceIDs": null, "Capabilities": [["gpu"]], "Options": {}}));
    }
    let mut request = json!({"Driver": "", "Count": 0, "DeviceIDs": null, "Capabilities": [["gpu"]], "Options": {}});
    for field in text.trim_matches('"').split(',') {
        match field.split_once('=') {
            Some(("device", ids)) => request["DeviceIDs"] = Value::from(ids.split(',').collect::<Vec<_>>()),
            Some(("driver", name)) => request["Driver"] = Value::from(name),
            Some(("count", "all")) => request["Count"] = Value::from(-1),
            Some(("count", count)) => {
                request["Count"] = Value::from(
                    count
                        .parse::<i64>()
                        .map_err(|_| Failure::usage(format!("invalid count ({count}): value must be either \"all\" or an integer")))?,
                );
            }
            Some(("capabilities", name)) => request["Capabilities"] = json!([["gpu", name]]),
            _ => return Err(Failure::usage(format!("invalid argument \"{text}\" for \"--gpus\" flag: unexpected '{field}'"))),
        }
    }
    Ok(request)
}
