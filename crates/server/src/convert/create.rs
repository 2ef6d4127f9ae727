//! The body of create, into what the engine understands.
//!
//! Docker's values that mean "absent" (0, "", null) become `None` here and nowhere else.

use std::time::Duration;

use shipway_engine::containers::{CreateSpec, Echo, NetworkMode};
use shipway_model::{ContainerDefaults, ContainerName, Healthcheck, Port};
use shipway_wire::containers::{ContainerConfig, CreateBody, HealthcheckConfig, StringOrList};

use super::host;
use crate::error::ApiError;

/// What the body and the query of create ask for.
///
/// # Errors
/// For every value that names no port, signal, mount, address or limit.
pub(crate) fn spec(name: &str, platform: &str, body: &CreateBody) -> Result<CreateSpec, ApiError> {
    if body.is_empty {
        return Err(ApiError::invalid("Config cannot be empty in order to create a container"));
    }
    let config = &body.config;
    let mut host = host::options(&body.host_config, &body.networking, &config.mac_address)?;
    if config.network_disabled {
        // Whatever else was said about networks: a stack of its own with nothing but the loopback.
        host.network = NetworkMode::None;
        host.endpoints.clear();
    }
    Ok(CreateSpec {
        name: optional(name.trim_start_matches('/')).map(str::parse::<ContainerName>).transpose()?,
        image: config.image.clone(),
        platform: optional(platform).map(|platform| platform.parse()).transpose()?,
        entrypoint: list(&config.entrypoint),
        command: list(&config.cmd),
        env: config.env.clone().unwrap_or_default(),
        working_dir: optional(&config.working_dir).map(str::to_owned),
        user: optional(&config.user).map(str::to_owned),
        hostname: optional(&config.hostname).map(str::to_owned),
        domainname: optional(&config.domainname).map(str::to_owned),
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        labels: config.labels.clone().unwrap_or_default(),
        exposed_ports: exposed_ports(config)?,
        volumes: config.volumes.iter().flatten().map(|(path, _)| path.clone()).collect(),
        stop_signal: stop_signal(config)?,
        stop_timeout: config.stop_timeout.map(seconds),
        healthcheck: config.healthcheck.as_ref().map(healthcheck),
        host,
        echo: echo(body)?,
    })
}

/// The settings that the body of commit asks for in place of the container's.
///
/// # Errors
/// For a port that is none.
pub(crate) fn defaults(body: &CreateBody) -> Result<ContainerDefaults, ApiError> {
    let config = &body.config;
    Ok(ContainerDefaults {
        user: config.user.clone(),
        exposed_ports: exposed_ports(config)?,
        env: config.env.clone().unwrap_or_default(),
        entrypoint: list(&config.entrypoint),
        cmd: list(&config.cmd),
        volumes: config.volumes.iter().flatten().map(|(path, _)| path.clone()).collect(),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone().unwrap_or_default(),
        stop_signal: stop_signal(config)?,
        healthcheck: config.healthcheck.as_ref().map(healthcheck),
        on_build: config.on_build.clone().unwrap_or_default(),
        shell: config.shell.clone(),
        ..ContainerDefaults::default()
    })
}

fn list(list: &Option<StringOrList>) -> Option<Vec<String>> {
    list.as_ref().map(|list| list.0.clone())
}

/// The halves of the body as they will be shown by inspect.
fn echo(body: &CreateBody) -> Result<Echo, ApiError> {
    let text = |outcome: Result<String, serde_json::Error>| outcome.map_err(crate::request::bad_json);
    Ok(Echo {
        config: text(serde_json::to_string(&body.config))?,
        host_config: text(serde_json::to_string(&body.host_config))?,
        networking: text(serde_json::to_string(&body.networking))?,
    })
}

fn exposed_ports(config: &ContainerConfig) -> Result<std::collections::BTreeSet<Port>, ApiError> {
    let mut ports = std::collections::BTreeSet::new();
    for text in config.exposed_ports.iter().flatten().map(|(text, _)| text) {
        ports.extend(Port::parse_range(text)?);
    }
    Ok(ports)
}

/// Seconds as Docker counts them: negative waits for ever.
pub(crate) fn seconds(count: i64) -> Duration {
    u64::try_from(count).map_or(Duration::MAX, Duration::from_secs)
}

fn healthcheck(config: &HealthcheckConfig) -> Healthcheck {
    Healthcheck {
        test: config.test.clone().unwrap_or_default(),
        interval: config.interval,
        timeout: config.timeout,
        start_period: config.start_period,
        start_interval: config.start_interval,
        retries: config.retries,
    }
}

/// The signal as it was typed, which is one.
fn stop_signal(config: &ContainerConfig) -> Result<Option<String>, ApiError> {
    let Some(text) = optional(&config.stop_signal) else { return Ok(None) };
    host::signal(text).map(|_| Some(text.to_owned()))
}

