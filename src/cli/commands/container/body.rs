//! Flags of `run` and `create` into the body of `POST /containers/create`.
//!
//! What must stay true: what a flag's text means is decided by the model's parsers, so that a mistake is explained here, before anything is asked
//! of a daemon; only keys that were given are sent, so that the daemon's defaults stay the daemon's.

use super::flags::{ContainerFlags, restart_policy};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::human;
use crate::cli::session::Session;
use serde_json::{Map, Value, json};
use shipway_model::capability::CapabilitySet;
use shipway_model::mount::{parse_mount_flag, parse_tmpfs_flag, parse_volume_flag};
use shipway_model::{Classified, Port, parse_publish};

mod mounts;
mod network;
mod resources;
#[cfg(test)]
mod tests;
mod texts;

pub(crate) use network::extra_hosts;
pub(crate) use texts::{environment, pairs};

/// An object under construction.
struct Keys(Map<String, Value>);

impl Keys {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn maybe<T: Into<Value>>(&mut self, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn list(&mut self, key: &str, values: &[String]) {
        if !values.is_empty() {
            self.put(key, values.to_vec());
        }
    }

    fn on(&mut self, key: &str, wanted: bool) {
        if wanted {
            self.put(key, true);
        }
    }

    fn bytes(&mut self, key: &str, flag: &str, text: Option<&String>) -> Outcome {
        match text.map(String::as_str) {
            None => {}
            Some("-1") if key == "MemorySwap" => self.put(key, -1),
            Some(text) => {
                let bytes = human::bytes(text).map_err(|failure| {
                    let message = format!("invalid argument \"{text}\" for \"{flag}\" flag: {failure}");
                    Failure { hints: failure.hints, ..Failure::usage(message) }
                })?;
                self.put(key, bytes);
            }
        }
        Ok(())
    }
}

/// The whole body.
///
/// # Errors
/// The first flag whose text means nothing; exit code 125.
pub(super) fn create_body(session: &Session, flags: &ContainerFlags, image: &str, command: &[String], detached: bool) -> Outcome<Value> {
    check_conflicts(flags, detached)?;
    let mut config = Keys(Map::new());
    let given_streams = !flags.attach.is_empty();
    for stream in &flags.attach {
        if !["stdin", "stdout", "stderr"].contains(&stream.to_lowercase().as_str()) {
            return Err(Failure::usage(format!(
                "invalid argument \"{stream}\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR"
            )));
        }
    }
    let attached = !detached;
    let input = attached && flags.interactive && (!given_streams || flags.attaches("stdin"));
    config.put("Image", image);
    config.put("AttachStdin", input || (attached && flags.attaches("stdin")));
    config.put("AttachStdout", attached && (!given_streams || flags.attaches("stdout")));
    config.put("AttachStderr", attached && (!given_streams || flags.attaches("stderr")));
    config.put("OpenStdin", flags.interactive);
    config.put("StdinOnce", flags.interactive && attached && input);
    config.put("Tty", flags.tty);
    config.put("Env", environment(session, &flags.env_file, &flags.env)?);
    config.put("Cmd", if command.is_empty() { Value::Null } else { Value::from(command.to_vec()) });
    if let Some(entrypoint) = &flags.entrypoint {
        // An empty text takes the image's entrypoint away; dockerd wants a list with one empty text for that.
        config.put("Entrypoint", vec![entrypoint.clone()]);
    }
    config.maybe("Hostname", flags.hostname.clone());
    config.maybe("Domainname", flags.domainname.clone());
    config.maybe("User", flags.user.clone());
    config.maybe("WorkingDir", flags.workdir.clone());
    config.maybe("StopSignal", flags.stop_signal.clone());
    config.maybe("StopTimeout", flags.stop_timeout);
    config.maybe("MacAddress", flags.mac_address.clone());
    config.put("Labels", pairs(&flags.label, &flags.label_file)?);
    config.maybe("Healthcheck", healthcheck(flags)?);
    let (host_config, volumes) = host_config(flags)?;
    config.put("Volumes", volumes);
    let (bindings, exposed) = ports(flags)?;
    config.put("ExposedPorts", exposed);
    let mut host_config = host_config;
    host_config.put("PortBindings", bindings);
    let (mode, endpoints) = network::networking(flags)?;
    host_config.put("NetworkMode", mode);
    config.put("HostConfig", host_config.0);
    config.put("NetworkingConfig", json!({ "EndpointsConfig": endpoints }));
    Ok(Value::Object(config.0))
}

fn check_conflicts(flags: &ContainerFlags, detached: bool) -> Outcome {
    if flags.rm && flags.restart != "no" && !flags.restart.is_empty() {
        return Err(Failure::usage("conflicting options: cannot specify both --restart and --rm"));
    }
    if detached && !flags.attach.is_empty() {
        return Err(Failure::usage("conflicting options: cannot specify both --attach and --detach"));
    }
    if !["always", "missing", "never", ""].contains(&flags.pull.as_str()) {
        return Err(Failure::usage(format!("invalid pull option: '{}': must be one of \"always\", \"missing\" or \"never\"", flags.pull)));
    }
    let times = [&flags.health_interval, &flags.health_timeout, &flags.health_start_period, &flags.health_start_interval];
    let checks = flags.health_cmd.is_some() || flags.health_retries.is_some() || times.iter().any(|time| time.is_some());
    if flags.no_healthcheck && checks {
        return Err(Failure::usage("--no-healthcheck conflicts with --health-* options"));
    }
    let elsewhere = [
        ("--cpu-count", flags.cpu_count.is_some()),
        ("--cpu-percent", flags.cpu_percent.is_some()),
        ("--io-maxbandwidth", flags.io_maxbandwidth.is_some()),
        ("--io-maxiops", flags.io_maxiops.is_some()),
    ];
    if let Some((flag, _)) = elsewhere.iter().find(|(_, given)| *given) {
        let words =
            format!("\"{flag}\" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux");
        return Err(Failure::usage(words));
    }
    check_modes(flags)
}

/// Namespace modes that mean nothing anywhere, in docker's words; whether a container to join exists is for the daemon to say.
fn check_modes(flags: &ContainerFlags) -> Outcome {
    let joins = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    for (given, known, may_join, words) in [
        (&flags.pid, &["", "host"][..], true, "--pid: invalid PID mode"),
        (&flags.uts, &["", "host"], false, "--uts: invalid UTS mode"),
        (&flags.userns, &["", "host"], false, "--userns: invalid USER mode"),
        (&flags.cgroupns, &["", "host", "private"], false, "--cgroupns: invalid CGROUP mode"),
    ] {
        let mode = given.as_deref().unwrap_or_default();
        if !(known.contains(&mode) || may_join && joins(mode)) {
            return Err(Failure::usage(words));
        }
    }
    Ok(())
}

/// HostConfig, and the anonymous volumes that belong into Config.
fn host_config(flags: &ContainerFlags) -> Outcome<(Keys, Value)> {
    let mut host = Keys(Map::new());
    let (binds, volumes) = mounts::volumes(&flags.volume)?;
    host.list("Binds", &binds);
    if !flags.mount.is_empty() {
        let mounts: Outcome<Vec<Value>> = flags.mount.iter().map(|text| mounts::mount_json(text)).collect();
        host.put("Mounts", mounts?);
    }
    if !flags.tmpfs.is_empty() {
        host.put("Tmpfs", mounts::tmpfs(&flags.tmpfs)?);
    }
    host.maybe("ContainerIDFile", flags.cidfile.clone());
    if flags.log_driver.is_some() || !flags.log_opt.is_empty() {
        let options = pairs(&flags.log_opt, &[])?;
        if flags.log_driver.as_deref() == Some("none") && !flags.log_opt.is_empty() {
            return Err(Failure::usage("invalid logging opts for driver none"));
        }
        host.put("LogConfig", json!({"Type": flags.log_driver.clone().unwrap_or_default(), "Config": options}));
    }
    host.put("RestartPolicy", restart_policy(if flags.restart.is_empty() { "no" } else { &flags.restart })?);
    host.on("AutoRemove", flags.rm);
    host.maybe("VolumeDriver", flags.volume_driver.clone());
    host.list("VolumesFrom", &flags.volumes_from);
    host.list("CapAdd", &flags.cap_add);
    host.list("CapDrop", &flags.cap_drop);
    check_capabilities(flags)?;
    host.maybe("CgroupnsMode", flags.cgroupns.clone());
    host.list("Dns", &flags.dns);
    host.list("DnsOptions", &flags.dns_option);
    host.list("DnsSearch", &flags.dns_search);
    host.list("ExtraHosts", &extra_hosts(&flags.add_host)?);
    host.list("GroupAdd", &flags.group_add);
    host.maybe("IpcMode", flags.ipc.clone());
    host.list("Links", &flags.link);
    host.maybe("OomScoreAdj", flags.oom_score_adj);
    host.maybe("PidMode", flags.pid.clone());
    host.on("Privileged", flags.privileged);
    host.on("PublishAllPorts", flags.publish_all);
    host.on("ReadonlyRootfs", flags.read_only);
    security(&mut host, &flags.security_opt)?;
    host.maybe("UTSMode", flags.uts.clone());
    host.maybe("UsernsMode", flags.userns.clone());
    host.maybe("Runtime", flags.runtime.clone());
    host.maybe("Isolation", flags.isolation.clone());
    host.on("Init", flags.init);
    flags.sysctl.iter().try_for_each(|text| check_sysctl(text))?;
    for (key, given) in [("StorageOpt", &flags.storage_opt), ("Sysctls", &flags.sysctl), ("Annotations", &flags.annotation)] {
        if !given.is_empty() {
            host.put(key, pairs(given, &[])?);
        }
    }
    resources::resources(&mut host, flags)?;
    Ok((host, volumes))
}

/// Kernel settings that are the host's alone are refused before a daemon is asked, as docker does.
fn check_sysctl(text: &str) -> Outcome {
    const KNOWN: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let key = text.split('=').next().unwrap_or_default();
    if text.contains('=') && (KNOWN.contains(&key) || key.starts_with("net.") || key.starts_with("fs.mqueue.")) {
        return Ok(());
    }
    Err(Failure::usage(format!("invalid argument \"{text}\" for \"--sysctl\" flag: sysctl '{text}' is not allowed")))
}

fn check_capabilities(flags: &ContainerFlags) -> Outcome {
    CapabilitySet::from_docker(&flags.cap_add, &flags.cap_drop)
        .map(drop)
        .map_err(|error| Failure { hints: error.hint().into_iter().collect(), ..Failure::usage(error.to_string()) })
}

/// Security options; a seccomp profile is read here, because the daemon may live elsewhere.
fn security(host: &mut Keys, options: &[String]) -> Outcome {
    let mut passed = Vec::new();
    for option in options {
        let (name, value) = option.split_once('=').or_else(|| option.split_once(':')).unwrap_or((option, ""));
        match (name, value) {
            ("systempaths", "unconfined") => {
                host.put("MaskedPaths", Value::Array(Vec::new()));
                host.put("ReadonlyPaths", Value::Array(Vec::new()));
            }
            ("seccomp", value) if !matches!(value, "unconfined" | "builtin") => {
                let text = std::fs::read_to_string(value)
                    .map_err(|error| Failure::usage(format!("opening seccomp profile ({value}) failed: {error}")))?;
                let profile: Value = serde_json::from_str(&text)
                    .map_err(|error| Failure::usage(format!("compacting json for seccomp profile ({value}) failed: {error}")))?;
                passed.push(format!("seccomp={profile}"));
            }
            ("label" | "apparmor" | "seccomp" | "no-new-privileges" | "writable-cgroups", _) => passed.push(option.clone()),
            (name, _) => {
                let failure = Failure::usage(format!("invalid --security-opt: \"{option}\""));
                let known = ["label", "apparmor", "seccomp", "no-new-privileges", "systempaths", "writable-cgroups"];
                return Err(match crate::cli::nearest::near(name, known) {
                    Some(near) => failure.hint(format!("did you mean {near}?")),
                    None => failure.hint(format!("options are {}", known.join(", "))),
                });
            }
        }
    }
    host.list("SecurityOpt", &passed);
    Ok(())
}

/// PortBindings and ExposedPorts.
fn ports(flags: &ContainerFlags) -> Outcome<(Value, Value)> {
    let mut bindings: Map<String, Value> = Map::new();
    let mut exposed = Map::new();
    for text in &flags.publish {
        let parsed = parse_publish(text)
            .map_err(|error| Failure { hints: error.hint().into_iter().collect(), ..Failure::usage(error.to_string()) })?;
        for binding in parsed {
            let port = binding.container.to_string();
            let host_port = match (binding.host_port, binding.host_port_last) {
                (Some(first), Some(last)) => format!("{first}-{last}"),
                (Some(only), None) => only.to_string(),
                (None, _) => String::new(),
            };
            exposed.insert(port.clone(), json!({}));
            let entry = json!({"HostIp": binding.host_ip.map(|ip| ip.to_string()).unwrap_or_default(), "HostPort": host_port});
            if let Some(list) = bindings.entry(port).or_insert_with(|| Value::Array(Vec::new())).as_array_mut() {
                list.push(entry);
            }
        }
    }
    for text in &flags.expose {
        if text.contains(':') {
            return Err(
                Failure::usage(format!("invalid port format for --expose: {text}")).hint("to reach the port from the host, use --publish")
            );
        }
        for port in Port::parse_range(text).map_err(|error| Failure {
            hints: error.hint().into_iter().collect(),
            ..Failure::usage(format!("invalid range format for --expose: {text}, error: {error}"))
        })? {
            exposed.insert(port.to_string(), json!({}));
        }
    }
    Ok((Value::Object(bindings), Value::Object(exposed)))
}

fn healthcheck(flags: &ContainerFlags) -> Outcome<Option<Value>> {
    if flags.no_healthcheck {
        return Ok(Some(json!({"Test": ["NONE"]})));
    }
    let mut check = Map::new();
    if let Some(command) = &flags.health_cmd {
        check.insert("Test".to_owned(), json!(["CMD-SHELL", command]));
    }
    let times = [
        ("Interval", "--health-interval", &flags.health_interval),
        ("Timeout", "--health-timeout", &flags.health_timeout),
        ("StartPeriod", "--health-start-period", &flags.health_start_period),
        ("StartInterval", "--health-start-interval", &flags.health_start_interval),
    ];
    for (key, flag, given) in times {
        if let Some(text) = given {
            let nanoseconds = human::duration(text).map_err(|failure| Failure {
                hints: failure.hints.clone(),
                ..Failure::usage(format!("invalid argument \"{text}\" for \"{flag}\" flag: {failure}"))
            })?;
            if nanoseconds < 0 {
                return Err(Failure::usage(format!("{flag} cannot be negative")));
            }
            check.insert(key.to_owned(), Value::from(nanoseconds));
        }
    }
    if let Some(retries) = flags.health_retries {
        check.insert("Retries".to_owned(), Value::from(retries));
    }
    Ok((!check.is_empty()).then_some(Value::Object(check)))
}
