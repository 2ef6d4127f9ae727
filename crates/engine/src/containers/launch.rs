//! From a record to the finished values that the hands act on.
//!
//! Nothing here touches the kernel; everything that can be refused is refused here, before a process exists.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shipway_model::{Capability, MountKind, MountSpec};
use shipway_runtime::{
    ContainerSpec, Device, GeneratedFile, LogConfig, LogDriver, Mount, Namespaces, NetNs, ProcessSpec, RootFs, SeccompChoice, Stdio, TerminalSize, profile,
};

use super::files::{self, NameSettings};
use super::resolve::{Accounts, ResolvedUser};
use super::spec::{HostOptions, NetworkMode, SeccompOption};
use super::{Container, ContainerRecord};
use crate::{Engine, Error, Result, blocking};

/// Logs rotate by default: five files of 20 MB (decision D13, W-08).
const LOG_SIZE: u64 = 20_000_000;
const LOG_FILES: u32 = 5;
/// Processes a container may have unless it says otherwise (security.md section 6).
const PIDS: i64 = 4096;

impl Engine {
    /// Everything a launch of this container needs.
    pub(super) async fn container_spec(&self, container: &Arc<Container>) -> Result<ContainerSpec> {
        let (engine, container) = (self.clone(), Arc::clone(container));
        blocking::files(move || engine.container_spec_now(&container)).await
    }

    fn container_spec_now(&self, container: &Container) -> Result<ContainerSpec> {
        let record = container.record();
        let host = &record.spec.host;
        let user = self.accounts_of(&record)?.resolve(&record.process.user, &host.group_add)?;
        let process = self.process_of(&record, &user)?;
        let generated = self.generated_files(record.id);
        let settings = NameSettings::of(&record.process.hostname, record.spec.domainname.as_deref(), host);
        files::write(&generated, &settings)?;
        let active = self.inner.store.active_paths(&record.id.to_string());
        let privileged = host.privileged;
        let unmasked = privileged || host.security.unconfined_paths;
        let mut limits = host.limits.clone();
        if limits.pids.is_none() {
            limits.pids = Some(PIDS);
        }
        Ok(ContainerSpec {
            id: record.id,
            hostname: record.process.hostname.clone(),
            domainname: record.spec.domainname.clone(),
            root: RootFs {
                lowers: self.inner.store.mount_of(&record.layers),
                upper: Some((active.upper, active.work)),
                volatile: host.auto_remove,
            },
            process,
            mounts: self.mounts_of(host)?,
            files: vec![
                GeneratedFile::new("/etc/resolv.conf", generated.resolv_conf),
                GeneratedFile::new("/etc/hostname", generated.hostname),
                GeneratedFile::new("/etc/hosts", generated.hosts),
            ],
            namespaces: self.namespaces_of(host)?,
            limits,
            devices: devices_of(host)?,
            masked_paths: if unmasked { Vec::new() } else { host.masked_paths.clone().unwrap_or_else(profile::default_masked_paths) },
            readonly_paths: if unmasked { Vec::new() } else { host.readonly_paths.clone().unwrap_or_else(profile::default_readonly_paths) },
            read_only_root: host.read_only_root,
            privileged,
            sysctls: host.sysctls.clone(),
            shm_size: host.shm_size.unwrap_or(self.inner.config.default_shm_size),
            init: host.init.unwrap_or(self.inner.config.init),
            stdio: Stdio { open_stdin: record.spec.open_stdin, stdin_once: record.spec.stdin_once },
            log: self.log_config(&record)?,
            state_dir: self.state_dir(record.id),
            cgroup_parent: host.cgroup_parent.clone(),
        })
    }

    /// The account files of a container: its own changes on top of its image.
    pub(super) fn accounts_of(&self, record: &ContainerRecord) -> Result<Accounts> {
        let upper = self.inner.store.active_paths(&record.id.to_string()).upper;
        let upper = shipway_sys::path::Root::open(&upper).ok();
        Ok(Accounts::read(&self.inner.store.tree(&record.layers), upper.as_ref()))
    }

