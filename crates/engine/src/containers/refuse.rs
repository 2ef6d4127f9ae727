//! What creation refuses, before anything is made: contradictions, values outside their range, and options of later issues.
//!
//! The words are dockerd's where it has some: people search for them. Everything is judged from values; only the machine's
//! processors and memory nodes are looked at.

use std::collections::BTreeSet;

use shipway_model::Limits;
use shipway_network::files;

use super::spec::{CreateSpec, HostOptions, RestartPolicy};
use crate::{Error, Result};

/// dockerd's smallest memory limit: below it no program gets as far as its first line.
const LEAST_MEMORY: u64 = 6 << 20;
/// Nanoseconds below which a health check's times are refused.
const LEAST_HEALTH_TIME: i64 = 1_000_000;

/// Refuses what cannot be made of `spec`.
///
/// # Errors
/// `Invalid`, or `NotSupportedYet` for what a later version will do.
pub(super) fn refuse(spec: &CreateSpec) -> Result<()> {
    runtime(spec)?;
    process(spec)?;
    health(spec)?;
    super::logging::refuse(&spec.host.log)?;
    super::modes::refuse(spec)?;
    super::devices::refuse(&spec.host)?;
    mounts(&spec.host)?;
    names(spec)?;
    limits(&spec.host.limits)?;
    super::spec::capabilities_of(&spec.host)?;
    Ok(())
}

fn runtime(spec: &CreateSpec) -> Result<()> {
    let host = &spec.host;
    if !host.runtime.is_empty() && !matches!(host.runtime.as_str(), "shipway" | "runc" | "io.containerd.runc.v2") {
        return Err(Error::invalid(format!("unknown or invalid runtime name: {}", host.runtime)));
    }
    Ok(())
}

fn process(spec: &CreateSpec) -> Result<()> {
    if let Some(dir) = spec.working_dir.as_deref().filter(|dir| !dir.is_empty() && !dir.starts_with('/')) {
        return Err(Error::invalid(format!("the working directory '{dir}' is invalid, it needs to be an absolute path")));
    }
    if let Some(bad) = spec.env.iter().find(|entry| entry.is_empty() || entry.starts_with('=')) {
        return Err(Error::invalid(format!("invalid environment variable: {bad}")));
    }
    if spec.host.auto_remove && spec.host.restart != RestartPolicy::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    if spec.host.uts_mode == "host" && spec.hostname.as_ref().is_some_and(|name| !name.is_empty()) {
        return Err(Error::invalid("conflicting options: hostname and the UTS mode"));
    }
    Ok(())
}

