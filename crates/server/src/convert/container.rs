//! Containers as the engine sees them, into what inspect and list answer.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Map;
use shipway_engine::Engine;
use shipway_engine::containers::{
    ContainerMount, ContainerRecord, ContainerState, ContainerView, HealthStatus, HostOptions, NetworkMode, RestartPolicy, Throttled,
};
use shipway_engine::networks::{AttachedEndpoint, EndpointRecord};
use shipway_engine::values;
use shipway_model::{ContainerId, MountForm, MountKind, Port, Timestamp};
use shipway_wire::containers::{
    ContainerConfig, ContainerInspect, ContainerState as WireState, ContainerSummary, EndpointSettings, GraphDriver, Health, HealthLog,
    HealthcheckConfig, HostConfig, LogConfig, MountPoint, NetworkSettings, PortBinding, PortMap, PortSummary,
    RestartPolicy as WireRestartPolicy, StringOrList, SummaryHostConfig, SummaryNetworkSettings,
};
use shipway_wire::{ApiVersion, lenient};

use super::{network, signed, system};

/// Everything about a container.
pub(crate) fn inspect(engine: &Engine, view: &ContainerView, version: ApiVersion) -> ContainerInspect {
    let record = &view.record;
    let mut args = record.process.args().into_iter();
    let path = |path: &std::path::Path| path.display().to_string();
    ContainerInspect {
        id: record.id.to_string(),
        created: record.created.to_rfc3339_nano(),
        path: args.next().unwrap_or_default(),
        args: args.collect(),
        state: state(view),
        image: record.image.to_string(),
        resolv_conf_path: path(&view.resolv_conf_path),
        hostname_path: path(&view.hostname_path),
        hosts_path: path(&view.hosts_path),
        log_path: view.log_path.as_deref().map(path).unwrap_or_default(),
        name: format!("/{}", record.name),
        restart_count: i64::from(record.restart_count),
        driver: system::DRIVER.to_owned(),
        platform: "linux".to_owned(),
        exec_ids: (!view.exec_ids.is_empty()).then(|| view.exec_ids.iter().map(ToString::to_string).collect()),
        host_config: host_config(record),
        graph_driver: GraphDriver { details: None, name: system::DRIVER.to_owned() },
        size_rw: view.size.map(|size| signed(size.writable)),
        size_root_fs: view.size.map(|size| signed(size.root)),
        mounts: mount_points(engine, record),
        config: config(record),
        network_settings: network_settings(record, version),
        ..ContainerInspect::default()
    }
}

/// One line of list.
pub(crate) fn summary(
    engine: &Engine,
    view: &ContainerView,
    by_links: &BTreeMap<ContainerId, Vec<String>>,
    now: Timestamp,
    version: ApiVersion,
) -> ContainerSummary {
    let record = &view.record;
    let own = format!("/{}", record.name);
    let mut host = echoed_host(record);
    show_joined(&mut host, &record.spec.host);
    let network_mode = if host.network_mode.is_empty() { "default".to_owned() } else { host.network_mode };
    ContainerSummary {
        id: record.id.to_string(),
        names: std::iter::once(own).chain(by_links.get(&record.id).into_iter().flatten().cloned()).collect(),
        image: view.image_name.clone(),
        image_id: record.image.to_string(),
        command: command(&record.process.args()),
        created: record.created.unix_seconds(),
        ports: port_summaries(record),
        size_rw: view.size.map_or(0, |size| signed(size.writable)),
        size_root_fs: view.size.map_or(0, |size| signed(size.root)),
        labels: record.process.labels.clone(),
        state: record.state.word().to_owned(),
        status: status(&record.state, record.health.as_ref().map(|health| health.status), now),
        host_config: SummaryHostConfig { network_mode, annotations: None },
        network_settings: Some(SummaryNetworkSettings { networks: networks(record, version) }),
        mounts: mount_points(engine, record),
    }
}

/// The argument vector in one line, words with spaces in quotes, as dockerd joins it.
fn command(args: &[String]) -> String {
    let mut words = args.iter();
    let mut line = words.next().cloned().unwrap_or_default();
    for word in words {
        line.push(' ');
        if word.contains(' ') {
            line.push_str(&format!("'{word}'"));
        } else {
            line.push_str(word);
        }
    }
    line
}

