//! Devices of the host in a container: `--device`, `--device-cgroup-rule`, `--gpus`; how much of them it may use: `--device-read-bps` and its like.
//!
//! What must stay true: a rule allows no more than was typed; what is no device is refused before anything is made.

use std::os::unix::fs::FileTypeExt;

use serde::{Deserialize, Serialize};
use shipway_runtime::{ContainerSpec, Device, DeviceKind, DeviceRule};

use super::cdi;
use super::spec::HostOptions;
use crate::{Engine, Error, Result};

/// Devices that somebody else knows how to give: names of the Container Device Interface, or so many of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// `cdi`, or empty for whoever has the capabilities.
    pub driver: String,
    /// How many; -1 for all, 0 when `ids` names them.
    pub count: i64,
    pub ids: Vec<String>,
    /// Alternatives, each a list that must hold as a whole.
    pub capabilities: Vec<Vec<String>>,
}

/// A bound on the use of one block device: `--device-read-bps` and its like, `--blkio-weight-device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// The device on the host.
    pub path: String,
    pub what: Throttled,
    /// So many a second; or the weight.
    pub rate: u64,
}

/// What of a block device is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Throttled {
    ReadBytes,
    WriteBytes,
    ReadOperations,
    WriteOperations,
    /// Its share among siblings, 10 to 1000.
    Weight,
}

/// Refuses rules that cannot be read and weights outside their range.
pub(super) fn refuse(host: &HostOptions) -> Result<()> {
    let is_weight = |throttle: &&Throttle| throttle.what == Throttled::Weight;
    if let Some(wrong) = host.throttles.iter().filter(is_weight).find(|throttle| !(10..=1000).contains(&throttle.rate)) {
        return Err(Error::invalid(format!("Range of blkio weight is from 10 to 1000, not {} as for {}", wrong.rate, wrong.path)));
    }
    host.device_rules.iter().try_for_each(|rule| parse_rule(rule).map(drop))
}

