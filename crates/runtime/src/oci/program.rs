//! A process of the configuration as the init and the seat want it.
//!
//! What must stay true: nothing of Docker's posture is added: no default limits, no default profile, no capability that is not listed.

use std::sync::Arc;

use shipway_sys::rlimit;

use super::capabilities::Sets;
use super::config::{Process, Rlimit};
use super::error::Error;
use crate::message::{Program, default_umask};
use crate::spec::SeccompChoice;

/// The program, and warnings about what it will not have. Its filter is the caller's to add.
pub(super) fn program_of(process: &Process, sets: Sets) -> Result<Program, Error> {
    refuse_unsupported(process)?;
    if process.args.first().is_none_or(String::is_empty) {
        return Err(Error::usage("process.args is empty"));
    }
    if !process.cwd.starts_with('/') {
        return Err(Error::usage(format!("process.cwd \"{}\" is not an absolute path", process.cwd)));
    }
    Ok(Program {
        args: process.args.clone(),
        env: process.env.clone(),
        cwd: process.cwd.clone(),
        make_cwd: false,
        uid: process.user.uid,
        gid: process.user.gid,
        groups: process.user.additional_gids.clone(),
        bounding: sets.bounding,
        permitted: sets.permitted,
        effective: sets.effective,
        inheritable: sets.inheritable,
        ambient: sets.ambient,
        no_new_privileges: process.no_new_privileges,
        seccomp: None,
        rlimits: process.rlimits.iter().map(limit).collect::<Result<_, _>>()?,
        oom_score_adj: process.oom_score_adj,
        terminal: process.terminal,
        umask: process.user.umask.unwrap_or_else(default_umask),
    })
}

fn refuse_unsupported(process: &Process) -> Result<(), Error> {
    let asked = [
        (!process.apparmor_profile.is_empty(), "process.apparmorProfile"),
        (!process.selinux_label.is_empty(), "process.selinuxLabel"),
        (process.scheduler.is_some(), "process.scheduler"),
        (process.io_priority.is_some(), "process.ioPriority"),
        (process.exec_cpu_affinity.is_some(), "process.execCPUAffinity"),
    ];
    asked.iter().find(|(asked, _)| *asked).map_or(Ok(()), |(_, what)| Err(Error::unsupported(*what)))
}

fn limit(wish: &Rlimit) -> Result<(u32, u64, u64), Error> {
    let name = wish.kind.strip_prefix("RLIMIT_").map(str::to_lowercase);
    let resource = name.and_then(|name| rlimit::resource(&name));
    let resource = resource.ok_or_else(|| Error::usage(format!("there is no limit \"{}\"", wish.kind)))?;
    Ok((resource, wish.soft, wish.hard))
}

/// The seccomp object of the configuration; none means that every system call is allowed.
pub(super) fn seccomp_of(object: Option<&serde_json::Value>) -> Result<SeccompChoice, Error> {
    let Some(object) = object else { return Ok(SeccompChoice::Unconfined) };
    // These change how the filter is installed, not what it decides, and hold for ours or do not matter to it.
    const HARMLESS: [&str; 4] = [
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ];
    let flags = object.get("flags").and_then(serde_json::Value::as_array);
    if let Some(flag) = flags.into_iter().flatten().find(|flag| !flag.as_str().is_some_and(|flag| HARMLESS.contains(&flag))) {
        return Err(Error::unsupported(format!("the seccomp flag {flag}")));
    }
    if object.get("listenerPath").is_some_and(|path| path.as_str() != Some("")) {
        return Err(Error::unsupported("seccomp.listenerPath"));
    }
    Ok(SeccompChoice::Profile(Arc::from(serde_json::to_vec(object).unwrap_or_default())))
}
