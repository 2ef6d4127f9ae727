//! From a record to the finished values that the hands act on.
//!
//! Nothing here touches the kernel; everything that can be refused is refused here, before a process exists.

use std::path::PathBuf;
use std::sync::Arc;

use shipway_runtime::{
    ContainerSpec, FileSource, GeneratedFile, Namespaces, NetNs, ProcessSpec, RootFs, SeccompChoice, Stdio, TerminalSize,
};

use super::files;
use super::resolve::{Accounts, ResolvedUser};
use super::spec::{HostOptions, NetworkMode, SeccompOption};
use super::{Container, ContainerRecord};
use crate::{Engine, Error, Result, blocking};

/// Processes a container may have unless it says otherwise (security.md section 6).
const PIDS: i64 = 4096;

impl Engine {
    /// Everything a launch of this container needs.
    pub(super) async fn container_spec(&self, container: &Arc<Container>) -> Result<ContainerSpec> {
        let _turn = self.inner.volumes.take(&container.record().volume_names()).await;
        let (engine, container) = (self.clone(), Arc::clone(container));
        blocking::files(move || engine.container_spec_now(&container)).await
    }

    fn container_spec_now(&self, container: &Container) -> Result<ContainerSpec> {
        let record = container.record();
        let host = &record.spec.host;
        let user = self.accounts_of(&record)?.resolve(&record.process.user, &host.group_add)?;
        let process = self.process_of(&record, &user)?;
        let generated = match &host.network {
            // One stack, one set of names: the other's files are shared.
            NetworkMode::Container(other) => {
                let own = self.container_dir(record.id);
                std::fs::create_dir_all(&own).map_err(Error::io(format!("create {}", own.display())))?;
                self.generated_files(self.container(other)?.id)
            }
            _ => {
                let generated = self.generated_files(record.id);
                self.check_legacy_links(&record)?;
                files::write(&generated, &self.complete_name_settings(&record)?)?;
                generated
            }
        };
        let folder = self.active_dir(record.id);
        let root = RootFs {
            lowers: self.inner.store.mount_of(&record.layers),
            upper: Some((folder.join("upper"), folder.join("work"))),
            volatile: host.auto_remove,
            plain: None,
        };
        let mut spec = ContainerSpec::new(record.id, root, process, self.state_dir(record.id));
        spec.hostname.clone_from(&record.process.hostname);
        spec.domainname.clone_from(&record.spec.domainname);
        spec.mounts = self.mounts_of(&record, &user.ids)?;
        spec.files = [("/etc/resolv.conf", generated.resolv_conf), ("/etc/hostname", generated.hostname), ("/etc/hosts", generated.hosts)]
            .into_iter()
            // One that the user mounts something over is the user's.
            .filter(|(target, _)| record.mounts.iter().all(|mount| mount.spec.target != *target))
            .map(|(target, path)| GeneratedFile { target: target.to_owned(), source: FileSource::Path(path), read_only: false })
            .collect();
        spec.namespaces = self.namespaces_of(host)?;
        spec.limits = host.limits.clone();
        spec.limits.pids = Some(host.limits.pids.unwrap_or(PIDS));
        self.give_devices(host, &mut spec)?;
        if host.privileged || host.security.unconfined_paths {
            spec.masked_paths = Vec::new();
            spec.readonly_paths = Vec::new();
        } else {
            spec.masked_paths = host.masked_paths.clone().unwrap_or(spec.masked_paths);
            spec.readonly_paths = host.readonly_paths.clone().unwrap_or(spec.readonly_paths);
        }
        spec.read_only_root = host.read_only_root;
        spec.privileged = host.privileged;
        spec.sysctls.clone_from(&host.sysctls);
        spec.shm_size = if host.ipc_mode == "none" { 0 } else { host.shm_size.unwrap_or(self.inner.config.default_shm_size) };
        spec.init = host.init.unwrap_or(self.inner.config.init);
        spec.stdio = Stdio { open_stdin: record.spec.open_stdin, stdin_once: record.spec.stdin_once };
        spec.log = self.log_config(&record)?;
        spec.cgroup_parent.clone_from(&host.cgroup_parent);
        Ok(spec)
    }

    /// Folder of a container's writable layer.
    pub(crate) fn active_dir(&self, id: shipway_model::ContainerId) -> PathBuf {
        self.inner.store.root().join("active").join(id.to_string())
    }

    /// The account files of a container: its own changes on top of its image.
    pub(super) fn accounts_of(&self, record: &ContainerRecord) -> Result<Accounts> {
        let upper = shipway_sys::path::Root::open(self.active_dir(record.id).join("upper")).ok();
        Ok(Accounts::read(&self.inner.store.tree(&record.layers)?, upper.as_ref()))
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
        for entry in self.legacy_environment(record) {
            if !env.iter().any(|other| other.split('=').next() == entry.split('=').next()) {
                env.push(entry);
            }
        }
        if record.spec.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
            env.push("TERM=xterm".to_owned());
        }
        let capabilities = super::spec::capabilities_of(host)?;
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

    fn namespaces_of(&self, host: &HostOptions) -> Result<Namespaces> {
        let net = match &host.network {
            NetworkMode::Default | NetworkMode::None | NetworkMode::Named(_) => NetNs::Private,
            _ if self.network_of_mode(&host.network) == Some(crate::networks::HOST) => NetNs::Host,
            NetworkMode::Host => NetNs::Host,
            NetworkMode::Container(name) => NetNs::Container(self.pid_of(name, "network")?),
        };
        let mut namespaces = Namespaces { net, ..Namespaces::default() };
        self.share_namespaces(host, &mut namespaces)?;
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
}
