//! The program, its limits and its filter in the terms of the init and the kernel.
//!
//! What must stay true: what the host cannot give is lowered to what it can (R12), never refused.

use std::collections::BTreeMap;

use shipway_model::{Limits, Ulimit};
use shipway_sys::probe::Probe;
use shipway_sys::{cgroup, rlimit};

use crate::error::LaunchError;
use crate::message::{Program, default_umask};
use crate::spec::{ProcessSpec, SeccompChoice};

/// The program as the init side wants it; the filter is added by the caller.
pub(crate) fn program_of(process: &ProcessSpec) -> Result<Program, LaunchError> {
    let ours = Probe::get().capabilities.permitted;
    // Lowered to what we have (R12).
    let capabilities = process.capabilities.mask() & ours;
    // User 0 has them at once; another user has none, but a set-id program may raise what is bounded.
    let at_once = if process.user.uid == 0 { capabilities } else { 0 };
    Ok(Program {
        args: process.args.clone(),
        env: process.env.clone(),
        cwd: if process.cwd.is_empty() { "/".to_owned() } else { process.cwd.clone() },
        make_cwd: false,
        uid: process.user.uid,
        gid: process.user.gid,
        groups: process.user.additional.clone(),
        bounding: capabilities,
        permitted: at_once,
        effective: at_once,
        inheritable: 0,
        ambient: 0,
        no_new_privileges: process.no_new_privileges,
        seccomp: None,
        rlimits: rlimits_of(&process.rlimits)?,
        oom_score_adj: process.oom_score_adj,
        terminal: process.terminal.is_some(),
        umask: default_umask(),
    })
}

/// Docker's ceiling on open files, taken as far as the host allows when nothing else is asked for.
const OPEN_FILES: u64 = 1 << 20;

pub(super) fn rlimits_of(wishes: &[Ulimit]) -> Result<Vec<(u32, u64, u64)>, LaunchError> {
    let mut limits: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    limits.extend(rlimit::resource("nofile").map(|resource| (resource, (OPEN_FILES, OPEN_FILES))));
    for wish in wishes {
        let resource = rlimit::resource(&wish.name).ok_or_else(|| LaunchError::Step {
            step: "set limits",
            errno: 0,
            text: format!("there is no limit \"{}\"", wish.name),
        })?;
        let number = |value: i64| if value < 0 { rlimit::UNLIMITED } else { value as u64 };
        limits.insert(resource, (number(wish.soft), number(wish.hard)));
    }
    Ok(limits.into_iter().map(|(resource, (soft, hard))| (resource, soft, hard)).collect())
}

/// The model's limits in the kernel's terms. One more process than asked for: the seat sits in the group too.
pub(crate) fn limits_of(limits: &Limits) -> cgroup::Limits {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let memory = limits.memory.filter(|bytes| *bytes > 0).map(signed);
    let mut quota = (limits.cpu_period, limits.cpu_quota);
    if let Some(billionths) = limits.nano_cpus.filter(|billionths| *billionths > 0) {
        const PERIOD: u64 = 100_000;
        quota = (Some(PERIOD), Some(signed(billionths.saturating_mul(PERIOD) / 1_000_000_000)));
    }
    cgroup::Limits {
        memory,
        // Docker's rule: as much swap again as memory, unless told otherwise.
        memory_and_swap: limits.memory_swap.filter(|bytes| *bytes != 0).or_else(|| memory.map(|bytes| bytes.saturating_mul(2))),
        memory_reservation: limits.memory_reservation.filter(|bytes| *bytes > 0).map(signed),
        swappiness: limits.memory_swappiness.map(u64::from),
        cpu_shares: limits.cpu_shares.filter(|shares| *shares > 0),
        cpu_quota: quota.1.filter(|quota| *quota != 0),
        cpu_period: quota.0.filter(|period| *period != 0),
        cpus: limits.cpuset_cpus.clone().filter(|text| !text.is_empty()),
        memory_nodes: limits.cpuset_mems.clone().filter(|text| !text.is_empty()),
        pids: limits.pids.map(|pids| if pids > 0 { pids.saturating_add(1) } else { -1 }),
        block_weight: limits.blkio_weight.filter(|weight| *weight != 0),
        realtime_period: limits.cpu_realtime_period.filter(|period| *period != 0),
        realtime_runtime: limits.cpu_realtime_runtime.filter(|time| *time != 0),
        oom_kill_disable: limits.oom_kill_disable.filter(|disable| *disable),
    }
}

/// Whether a process of this spec may use all system calls.
pub(crate) fn is_confined(choice: &SeccompChoice) -> bool {
    *choice != SeccompChoice::Unconfined
}