    /// The process of a container as a finished value; exec starts from the same.
    pub(super) fn process_of(&self, record: &ContainerRecord, user: &ResolvedUser) -> Result<ProcessSpec> {
        let host = &record.spec.host;
        let mut env = record.process.env.clone();
        for (name, value) in [("HOSTNAME", record.process.hostname.as_str()), ("HOME", user.home.as_str())] {
            if !env.iter().any(|entry| entry.split('=').next() == Some(name)) {
                env.push(format!("{name}={value}"));
            }
        }
        if record.spec.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
            env.push("TERM=xterm".to_owned());
        }
        let capabilities = if host.privileged { Capability::all() } else { super::spec::capabilities_of(host)? };
        let seccomp = match &host.security.seccomp {
            _ if host.privileged => SeccompChoice::Unconfined,
            SeccompOption::Default => SeccompChoice::Default,
            SeccompOption::Unconfined => SeccompChoice::Unconfined,
            SeccompOption::Profile(text) => SeccompChoice::Profile(Arc::from(text.as_bytes())),
        };
        let mut rlimits = self.inner.config.default_ulimits.clone();
        for limit in &host.ulimits {
            rlimits.retain(|known| known.name != limit.name);
            rlimits.push(limit.clone());
        }
        Ok(ProcessSpec {
            args: record.process.args(),
            env,
            cwd: if record.process.working_dir.is_empty() { "/".to_owned() } else { record.process.working_dir.clone() },
            user: user.ids.clone(),
            terminal: record.spec.tty.then(TerminalSize::default),
            capabilities,
            no_new_privileges: host.security.no_new_privileges || self.inner.config.no_new_privileges,
            seccomp,
            rlimits,
            oom_score_adj: host.oom_score_adj,
        })
    }

    fn mounts_of(&self, host: &HostOptions) -> Result<Vec<Mount>> {
        host.mounts.iter().map(mount_of).collect()
    }

    fn namespaces_of(&self, host: &HostOptions) -> Result<Namespaces> {
        let net = match &host.network {
            NetworkMode::Default | NetworkMode::None => NetNs::Private,
            NetworkMode::Host => NetNs::Host,
            NetworkMode::Container(name) => NetNs::Container(self.pid_of(name, "network")?),
            NetworkMode::Named(name) => return Err(Error::NotSupportedYet { what: format!("network \"{name}\"") }),
        };
        let mut namespaces = Namespaces { net, ..Namespaces::default() };
        for (mode, shared, what) in [
            (&host.pid_mode, &mut namespaces.pid, "pid"),
            (&host.ipc_mode, &mut namespaces.ipc, "ipc"),
            (&host.uts_mode, &mut namespaces.uts, "uts"),
            (&host.cgroupns_mode, &mut namespaces.cgroup, "cgroup"),
        ] {
            *shared = match mode.as_str() {
                "" | "private" | "shareable" | "none" => shipway_runtime::Namespace::Private,
                "host" => shipway_runtime::Namespace::Host,
                other => match other.strip_prefix("container:") {
                    Some(name) => shipway_runtime::Namespace::Container(self.pid_of(name, what)?),
                    None => return Err(Error::invalid(format!("invalid {what} mode: {other}"))),
                },
            };
        }
        Ok(namespaces)
    }

    /// The first process of another container whose namespace is joined.
    fn pid_of(&self, name: &str, what: &str) -> Result<i32> {
        let other = self.container(name)?;
        other.state().pid().ok_or_else(|| Error::Conflict {
            reason: format!("cannot join {what} of a non running container: {}", other.id),
            hint: Some(format!("start it first: shipway start {}", other.name())),
        })
    }

    fn log_config(&self, record: &ContainerRecord) -> Result<LogConfig> {
        let log = &record.spec.host.log;
        let option = |name: &str| log.options.get(name).or_else(|| self.inner.config.log_options.get(name)).map(String::as_str);
        let driver = match log.driver.as_str() {
            "" if self.inner.config.log_driver == "none" => LogDriver::None,
            "none" => LogDriver::None,
            _ => {
                let max_size = match option("max-size") {
                    Some("-1") => None,
                    Some(text) => Some(text.parse::<shipway_model::ByteSize>().map_err(|error| Error::invalid(format!("invalid log option max-size: {error}")))?.0),
                    None => Some(LOG_SIZE),
                };
                let max_files = match option("max-file") {
                    Some(text) => text.parse().ok().filter(|count| *count > 0).ok_or_else(|| Error::invalid(format!("max-file cannot be \"{text}\"")))?,
                    None => LOG_FILES,
                };
                LogDriver::JsonFile { max_size, max_files }
            }
        };
        Ok(LogConfig { driver, path: self.log_path(record.id) })
    }
}

/// A mount as the hands take it. A missing bind source is an error for `--mount` and a new folder for `-v`, as with dockerd.
fn mount_of(mount: &MountSpec) -> Result<Mount> {
    match mount.kind {
        MountKind::Bind => {
            let source = PathBuf::from(mount.source.as_deref().unwrap_or_default());
            if !source.is_absolute() {
                return Err(Error::invalid(format!("invalid mount path: '{}' mount path must be absolute", source.display())));
            }
            if !source.exists() {
                if !mount.create_source {
                    return Err(Error::InvalidWithHint {
                        reason: format!("invalid mount config for type \"bind\": bind source path does not exist: {}", source.display()),
                        hint: format!("create it first: mkdir -p {}", source.display()),
                    });
                }
                std::fs::create_dir_all(&source).map_err(Error::io(format!("create {}", source.display())))?;
            }
            Ok(Mount::Bind {
                source,
                target: mount.target.clone(),
                read_only: mount.read_only,
                recursive: mount.recursive,
                propagation: mount.propagation,
            })
        }
        MountKind::Tmpfs => Ok(Mount::Tmpfs { target: mount.target.clone(), size: mount.tmpfs_size, mode: mount.tmpfs_mode, options: mount.tmpfs_options.clone() }),
        other => Err(Error::NotSupportedYet { what: format!("a {other} mount on {}", mount.target) }),
    }
}

fn devices_of(host: &HostOptions) -> Result<Vec<Device>> {
    host.devices
        .iter()
        .map(|(source, target, permissions)| {
            let source = Path::new(source);
            Device::from_host(source, target, permissions).map_err(|error| Error::InvalidWithHint {
                reason: format!("error gathering device information while adding custom device \"{}\": {error}", source.display()),
                hint: format!("ls -l {}", source.display()),
            })
        })
        .collect()
}
