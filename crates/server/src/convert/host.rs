//! Docker's `HostConfig`, into the engine's `HostOptions`.

use std::net::IpAddr;

use shipway_engine::containers::{
    DeviceRequest, HostOptions, LogSpec, NetworkMode, RestartPolicy, SeccompOption, SecurityOptions, Throttle, Throttled, UpdateSpec,
};
use shipway_engine::networks::EndpointWish;
use shipway_model::mount::{clean_target, parse_tmpfs_flag, parse_volume_flag};
use shipway_model::{Limits, MountError, MountKind, MountSpec, Port, PortBinding, Propagation, ReadOnlyReach, Signal, Ulimit};
use shipway_wire::containers::{HostConfig, Mount, NetworkingConfig, PortMap, ThrottleDevice, UlimitSpec, UpdateBody};

use super::network;
use crate::error::ApiError;

/// What the host gives and withholds.
///
/// `mac_address` is the one that clients up to API 1.43 put beside the networks.
pub(crate) fn options(config: &HostConfig, networking: &NetworkingConfig, mac_address: &str) -> Result<HostOptions, ApiError> {
    super::ignored::refuse(config)?;
    let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    Ok(HostOptions {
        mounts: mounts(config)?,
        volume_driver: config.volume_driver.clone(),
        network: mode(config, networking),
        endpoints: endpoints(config, networking, mac_address)?,
        publish: config.port_bindings.as_ref().map(publish).transpose()?.unwrap_or_default(),
        publish_all: config.publish_all_ports,
        auto_remove: config.auto_remove,
        read_only_root: config.readonly_rootfs,
        privileged: config.privileged,
        cap_add: words(&config.cap_add),
        cap_drop: words(&config.cap_drop),
        security: security(config)?,
        limits: limits(config)?,
        ulimits: ulimits(config.ulimits.as_deref().unwrap_or_default())?,
        init: config.init,
        extra_hosts: words(&config.extra_hosts),
        dns: words(&config.dns),
        dns_options: words(&config.dns_options),
        dns_search: words(&config.dns_search),
        shm_size: positive(config.shm_size, "SHM size")?,
        sysctls: config.sysctls.clone().unwrap_or_default(),
        devices: config
            .devices
            .iter()
            .flatten()
            .map(|device| (device.path_on_host.clone(), device.path_in_container.clone(), device.cgroup_permissions.clone()))
            .collect(),
        device_rules: words(&config.device_cgroup_rules),
        throttles: throttles(config),
        device_requests: config
            .device_requests
            .iter()
            .flatten()
            .map(|request| DeviceRequest {
                driver: request.driver.clone(),
                count: request.count,
                ids: words(&request.device_ids),
                capabilities: request.capabilities.clone().unwrap_or_default(),
            })
            .collect(),
        group_add: words(&config.group_add),
        pid_mode: config.pid_mode.clone(),
        ipc_mode: config.ipc_mode.clone(),
        uts_mode: config.uts_mode.clone(),
        cgroupns_mode: config.cgroupns_mode.clone(),
        userns_mode: config.userns_mode.clone(),
        restart: restart(config)?,
        log: log(config),
        oom_score_adj: (config.oom_score_adj != 0)
            .then(|| i32::try_from(config.oom_score_adj).ok().filter(|score| (-1000..=1000).contains(score)))
            .map(|score| {
                score.ok_or_else(|| {
                    ApiError::invalid(format!("Invalid value {}, range for oom score adj is [-1000, 1000]", config.oom_score_adj))
                })
            })
            .transpose()?,
        cgroup_parent: Some(config.cgroup_parent.clone()).filter(|parent| !parent.is_empty()),
        masked_paths: config.masked_paths.clone(),
        readonly_paths: config.readonly_paths.clone(),
        runtime: config.runtime.clone(),
        volumes_from: words(&config.volumes_from),
        links: words(&config.links),
    })
}