fn health(spec: &CreateSpec) -> Result<()> {
    let Some(check) = &spec.healthcheck else { return Ok(()) };
    for (what, time) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if time != 0 && time < LEAST_HEALTH_TIME {
            return Err(Error::invalid(format!("{what} in Healthcheck cannot be less than 1ms")));
        }
    }
    if check.retries < 0 {
        return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

fn mounts(host: &HostOptions) -> Result<()> {
    let mut targets = BTreeSet::new();
    match host.mounts.iter().find(|mount| !targets.insert(mount.target.as_str())) {
        Some(twice) => Err(Error::invalid(format!("Duplicate mount point: {}", twice.target))),
        None => Ok(()),
    }
}

/// Everything that will stand in /etc/hosts or /etc/resolv.conf (S-218).
fn names(spec: &CreateSpec) -> Result<()> {
    let host = &spec.host;
    for text in &host.dns {
        super::files::server(text)?;
    }
    host.dns_search.iter().filter(|domain| *domain != ".").try_for_each(|domain| files::check_search(domain))?;
    host.dns_options.iter().try_for_each(|option| files::check_option(option))?;
    for line in &host.extra_hosts {
        line.parse::<files::ExtraHost>()?;
    }
    let names = [("hostname", &spec.hostname), ("domain name", &spec.domainname)];
    for (what, name) in names.into_iter().filter_map(|(what, name)| Some((what, name.as_deref().filter(|name| !name.is_empty())?))) {
        files::check_name(what, name)?;
    }
    host.links.iter().try_for_each(|text| crate::networks::check_link(text))
}

pub(crate) fn limits(limits: &Limits) -> Result<()> {
    let refuse = |reason: &str| Err(Error::invalid(reason));
    let memory = limits.memory.unwrap_or(0);
    let (swap, reservation) = (limits.memory_swap.unwrap_or(0), limits.memory_reservation.unwrap_or(0));
    if memory != 0 && memory < LEAST_MEMORY {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    if memory != 0 && swap > 0 && swap.unsigned_abs() < memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if memory == 0 && swap > 0 {
        return refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if reservation != 0 && reservation < LEAST_MEMORY {
        return refuse("Minimum memory reservation allowed is 6MB");
    }
    if memory != 0 && memory < reservation {
        return refuse("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    processors(limits)?;
    realtime(limits, super::kernel::has_realtime())?;
    if limits.blkio_weight.is_some_and(|weight| !(10..=1000).contains(&weight)) {
        return refuse("Range of blkio weight is from 10 to 1000");
    }
    Ok(())
}

/// Time of real-time processes; the words are dockerd's.
fn realtime(limits: &Limits, has_realtime: bool) -> Result<()> {
    let (period, runtime) = (limits.cpu_realtime_period, limits.cpu_realtime_runtime);
    if (period.is_some() || runtime.is_some()) && !has_realtime {
        return Err(Error::invalid("kernel does not support CPU real-time scheduler"));
    }
    if let (Some(period), Some(runtime)) = (period, runtime)
        && runtime > 0
        && runtime.unsigned_abs() > period
    {
        return Err(Error::invalid("cpu real-time runtime cannot be higher than cpu real-time period"));
    }
    Ok(())
}

fn processors(limits: &Limits) -> Result<()> {
    let refuse = |reason: String| Err(Error::invalid(reason));
    if limits.nano_cpus.is_some() && limits.cpu_period.is_some() {
        return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set.".to_owned());
    }
    if limits.nano_cpus.is_some() && limits.cpu_quota.is_some() {
        return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set.".to_owned());
    }
    let count = online("cpu").last().map_or(1, |last| last + 1);
    if limits.nano_cpus.is_some_and(|wanted| wanted > u64::from(count) * 1_000_000_000) {
        return refuse(format!("range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"));
    }
    if limits.cpu_period.is_some_and(|period| !(1000..=1_000_000).contains(&period)) {
        return refuse("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".to_owned());
    }
    if limits.cpu_quota.is_some_and(|quota| quota > 0 && quota < 1000) {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)".to_owned());
    }
    for (set, what, kind, noun) in
        [(&limits.cpuset_cpus, "cpuset cpus", "cpu", "CPUs"), (&limits.cpuset_mems, "cpuset mems", "node", "memory nodes")]
    {
        let Some(set) = set else { continue };
        let Some(wanted) = parse_set(set) else {
            return refuse(format!("Invalid value {set} for {what}: invalid format: {set}"));
        };
        let available = online(kind);
        if !wanted.is_subset(&available) {
            let shown = std::fs::read_to_string(format!("/sys/devices/system/{kind}/online")).unwrap_or_default();
            return refuse(format!("Requested {noun} are not available - requested {set}, available: {}", shown.trim()));
        }
    }
    Ok(())
}

/// Processors or memory nodes that are on. One number at least: the machine runs.
fn online(kind: &str) -> BTreeSet<u32> {
    let text = std::fs::read_to_string(format!("/sys/devices/system/{kind}/online")).unwrap_or_default();
    parse_set(text.trim()).unwrap_or_else(|| BTreeSet::from([0]))
}

/// Reads "0-2,7"; `None` for anything else, and for numbers no machine has: a range is never walked further than that (S-123).
fn parse_set(text: &str) -> Option<BTreeSet<u32>> {
    /// The kernel's largest NR_CPUS, and twice more.
    const MOST: u32 = 1 << 14;
    let mut set = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        if first > last || last > MOST {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl Fn(&mut Limits), expected: Option<&str>) {
        let mut asked = Limits::default();
        change(&mut asked);
        let said = limits(&asked).err().map(|error| error.to_string());
        assert_eq!(said.as_deref(), expected, "{asked:?}");
    }

    #[test]
    fn limits_are_refused_in_dockerds_words() {
        check(|limits| limits.memory = Some(64 << 20), None);
        check(|limits| limits.memory = Some(1 << 20), Some("Minimum memory limit allowed is 6MB"));
        let swap = |memory: Option<u64>, swap: i64| move |limits: &mut Limits| (limits.memory, limits.memory_swap) = (memory, Some(swap));
        check(swap(Some(64 << 20), -1), None);
        check(swap(Some(64 << 20), 32 << 20), Some("Minimum memoryswap limit should be larger than memory limit, see usage"));
        check(swap(None, 32 << 20), Some("You should always set the Memory limit when using Memoryswap limit, see usage"));
        check(|limits| limits.cpuset_cpus = Some("0".to_owned()), None);
        check(|limits| limits.cpuset_cpus = Some("x".to_owned()), Some("Invalid value x for cpuset cpus: invalid format: x"));
        check(|limits| limits.cpu_quota = Some(10), Some("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }

    #[test]
    fn time_of_real_time_processes_is_part_of_a_period() {
        let times = |period, runtime| Limits { cpu_realtime_period: period, cpu_realtime_runtime: runtime, ..Limits::default() };
        let said = |limits: &Limits, has| realtime(limits, has).err().map(|error| error.to_string());
        assert_eq!(said(&times(None, None), false), None);
        assert_eq!(said(&times(Some(1000), None), false).as_deref(), Some("kernel does not support CPU real-time scheduler"));
        assert_eq!(said(&times(Some(1000), Some(-1)), true), None);
        let words = "cpu real-time runtime cannot be higher than cpu real-time period";
        assert_eq!(said(&times(Some(10), Some(20)), true).as_deref(), Some(words));
    }

    #[test]
    fn sets_are_bounded() {
        assert_eq!(parse_set("0-2,7"), Some(BTreeSet::from([0, 1, 2, 7])));
        for bad in ["", "x", "2-1", "0-4294967295", "1,,2", "-1", "0-99999999999999999999"] {
            assert_eq!(parse_set(bad), None, "{bad}");
        }
    }
}