/// The sentence of `docker ps`.
fn status(state: &ContainerState, health: Option<HealthStatus>, now: Timestamp) -> String {
    let since = |moment: &Timestamp| shipway_model::duration::human_duration(now.since(*moment));
    match state {
        ContainerState::Created { .. } => "Created".to_owned(),
        ContainerState::Running { started, .. } => match health {
            None => format!("Up {}", since(started)),
            Some(HealthStatus::Starting) => format!("Up {} (health: starting)", since(started)),
            Some(health) => format!("Up {} ({})", since(started), health.word()),
        },
        ContainerState::Paused { started, .. } => format!("Up {} (Paused)", since(started)),
        ContainerState::Restarting { code, finished } => format!("Restarting ({code}) {} ago", since(finished)),
        ContainerState::Exited { code, finished, .. } => format!("Exited ({code}) {} ago", since(finished)),
        ContainerState::Removing => "Removal In Progress".to_owned(),
        ContainerState::Dead { .. } => "Dead".to_owned(),
    }
}

fn state(view: &ContainerView) -> WireState {
    let record = &view.record;
    let state = &record.state;
    let error = match state {
        ContainerState::Created { error: Some(failure) } => failure.message.clone(),
        ContainerState::Exited { error: Some(error), .. } => error.clone(),
        ContainerState::Dead { reason } => reason.clone(),
        _ => String::new(),
    };
    let moment = |moment: Option<Timestamp>| moment.unwrap_or(Timestamp::GO_ZERO).to_rfc3339_nano();
    WireState {
        status: state.word().to_owned(),
        // Between two lives dockerd calls it running too.
        running: state.is_alive() || matches!(state, ContainerState::Restarting { .. }),
        paused: matches!(state, ContainerState::Paused { .. }),
        restarting: matches!(state, ContainerState::Restarting { .. }),
        oom_killed: matches!(state, ContainerState::Exited { oom_killed: true, .. }),
        dead: matches!(state, ContainerState::Dead { .. }),
        pid: i64::from(state.pid().unwrap_or(0)),
        exit_code: i64::from(state.exit_code().unwrap_or(0)),
        error,
        started_at: moment(record.started_at),
        finished_at: moment(view.finished_at),
        health: record.health.as_ref().map(health),
    }
}

fn health(health: &shipway_engine::containers::Health) -> Health {
    let result = |result: &shipway_engine::containers::HealthResult| HealthLog {
        start: result.start.to_rfc3339_nano(),
        end: result.end.to_rfc3339_nano(),
        exit_code: i64::from(result.exit_code),
        output: result.output.clone(),
    };
    Health {
        status: health.status.word().to_owned(),
        failing_streak: i64::from(health.failing_streak),
        log: Some(health.log.iter().map(result).collect()),
    }
}

/// The container half: what was asked, completed by what the image said.
fn config(record: &ContainerRecord) -> ContainerConfig {
    let mut config: ContainerConfig = lenient::from_slice(record.spec.echo.config.as_bytes()).unwrap_or_default();
    let process = &record.process;
    let list = |words: &[String]| (!words.is_empty()).then(|| StringOrList(words.to_vec()));
    config.hostname.clone_from(&process.hostname);
    config.user.clone_from(&process.user);
    config.env = (!process.env.is_empty()).then(|| process.env.clone());
    config.cmd = list(&process.command);
    config.entrypoint = list(&process.entrypoint);
    config.working_dir.clone_from(&process.working_dir);
    config.labels = Some(process.labels.clone());
    config.image.clone_from(&record.spec.image);
    config.tty = record.spec.tty;
    config.open_stdin = record.spec.open_stdin;
    config.stdin_once = record.spec.stdin_once;
    config.exposed_ports =
        (!process.exposed_ports.is_empty()).then(|| process.exposed_ports.iter().map(|port| (port.to_string(), Map::new())).collect());
    config.healthcheck = process.healthcheck.as_ref().map(|check| HealthcheckConfig {
        test: (!check.test.is_empty()).then(|| check.test.clone()),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    });
    config.volumes = (!process.volumes.is_empty()).then(|| process.volumes.iter().map(|path| (path.clone(), Map::new())).collect());
    if let Some(signal) = &process.stop_signal {
        config.stop_signal.clone_from(signal);
    }
    config
}