fn optional(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use shipway_engine::containers::{NetworkMode, RestartPolicy, SeccompOption};
    use shipway_model::MountKind;

    use super::*;

    fn read(body: &str) -> Result<CreateSpec, ApiError> {
        spec("/web", "", &CreateBody::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn a_docker_run_becomes_a_spec() {
        let spec = read(
            r#"{"Image":"busybox:1","Cmd":["sleep","9"],"Tty":true,"StopSignal":"usr1","StopTimeout":-1,"ExposedPorts":{"80/tcp":{},"90-91/udp":{}},
                "HostConfig":{"Binds":["/a:/b:ro","cache:/c"],"Tmpfs":{"/run":"size=64m"},"NetworkMode":"none","Memory":67108864,"MemorySwap":-1,"NanoCpus":500000000,
                  "PidsLimit":-1,"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3},"SecurityOpt":["no-new-privileges","seccomp=unconfined"],
                  "PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]},"Ulimits":[{"Name":"nofile","Soft":10,"Hard":20}],"CapDrop":["ALL"],"ShmSize":0,
                  "Mounts":[{"Type":"bind","Source":"/s","Target":"/t","ReadOnly":true,"BindOptions":{"Propagation":"rslave"}}]}}"#,
        )
        .unwrap();
        assert_eq!(spec.name.as_ref().unwrap().to_string(), "web");
        assert_eq!(spec.command.as_deref(), Some(&["sleep".to_owned(), "9".to_owned()][..]));
        assert_eq!((spec.tty, spec.stop_timeout, spec.exposed_ports.len()), (true, Some(Duration::MAX), 3));
        assert_eq!(spec.stop_signal.as_deref(), Some("usr1"), "as it was typed");
        let host = &spec.host;
        assert_eq!(
            host.mounts.iter().map(|mount| (mount.kind, mount.target.as_str(), mount.read_only)).collect::<Vec<_>>(),
            [
                (MountKind::Bind, "/b", true),
                (MountKind::Volume, "/c", false),
                (MountKind::Bind, "/t", true),
                (MountKind::Tmpfs, "/run", false)
            ]
        );
        assert_eq!(host.network, NetworkMode::None);
        assert_eq!(
            (host.limits.memory, host.limits.memory_swap, host.limits.pids, host.limits.nano_cpus),
            (Some(64 << 20), Some(-1), Some(-1), Some(500_000_000))
        );
        assert_eq!((host.restart.clone(), host.shm_size), (RestartPolicy::OnFailure(3), None));
        assert_eq!((host.security.no_new_privileges, host.security.seccomp.clone()), (true, SeccompOption::Unconfined));
        assert_eq!(host.publish[0].host_port, Some(8080));
        assert!(spec.echo.host_config.contains("\"PidsLimit\":-1"));
    }

    #[test]
    fn a_container_without_a_network_has_none_whatever_else_was_said() {
        let spec = read(
            r#"{"Image":"a","NetworkDisabled":true,"HostConfig":{"NetworkMode":"n"},"NetworkingConfig":{"EndpointsConfig":{"n":{}}}}"#,
        );
        let host = spec.unwrap().host;
        assert_eq!((host.network, host.endpoints.len()), (NetworkMode::None, 0));
    }

    #[test]
    fn what_nobody_said_is_none() {
        let spec = read(r#"{"Image":"a","Cmd":null,"Entrypoint":null,"HostConfig":{"NetworkMode":"default"}}"#).unwrap();
        assert_eq!((spec.command, spec.entrypoint, spec.user, spec.stop_timeout), (None, None, None, None));
        assert_eq!(spec.host.network, NetworkMode::Default);
        assert!(spec.host.limits.is_empty());
    }

    #[test]
    fn wrong_values_are_refused_in_dockers_words() {
        for (body, words) in [
            (r#"{}"#, "Config cannot be empty in order to create a container"),
            (r#"{"Image":"a","HostConfig":{"SecurityOpt":["frobnicate"]}}"#, "invalid --security-opt 2: \"frobnicate\""),
            (r#"{"Image":"a","HostConfig":{"RestartPolicy":{"Name":"sometimes"}}}"#, "invalid restart policy 'sometimes'"),
            (
                r#"{"Image":"a","HostConfig":{"RestartPolicy":{"Name":"always","MaximumRetryCount":2}}}"#,
                "maximum retry count cannot be used with restart policy 'always'",
            ),
            (r#"{"Image":"a","StopSignal":"SIGNOPE"}"#, "Invalid signal: SIGNOPE"),
            (
                r#"{"Image":"a","HostConfig":{"Mounts":[{"Type":"magic","Target":"/t"}]}}"#,
                "invalid mount config for type \"magic\": mount type unknown",
            ),
        ] {
            let error = read(body).unwrap_err();
            assert!(error.message.contains(words), "{body}: {}", error.message);
            assert_eq!(error.status, 400, "{body}");
        }
    }
}