/// Binds first, then the long form, then tmpfs, as dockerd registers them.
fn mounts(config: &HostConfig) -> Result<Vec<MountSpec>, ApiError> {
    let mut mounts = Vec::new();
    for text in config.binds.iter().flatten() {
        mounts.push(parse_volume_flag(text).map_err(|error| in_specification(text, &error))?);
    }
    for mount in config.mounts.iter().flatten() {
        mounts.push(long_form(mount)?);
    }
    for (target, options) in config.tmpfs.iter().flatten() {
        let text = if options.is_empty() { target.clone() } else { format!("{target}:{options}") };
        mounts.push(parse_tmpfs_flag(&text)?);
    }
    Ok(mounts)
}

/// dockerd says where in a `-v` the mistake is.
fn in_specification(text: &str, error: &MountError) -> ApiError {
    let kind = if text.starts_with('/') { "bind" } else { "volume" };
    let told = match error {
        MountError::VolumeName { name } | MountError::ShortVolumeName { name } => format!("create {name}: {error}"),
        MountError::RelativeTarget { .. } | MountError::RootTarget | MountError::VolumePropagation => {
            format!("invalid volume specification: '{text}': invalid mount config for type \"{kind}\": {error}")
        }
        other => other.to_string(),
    };
    ApiError { hint: shipway_model::Classified::hint(error), ..ApiError::invalid(told) }
}

fn long_form(mount: &Mount) -> Result<MountSpec, ApiError> {
    let kind = match mount.kind.as_str() {
        "bind" => MountKind::Bind,
        "volume" => MountKind::Volume,
        "tmpfs" => MountKind::Tmpfs,
        "image" => MountKind::Image,
        other => return Err(ApiError::invalid(format!("invalid mount config for type {other:?}: mount type unknown"))),
    };
    if mount.target.is_empty() {
        return Err(ApiError::invalid(format!("invalid mount config for type {:?}: field Target must not be empty", mount.kind)));
    }
    if kind == MountKind::Bind && mount.source.is_empty() {
        return Err(ApiError::invalid("invalid mount config for type \"bind\": field Source must not be empty"));
    }
    let mut spec = MountSpec::new(kind, Some(mount.source.clone()).filter(|source| !source.is_empty()), clean_target(&mount.target)?);
    // An image is never written through a mount.
    spec.read_only = mount.read_only || kind == MountKind::Image;
    refuse_foreign_options(mount, kind)?;
    if let Some(bind) = &mount.bind_options {
        spec.idmap = Some(bind.id_map.as_str()).filter(|text| !text.is_empty()).map(str::parse).transpose()?;
        spec.create_source = bind.create_mountpoint;
        spec.recursive = !bind.non_recursive;
        if !bind.propagation.is_empty() {
            spec.propagation = bind.propagation.parse::<Propagation>().map_err(|error| ApiError {
                hint: shipway_model::Classified::hint(&error),
                ..ApiError::invalid(format!("invalid mount config for type \"bind\": invalid propagation mode: {}", bind.propagation))
            })?;
        }
        spec.read_only_reach = match (bind.read_only_non_recursive, bind.read_only_force_recursive) {
            (true, _) => ReadOnlyReach::TopOnly,
            (_, true) => ReadOnlyReach::Everything,
            _ => ReadOnlyReach::BestEffort,
        };
        if spec.read_only_reach == ReadOnlyReach::Everything {
            for (fine, needed) in [
                (spec.read_only, "ReadOnlyForceRecursive needs ReadOnly"),
                (spec.propagation == Propagation::RecursivePrivate, "ReadOnlyForceRecursive needs the propagation rprivate"),
                (!bind.read_only_non_recursive, "mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive"),
            ] {
                if !fine {
                    return Err(ApiError::invalid(format!("invalid mount config for type \"bind\": {needed}")));
                }
            }
        }
    }
    if let Some(volume) = &mount.volume_options {
        spec.volume_no_copy = volume.no_copy;
        spec.volume_labels = volume.labels.clone().unwrap_or_default();
        spec.volume_subpath = Some(volume.subpath.clone()).filter(|path| !path.is_empty());
        if let Some(driver) = &volume.driver_config {
            spec.volume_driver = Some(driver.name.clone()).filter(|name| !name.is_empty());
            spec.volume_driver_options = driver.options.clone().unwrap_or_default();
        }
    }
    if let Some(image) = &mount.image_options {
        spec.image_subpath = Some(image.subpath.clone()).filter(|path| !path.is_empty());
    }
    if let Some(tmpfs) = &mount.tmpfs_options {
        spec.tmpfs_size = positive(tmpfs.size_bytes, "tmpfs size")?;
        spec.tmpfs_mode = u32::try_from(tmpfs.mode).ok().filter(|mode| *mode != 0);
        spec.tmpfs_options = tmpfs.options.iter().flatten().map(|pair| pair.join("=")).collect();
    }
    Ok(spec)
}