fn echoed_host(record: &ContainerRecord) -> HostConfig {
    lenient::from_slice(record.spec.echo.host_config.as_bytes()).unwrap_or_default()
}

/// The host half: what was asked, with the defaults that dockerd writes into it.
fn host_config(record: &ContainerRecord) -> HostConfig {
    let mut host = echoed_host(record);
    // Clients send these for "not set", and dockerd shows what it made of them.
    host.pids_limit = host.pids_limit.filter(|limit| *limit != 0);
    host.memory_swappiness = host.memory_swappiness.filter(|value| *value != -1);
    let applied = &record.spec.host;
    host.log_config = LogConfig { driver: applied.log.driver.clone(), config: Some(applied.log.options.clone()) };
    let or = |text: &mut String, default: &str| {
        if text.is_empty() {
            default.clone_into(text);
        }
    };
    if applied.throttles.iter().all(|throttle| throttle.what != Throttled::Weight) {
        // Asked for, but the kernel has none.
        host.blkio_weight_device.iter_mut().for_each(Vec::clear);
    }
    show_limits(&mut host, applied);
    show_joined(&mut host, applied);
    or(&mut host.network_mode, "default");
    or(&mut host.ipc_mode, "private");
    or(&mut host.cgroupns_mode, "private");
    or(&mut host.runtime, system::RUNTIME);
    host.port_bindings.get_or_insert_default();
    let links = shipway_engine::networks::legacy_link_names(record);
    host.links = (!links.is_empty()).then_some(links);
    if host.shm_size == 0 {
        host.shm_size = 64 << 20;
    }
    if host.memory > 0 && host.memory_swap == 0 {
        // Docker's rule: as much swap again.
        host.memory_swap = host.memory.saturating_mul(2);
    }
    if !applied.privileged && !applied.security.unconfined_paths {
        host.masked_paths.get_or_insert_with(values::default_masked_paths);
        host.readonly_paths.get_or_insert_with(values::default_readonly_paths);
    }
    host
}

/// Containers whose namespaces are joined, by their ids.
fn show_joined(host: &mut HostConfig, applied: &HostOptions) {
    if let NetworkMode::Container(id) = &applied.network {
        host.network_mode = format!("container:{id}");
    }
    for (shown, mode) in [(&mut host.pid_mode, &applied.pid_mode), (&mut host.ipc_mode, &applied.ipc_mode)] {
        if mode.starts_with("container:") {
            shown.clone_from(mode);
        }
    }
}

/// Limits and restart policy as they are now: an update changes them after the request was made.
fn show_limits(host: &mut HostConfig, applied: &HostOptions) {
    let limits = &applied.limits;
    host.memory = limits.memory.map_or(0, signed);
    host.memory_swap = limits.memory_swap.unwrap_or(0);
    host.memory_reservation = limits.memory_reservation.map_or(0, signed);
    host.nano_cpus = limits.nano_cpus.map_or(0, signed);
    host.cpu_shares = limits.cpu_shares.map_or(0, signed);
    host.cpu_period = limits.cpu_period.map_or(0, signed);
    host.cpu_quota = limits.cpu_quota.unwrap_or(0);
    host.cpuset_cpus = limits.cpuset_cpus.clone().unwrap_or_default();
    host.cpuset_mems = limits.cpuset_mems.clone().unwrap_or_default();
    host.blkio_weight = limits.blkio_weight.unwrap_or(0);
    host.cpu_realtime_period = limits.cpu_realtime_period.map_or(0, signed);
    host.cpu_realtime_runtime = limits.cpu_realtime_runtime.unwrap_or(0);
    host.pids_limit = limits.pids.or(host.pids_limit);
    let (name, retries) = match applied.restart {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure(most) => ("on-failure", most),
    };
    host.restart_policy = WireRestartPolicy { name: name.to_owned(), maximum_retry_count: i64::from(retries) };
}