/// `TYPE MAJOR:MINOR RIGHTS`, `*` for any number.
fn parse_rule(text: &str) -> Result<DeviceRule> {
    let wrong = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let number = |text: &str| match text {
        "*" => Ok(None),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().map(Some).map_err(|_| wrong()),
        _ => Err(wrong()),
    };
    let [kind, numbers, rights] = text.split(' ').collect::<Vec<_>>()[..] else { return Err(wrong()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    if rights.is_empty() || rights.len() > 3 || !rights.chars().all(|letter| "rwm".contains(letter)) {
        return Err(wrong());
    }
    Ok(DeviceRule {
        kind: match kind {
            "a" => DeviceKind::Any,
            "b" => DeviceKind::Block,
            "c" => DeviceKind::Character,
            _ => return Err(wrong()),
        },
        major: number(major)?,
        minor: number(minor)?,
        read: rights.contains('r'),
        write: rights.contains('w'),
        make: rights.contains('m'),
    })
}

impl Engine {
    /// Adds to `spec` every device that the container was promised.
    pub(super) fn give_devices(&self, host: &HostOptions, spec: &mut ContainerSpec) -> Result<()> {
        for (host_path, container_path, permissions) in &host.devices {
            spec.devices.push(device(host_path, container_path, permissions)?);
        }
        spec.device_rules = host.device_rules.iter().map(|rule| parse_rule(rule)).collect::<Result<_>>()?;
        spec.throttles = host.throttles.iter().map(throttle).collect::<Result<_>>()?;
        if host.device_requests.is_empty() {
            return Ok(());
        }
        let known = cdi::Registry::read(&self.inner.config.cdi_spec_dirs);
        for request in &host.device_requests {
            known.give(&names_of(request, &known)?, spec)?;
        }
        Ok(())
    }
}

fn throttle(asked: &Throttle) -> Result<shipway_runtime::Throttle> {
    let Throttle { path, what, rate } = asked;
    let found = rustix::fs::stat(path.as_str()).map_err(|errno| {
        let text = std::io::Error::from(errno).to_string().to_lowercase();
        Error::invalid(format!("stat {path}: {}", text.split(" (os error").next().unwrap_or_default()))
    })?;
    let what = match what {
        Throttled::ReadBytes => shipway_runtime::Throttled::ReadBytes,
        Throttled::WriteBytes => shipway_runtime::Throttled::WriteBytes,
        Throttled::ReadOperations => shipway_runtime::Throttled::ReadOperations,
        Throttled::WriteOperations => shipway_runtime::Throttled::WriteOperations,
        Throttled::Weight => shipway_runtime::Throttled::Weight,
    };
    Ok(shipway_runtime::Throttle { device: (rustix::fs::major(found.st_rdev), rustix::fs::minor(found.st_rdev)), what, rate: *rate })
}

fn device(host_path: &str, container_path: &str, permissions: &str) -> Result<Device> {
    let refused =
        |why: &str| Error::invalid(format!("error gathering device information while adding custom device \"{host_path}\": {why}"));
    let Ok(found) = std::fs::metadata(host_path) else { return Err(refused("no such file or directory")) };
    let kind = found.file_type();
    if !kind.is_dir() && !kind.is_char_device() && !kind.is_block_device() {
        return Err(refused("not a device node"));
    }
    Ok(Device {
        host_path: host_path.into(),
        container_path: if container_path.is_empty() { host_path } else { container_path }.to_owned(),
        permissions: if permissions.is_empty() { "rwm" } else { permissions }.to_owned(),
    })
}

/// The CDI names that a request means.
fn names_of(request: &DeviceRequest, known: &cdi::Registry) -> Result<Vec<String>> {
    let shown: Vec<String> = request.capabilities.iter().map(|all| format!("[{}]", all.join(" "))).collect();
    let nobody = || Error::InvalidWithHint {
        reason: format!("could not select device driver {:?} with capabilities: [{}]", request.driver, shown.join(" ")),
        hint: "GPUs are found by CDI specifications in /etc/cdi and /var/run/cdi".to_owned(),
    };
    if request.driver == "cdi" {
        return Ok(request.ids.clone());
    }
    let wants_gpu = request.capabilities.iter().any(|all| all.iter().any(|name| name == "gpu"));
    let vendor = match request.driver.as_str() {
        "" => ["nvidia.com/gpu", "amd.com/gpu"].into_iter().find(|kind| known.has_kind(kind)),
        "nvidia" => Some("nvidia.com/gpu").filter(|kind| known.has_kind(kind)),
        _ => None,
    };
    let Some(kind) = vendor.filter(|_| wants_gpu) else { return Err(nobody()) };
    if !request.ids.is_empty() {
        return Ok(request.ids.iter().map(|id| format!("{kind}={id}")).collect());
    }
    let all = known.names(kind);
    match usize::try_from(request.count) {
        Err(_) => Ok(if all.iter().any(|name| name.ends_with("=all")) { vec![format!("{kind}=all")] } else { all }),
        Ok(count) => {
            let single: Vec<String> = all.into_iter().filter(|name| !name.ends_with("=all")).take(count).collect();
            if single.len() < count { Err(nobody()) } else { Ok(single) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_typed() {
        let rule = parse_rule("c 1:* rm").unwrap();
        assert_eq!((rule.kind, rule.major, rule.minor), (DeviceKind::Character, Some(1), None));
        assert_eq!((rule.read, rule.write, rule.make), (true, false, true));
        assert_eq!(parse_rule("a *:* rwm").unwrap(), DeviceRule::all());
        for wrong in ["", "odd", "c 1:q r", "c 1 r", "x 1:1 r", "c 1:1 x", "c 1:1 ", "c 1:1 rwmr", "c +1:1 r", "c 1:1 r\n"] {
            assert_eq!(parse_rule(wrong).unwrap_err().to_string(), format!("invalid device cgroup rule format: '{wrong}'"));
        }
    }

    #[test]
    fn what_is_no_device_is_refused() {
        assert!(device("/dev/null", "", "").is_ok());
        let said = |path: &str| device(path, "/x", "rwm").unwrap_err().to_string();
        assert!(said("/dev/nosuch").ends_with("\"/dev/nosuch\": no such file or directory"));
        assert!(said("/etc/passwd").ends_with("\"/etc/passwd\": not a device node"));
    }
}