/// Options of one kind of mount mean nothing to another.
fn refuse_foreign_options(mount: &Mount, kind: MountKind) -> Result<(), ApiError> {
    let given = [
        (mount.bind_options.is_some(), MountKind::Bind, "BindOptions"),
        (mount.volume_options.is_some(), MountKind::Volume, "VolumeOptions"),
        (mount.image_options.is_some(), MountKind::Image, "ImageOptions"),
        (mount.tmpfs_options.is_some(), MountKind::Tmpfs, "TmpfsOptions"),
    ];
    match given.into_iter().find(|(given, owner, _)| *given && *owner != kind) {
        Some((_, _, field)) => {
            Err(ApiError::invalid(format!("invalid mount config for type \"{kind}\": field {field} must not be specified")))
        }
        None if kind == MountKind::Tmpfs && !mount.source.is_empty() => {
            Err(ApiError::invalid("invalid mount config for type \"tmpfs\": field Source must not be specified"))
        }
        None if kind == MountKind::Image && mount.source.is_empty() => {
            Err(ApiError::invalid("invalid mount config for type \"image\": field Source must not be empty"))
        }
        None => Ok(()),
    }
}

/// The network by mode; a network of the networking half counts when the mode leaves it open.
fn mode(config: &HostConfig, networking: &NetworkingConfig) -> NetworkMode {
    match config.network_mode.as_str() {
        "" | "default" => match networking.endpoints_config.iter().flatten().map(|(name, _)| name).next() {
            Some(name) if name != "bridge" && name != "default" => NetworkMode::Named(name.clone()),
            _ => NetworkMode::Default,
        },
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        text => match text.strip_prefix("container:") {
            Some(container) => NetworkMode::Container(container.to_owned()),
            None => NetworkMode::Named(text.to_owned()),
        },
    }
}

/// The wishes about networks; what older clients said beside them belongs to that of the mode.
fn endpoints(config: &HostConfig, networking: &NetworkingConfig, mac_address: &str) -> Result<Vec<EndpointWish>, ApiError> {
    let given = networking.endpoints_config.iter().flatten();
    let mut wishes = given.map(|(name, settings)| network::wish(name, settings.as_ref())).collect::<Result<Vec<_>, _>>()?;
    if !mac_address.is_empty() && !config.network_mode.starts_with("container:") {
        let mac = network::mac(mac_address)?;
        let main = match config.network_mode.as_str() {
            "" => "default",
            mode => mode,
        };
        let known = wishes.iter().position(|wish| wish.network == main);
        // A client that leaves the mode open and names one network means that one.
        match known.or_else(|| (wishes.len() == 1 && main == "default").then_some(0)) {
            Some(at) => wishes[at].mac = wishes[at].mac.or(Some(mac)),
            None => wishes.push(EndpointWish { network: main.to_owned(), mac: Some(mac), ..EndpointWish::default() }),
        }
    }
    Ok(wishes)
}