/// The mounts as dockerd tells them: memory only where it was asked for with `--mount`.
fn mount_points(engine: &Engine, record: &ContainerRecord) -> Vec<MountPoint> {
    let shown = |mount: &&ContainerMount| mount.spec.kind != MountKind::Tmpfs || mount.spec.form == MountForm::Long;
    record.mounts.iter().filter(shown).map(|mount| mount_point(engine, mount)).collect()
}

fn mount_point(engine: &Engine, mount: &ContainerMount) -> MountPoint {
    let spec = &mount.spec;
    let mut point = MountPoint {
        kind: spec.kind.name().to_owned(),
        source: spec.source.clone().unwrap_or_default(),
        destination: spec.target.clone(),
        mode: spec.mode.clone(),
        writable: !spec.read_only,
        ..MountPoint::default()
    };
    match spec.kind {
        MountKind::Bind => spec.propagation.name().clone_into(&mut point.propagation),
        MountKind::Volume => {
            let Some(name) = &mount.volume else { return point };
            point.name = name.to_string();
            point.source = engine.store().volumes().path(name).display().to_string();
            "local".clone_into(&mut point.driver);
            // dockerd relabels named volumes for everyone unless told otherwise, and says so also where nothing has labels.
            if point.mode.is_empty() && !(mount.anonymous && spec.form == MountForm::Short) {
                "z".clone_into(&mut point.mode);
            }
        }
        MountKind::Image => {
            if let Some((id, _)) = &mount.image {
                point.name = id.to_string();
            }
        }
        MountKind::Tmpfs => point.source = String::new(),
    }
    point
}

/// Where each shown port answers on the host; `null` for exposed ones that do nowhere.
fn ports(record: &ContainerRecord) -> PortMap {
    let mut map: PortMap = shown_ports(record).map(|port| (port.to_string(), None)).collect();
    for (port, binding) in bindings(record) {
        map.entry(port.to_string()).or_default().get_or_insert_default().push(binding);
    }
    map
}

/// The ports of list: those published, and those only exposed.
fn port_summaries(record: &ContainerRecord) -> Vec<PortSummary> {
    let mut list = Vec::new();
    for port in shown_ports(record) {
        let summary = PortSummary { private_port: port.number, protocol: port.protocol.to_string(), ..PortSummary::default() };
        if published(record).all(|found| found.container != *port) {
            list.push(summary);
        }
    }
    for (port, binding) in bindings(record) {
        if binding.host_port.is_empty() {
            // Open at the container's own address: no port of this host.
            let summary = PortSummary { private_port: port.number, protocol: port.protocol.to_string(), ..PortSummary::default() };
            if !list.contains(&summary) {
                list.push(summary);
            }
            continue;
        }
        list.push(PortSummary {
            ip: binding.host_ip,
            private_port: port.number,
            public_port: binding.host_port.parse().ok(),
            protocol: port.protocol.to_string(),
        });
    }
    list
}

/// The published ports of a container that runs.
fn published(record: &ContainerRecord) -> impl Iterator<Item = &values::ClaimedPort> {
    published_by(record).map(|(_, port)| port)
}

/// The same with the endpoint that publishes them.
fn published_by(record: &ContainerRecord) -> impl Iterator<Item = (&AttachedEndpoint, &values::ClaimedPort)> {
    let attached = record.endpoints.iter().filter_map(|endpoint| endpoint.attached.as_ref());
    attached.flat_map(|attached| attached.published.iter().map(move |port| (attached, port)))
}

