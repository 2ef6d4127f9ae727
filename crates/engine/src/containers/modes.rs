//! Whose namespaces a container lives in: `--pid`, `--ipc`, `--uts`, `--cgroupns`, `--userns`, and which kernel settings that lets it have.
//!
//! What must stay true: a setting that is not the container's own is never written; the words are dockerd's and runc's, who share this work there.

use shipway_runtime::{Namespace, Namespaces};

use super::spec::{CreateSpec, HostOptions, NetworkMode};
use super::{Container, ContainerRecord};
use crate::{Engine, Error, Result};

/// Kernel settings of an IPC namespace.
const IPC_SETTINGS: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Refuses modes and settings that do not exist or are not the container's to have.
pub(super) fn refuse(spec: &CreateSpec) -> Result<()> {
    let host = &spec.host;
    let known = |mode: &str, words: &[&str]| words.contains(&mode) || mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    if !known(&host.pid_mode, &["", "host"]) {
        return Err(Error::invalid(format!("invalid PID mode: {}", host.pid_mode)));
    }
    if host.ipc_mode == "container:" {
        return Err(Error::invalid("can't join IPC of container : invalid name or ID supplied: \"\""));
    }
    if !known(&host.ipc_mode, &["", "none", "private", "shareable", "host"]) {
        return Err(Error::invalid(format!("Invalid IPC mode: {}", host.ipc_mode)));
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return Err(Error::invalid(format!("invalid UTS mode: {}", host.uts_mode)));
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "host" | "private") {
        return Err(Error::invalid(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode)));
    }
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return Err(Error::InvalidWithHint {
            reason: format!("invalid user namespace mode: {}", host.userns_mode),
            hint: "containers share the host's user namespace; -v SOURCE:TARGET:idmap gives files the container's owners".to_owned(),
        });
    }
    host.sysctls.iter().try_for_each(|(key, value)| refuse_setting(host, key, value))
}

fn refuse_setting(host: &HostOptions, key: &str, value: &str) -> Result<()> {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
    if !plain || key.split(['.', '/']).any(str::is_empty) || value.contains('\0') {
        return Err(Error::invalid(format!("invalid sysctl \"{key}\"")));
    }
    let in_host_ipc = host.ipc_mode == "host";
    if key.starts_with("net.") {
        return match host.network {
            NetworkMode::Host => Err(Error::invalid(format!("sysctl \"{key}\" not allowed in host network namespace"))),
            _ => Ok(()),
        };
    }
    if IPC_SETTINGS.contains(&key) || key.starts_with("fs.mqueue.") {
        return if in_host_ipc {
            Err(Error::invalid(format!("sysctl \"{key}\" is not allowed in the hosts ipc namespace")))
        } else {
            Ok(())
        };
    }
    Err(Error::InvalidWithHint {
        reason: format!("sysctl \"{key}\" is not in a separate kernel namespace"),
        hint: format!("it is one for the whole host; there: sysctl -w {key}={value}"),
    })
}

impl Engine {
    /// Names whose namespaces are joined, as ids: the one that is meant stays the one that is meant, whatever it or another is called later. A container
    /// that is not there is told at the start.
    pub(super) fn join_by_id(&self, host: &mut HostOptions) {
        let id_of = |name: &str| self.container(name).ok().map(|found| found.id.to_string());
        if let NetworkMode::Container(name) = &mut host.network
            && let Some(id) = id_of(name)
        {
            *name = id;
        }
        for mode in [&mut host.pid_mode, &mut host.ipc_mode] {
            if let Some(id) = mode.strip_prefix("container:").and_then(id_of) {
                *mode = format!("container:{id}");
            }
        }
    }

    /// Fills in every namespace but the network.
    pub(super) fn share_namespaces(&self, host: &HostOptions, namespaces: &mut Namespaces) -> Result<()> {
        namespaces.pid = match host.pid_mode.as_str() {
            "" => Namespace::Private,
            "host" => Namespace::Host,
            mode => Namespace::Container(self.donor(mode)?.1),
        };
        namespaces.ipc = match host.ipc_mode.as_str() {
            "" | "none" | "private" | "shareable" => Namespace::Private,
            "host" => Namespace::Host,
            mode => Namespace::Container(self.ipc_donor(mode)?),
        };
        namespaces.uts = if host.uts_mode == "host" { Namespace::Host } else { Namespace::Private };
        namespaces.cgroup = if host.cgroupns_mode == "host" { Namespace::Host } else { Namespace::Private };
        Ok(())
    }

    /// The container that `container:NAME` means, and its first process.
    fn donor(&self, mode: &str) -> Result<(ContainerRecord, i32)> {
        let donor = self.container(mode.strip_prefix("container:").unwrap_or(mode))?;
        let record = donor.record();
        match record.state.pid() {
            Some(pid) => Ok((record, pid)),
            None => Err(not_running(&donor, &format!("container {} is not running", donor.id))),
        }
    }

    fn ipc_donor(&self, mode: &str) -> Result<i32> {
        let donor = self.container(mode.strip_prefix("container:").unwrap_or(mode))?;
        let refusal = |why: &str| format!("can't join IPC of container {}: {why}", donor.id);
        let record = donor.record();
        let Some(pid) = record.state.pid() else {
            return Err(not_running(&donor, &refusal(&format!("container {} is not running", donor.id))));
        };
        if record.spec.host.ipc_mode != "shareable" {
            return Err(Error::invalid(refusal("non-shareable IPC (hint: use IpcMode:shareable for the donor container)")));
        }
        Ok(pid)
    }
}

fn not_running(donor: &Container, reason: &str) -> Error {
    Error::Conflict { reason: reason.to_owned(), hint: Some(format!("start it first: shipway start {}", donor.name())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, change: impl Fn(&mut HostOptions), expected: Option<&str>) {
        let mut host = HostOptions::default();
        change(&mut host);
        assert_eq!(refuse_setting(&host, key, "1").err().map(|error| error.to_string()).as_deref(), expected);
    }

    #[test]
    fn only_settings_of_ones_own_namespaces_are_taken() {
        check("net.ipv4.ip_forward", |_| {}, None);
        check("kernel.shmmax", |_| {}, None);
        check("fs.mqueue.msg_max", |_| {}, None);
        check("vm.swappiness", |_| {}, Some("sysctl \"vm.swappiness\" is not in a separate kernel namespace"));
        check("kernel.core_pattern", |_| {}, Some("sysctl \"kernel.core_pattern\" is not in a separate kernel namespace"));
        let words = "sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace";
        check("net.ipv4.ip_forward", |host| host.network = NetworkMode::Host, Some(words));
        let words = "sysctl \"kernel.sem\" is not allowed in the hosts ipc namespace";
        check("kernel.sem", |host| host.ipc_mode = "host".to_owned(), Some(words));
        for wrong in ["", "net.", "net..ipv4", "net.ipv4/../../kernel/core_pattern", "net.a b", "/net"] {
            assert!(refuse_setting(&HostOptions::default(), wrong, "1").is_err(), "{wrong}");
        }
    }
}