fn publish(map: &PortMap) -> Result<Vec<PortBinding>, ApiError> {
    let mut bindings = Vec::new();
    for (text, wanted) in map {
        let container: Port = text.parse()?;
        for binding in wanted.iter().flatten() {
            let host_ip = match binding.host_ip.as_str() {
                "" => None,
                text => Some(text.parse::<IpAddr>().map_err(|_| ApiError::invalid(format!("invalid IP address: {text}")))?),
            };
            let wrong = || ApiError::invalid(format!("invalid port specification: {:?}", binding.host_port));
            let port = |text: &str| text.parse::<u16>().map_err(|_| wrong());
            let (host_port, host_port_last) = match binding.host_port.split_once('-') {
                Some((first, last)) => (Some(port(first)?), Some(port(last)?)),
                None if binding.host_port.is_empty() => (None, None),
                None => (Some(port(&binding.host_port)?).filter(|port| *port != 0), None),
            };
            if host_port_last.is_some() && host_port_last < host_port {
                return Err(wrong());
            }
            bindings.push(PortBinding { host_ip, host_port, host_port_last, container });
        }
    }
    Ok(bindings)
}

/// The values of `--security-opt`; `apparmor=` and `label=` speak of systems that are not in this kernel and change nothing.
fn security(config: &HostConfig) -> Result<SecurityOptions, ApiError> {
    let mut security = SecurityOptions {
        // The docker client turns systempaths=unconfined into two empty lists.
        unconfined_paths: config.masked_paths.as_ref().is_some_and(Vec::is_empty)
            && config.readonly_paths.as_ref().is_some_and(Vec::is_empty),
        ..SecurityOptions::default()
    };
    for text in config.security_opt.iter().flatten() {
        let (key, value) = text.split_once('=').or_else(|| text.split_once(':')).unwrap_or((text, ""));
        match (key, value) {
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("seccomp", "unconfined") => security.seccomp = SeccompOption::Unconfined,
            ("seccomp", "builtin" | "") => security.seccomp = SeccompOption::Default,
            ("seccomp", profile) => security.seccomp = SeccompOption::Profile(profile.to_owned()),
            ("systempaths", "unconfined") => security.unconfined_paths = true,
            ("writable-cgroups", value) => security.writable_cgroups = value == "true",
            ("apparmor" | "label", _) => {}
            _ => return Err(ApiError::invalid(format!("invalid --security-opt 2: {text:?}"))),
        }
    }
    Ok(security)
}

fn too_few_cpus() -> ApiError {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    ApiError::invalid(format!("Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"))
}

fn limits(config: &HostConfig) -> Result<Limits, ApiError> {
    Ok(Limits {
        memory: positive(config.memory, "memory limit")?,
        memory_swap: (config.memory_swap != 0).then_some(config.memory_swap),
        memory_reservation: positive(config.memory_reservation, "memory reservation")?,
        memory_swappiness: match config.memory_swappiness {
            None | Some(-1) => None,
            Some(value) => Some(
                u8::try_from(value)
                    .ok()
                    .filter(|value| *value <= 100)
                    .ok_or_else(|| ApiError::invalid(format!("Invalid value: {value}, valid memory swappiness range is 0-100")))?,
            ),
        },
        nano_cpus: positive(config.nano_cpus, "CPU count").map_err(|_| too_few_cpus())?,
        cpu_shares: positive(config.cpu_shares, "CPU shares")?,
        cpu_period: positive(config.cpu_period, "CPU cfs period")?,
        cpu_quota: (config.cpu_quota != 0).then_some(config.cpu_quota),
        cpuset_cpus: Some(config.cpuset_cpus.clone()).filter(|set| !set.is_empty()),
        cpuset_mems: Some(config.cpuset_mems.clone()).filter(|set| !set.is_empty()),
        pids: config.pids_limit.filter(|limit| *limit != 0),
        blkio_weight: (config.blkio_weight != 0).then_some(config.blkio_weight),
        cpu_realtime_period: positive(config.cpu_realtime_period, "CPU real-time period")?,
        cpu_realtime_runtime: (config.cpu_realtime_runtime != 0).then_some(config.cpu_realtime_runtime),
        oom_kill_disable: config.oom_kill_disable.filter(|disable| *disable),
    })
}