/// Every host address of every published port; a port without an address is on all of both families. Where it is open at the container's own address
/// there is no host's port.
fn bindings(record: &ContainerRecord) -> impl Iterator<Item = (Port, PortBinding)> {
    published_by(record).flat_map(|(attached, found)| {
        let addresses = match found.host_ip {
            Some(address) => vec![address],
            None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        };
        let binding = move |address: IpAddr| {
            let host_port = if attached.routed.has(address) || found.host_port == 0 { String::new() } else { found.host_port.to_string() };
            (found.container, PortBinding { host_ip: address.to_string(), host_port })
        };
        // A port of the host is taken for both families, one of the container's own is open where the container is.
        let is_there = |address: &IpAddr| if address.is_ipv6() { attached.ipv6.is_some() } else { attached.ipv4.is_some() };
        addresses.into_iter().filter(move |address| found.host_port != 0 || is_there(address)).map(binding)
    })
}

/// The exposed ports of a container that runs and has a network of its own.
fn shown_ports(record: &ContainerRecord) -> impl Iterator<Item = &Port> {
    let shown =
        record.state.is_alive() && record.endpoints.iter().any(|endpoint| !matches!(endpoint.wish.network.as_str(), "none" | "host"));
    record.process.exposed_ports.iter().filter(move |_| shown)
}

/// Docker's `NetworkSettings`; the addresses at its top are those of the default bridge.
fn network_settings(record: &ContainerRecord, version: ApiVersion) -> NetworkSettings {
    let networks = networks(record, version);
    let alive = record.state.is_alive() && !networks.is_empty();
    let mut settings = NetworkSettings { ports: ports(record), ..NetworkSettings::default() };
    if alive {
        settings.sandbox_id = record.id.to_string();
        settings.sandbox_key = record.state.pid().map(|pid| format!("/proc/{pid}/ns/net")).unwrap_or_default();
    }
    if let Some(bridge) = networks.get("bridge") {
        settings.endpoint_id.clone_from(&bridge.endpoint_id);
        settings.gateway.clone_from(&bridge.gateway);
        settings.ip_address.clone_from(&bridge.ip_address);
        settings.ip_prefix_len = bridge.ip_prefix_len;
        settings.ipv6_gateway.clone_from(&bridge.ipv6_gateway);
        settings.global_ipv6_address.clone_from(&bridge.global_ipv6_address);
        settings.global_ipv6_prefix_len = bridge.global_ipv6_prefix_len;
        settings.mac_address.clone_from(&bridge.mac_address);
    }
    settings.networks = networks;
    settings
}

fn networks(record: &ContainerRecord, version: ApiVersion) -> BTreeMap<String, EndpointSettings> {
    let short = record.id.short();
    let endpoint = |endpoint: &EndpointRecord| {
        let names = shipway_engine::networks::dns_names(record, endpoint);
        (endpoint.wish.network.clone(), network::endpoint(endpoint, &short, &names, version))
    };
    record.endpoints.iter().map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_joined_as_dockerd_joins_it() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(command(&words(&["sh", "-c", "echo hi", "x"])), "sh -c 'echo hi' x");
        assert_eq!(command(&words(&["sleep", "9"])), "sleep 9");
        assert_eq!(command(&[]), "");
    }

    #[test]
    fn states_are_told_in_dockers_words() {
        let now = Timestamp::from_unix(10_000, 0);
        let before = |seconds: i64| Timestamp::from_unix(10_000 - seconds, 0);
        for (state, words) in [
            (ContainerState::Created { error: None }, "Created"),
            (ContainerState::Running { pid: 1, started: before(180) }, "Up 3 minutes"),
            (ContainerState::Running { pid: 1, started: now }, "Up Less than a second"),
            (ContainerState::Paused { pid: 1, started: before(60) }, "Up About a minute (Paused)"),
            (ContainerState::Exited { code: 137, finished: before(7200), oom_killed: false, error: None }, "Exited (137) 2 hours ago"),
            (ContainerState::Restarting { code: 1, finished: before(5) }, "Restarting (1) 5 seconds ago"),
            (ContainerState::Removing, "Removal In Progress"),
        ] {
            assert_eq!(status(&state, None, now), words);
        }
        let up = ContainerState::Running { pid: 1, started: before(180) };
        assert_eq!(status(&up, Some(HealthStatus::Starting), now), "Up 3 minutes (health: starting)");
        assert_eq!(status(&up, Some(HealthStatus::Unhealthy), now), "Up 3 minutes (unhealthy)");
    }
}