/// Bounds on the use of block devices.
fn throttles(config: &HostConfig) -> Vec<Throttle> {
    let lists = [
        (Throttled::ReadBytes, &config.blkio_device_read_bps),
        (Throttled::WriteBytes, &config.blkio_device_write_bps),
        (Throttled::ReadOperations, &config.blkio_device_read_iops),
        (Throttled::WriteOperations, &config.blkio_device_write_iops),
    ];
    let bound = |what: Throttled| move |device: &ThrottleDevice| Throttle { path: device.path.clone(), what, rate: device.rate };
    let weights = config.blkio_weight_device.iter().flatten();
    let weights = weights.map(|device| Throttle { path: device.path.clone(), what: Throttled::Weight, rate: device.weight.into() });
    lists.into_iter().flat_map(|(what, list)| list.iter().flatten().map(bound(what))).chain(weights).collect()
}

/// Zero is "not limited"; negative numbers mean nothing.
pub(crate) fn positive(value: i64, what: &str) -> Result<Option<u64>, ApiError> {
    match u64::try_from(value) {
        Ok(0) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(ApiError::invalid(format!("invalid {what}: {value} is negative"))),
    }
}

pub(crate) fn ulimits(limits: &[UlimitSpec]) -> Result<Vec<Ulimit>, ApiError> {
    limits.iter().map(|limit| Ok(Ulimit::new(&limit.name, limit.soft, limit.hard)?)).collect()
}

/// The body of an update, read by the rules of creation; zero and empty mean "as it is".
pub(crate) fn update(body: &UpdateBody) -> Result<UpdateSpec, ApiError> {
    let config = body.as_host_config();
    let restart = (!config.restart_policy.name.is_empty()).then(|| restart(&config)).transpose()?;
    let mut limits = limits(&config)?;
    if config.pids_limit == Some(0) {
        // At creation clients send a zero for "not said"; here they say nothing, and zero is "as many as it likes".
        limits.pids = Some(-1);
    }
    Ok(UpdateSpec { limits, restart })
}

fn restart(config: &HostConfig) -> Result<RestartPolicy, ApiError> {
    let policy = &config.restart_policy;
    let retries = u32::try_from(policy.maximum_retry_count)
        .map_err(|_| ApiError::invalid("invalid restart policy: maximum retry count cannot be negative"))?;
    if retries > 0 && !matches!(policy.name.as_str(), "on-failure") {
        return Err(ApiError::invalid(format!(
            "invalid restart policy: maximum retry count cannot be used with restart policy '{}'",
            policy.name
        )));
    }
    match policy.name.as_str() {
        "" | "no" => Ok(RestartPolicy::No),
        "always" => Ok(RestartPolicy::Always),
        "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
        "on-failure" => Ok(RestartPolicy::OnFailure(retries)),
        other => Err(ApiError::invalid(format!("invalid restart policy '{other}'"))),
    }
}

fn log(config: &HostConfig) -> LogSpec {
    let driver = config.log_config.driver.clone();
    LogSpec { driver, options: config.log_config.config.clone().unwrap_or_default() }
}

/// A signal in any of the forms people type, with Docker's words when it is none.
pub(crate) fn signal(text: &str) -> Result<Signal, ApiError> {
    text.parse::<Signal>().map_err(|error| {
        let hint = shipway_model::Classified::hint(&error);
        ApiError { hint, ..ApiError::invalid(format!("Invalid signal: {text}")) }
    })
}
