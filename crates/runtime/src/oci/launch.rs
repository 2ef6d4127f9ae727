//! Starting processes that will not be ours: a first one up to its gate, later ones wholly.
//!
//! What must stay true: the monitor that did the work has left before we answer, so the process already belongs to its final parent; whatever fails
//! leaves no process and no group.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use shipway_sys::cgroup::{self, Device, Group};
use shipway_sys::{fd, process};

use super::error::Error;
use super::plan::Plan;
use super::store;
use crate::error::LaunchError;
use crate::message::{ExecuteOrder, Launch, MonitorPart, Note, Order, Program, Streams};
use crate::personality::MONITOR;
use crate::pool::{Parked, Shared, unexpected};

/// Where a program's 0, 1 and 2 come from.
pub(super) enum Stdio {
    /// Ours.
    Inherited,
    /// A new terminal, whose controlling end goes to this socket.
    Console { socket: OwnedFd, size: (u16, u16) },
}

/// What launching needs, without a pool.
pub(super) fn shared() -> Result<Shared, Error> {
    let path = PathBuf::from("/proc/self/exe");
    let bytes = std::fs::read(&path).map_err(|error| Error::file("read", &path, &error))?;
    let binary = fd::memfd_sealed(MONITOR, &bytes)?;
    let mut shared = Shared::new(binary, store::tree("")?, 0, PathBuf::new(), PathBuf::new());
    shared.owns_tree = false;
    Ok(shared)
}

/// Makes the group and brings the first process to its gate. `before` is called with its pid when it stands in its namespaces and nothing is mounted.
/// Returns the pid.
pub(super) fn hold(
    shared: &Shared,
    mut plan: Plan,
    group: &Group,
    gate: OwnedFd,
    stdio: Stdio,
    before: impl FnOnce(i32) -> Result<(), Error>,
) -> Result<i32, Error> {
    let joins: Vec<BorrowedFd<'_>> = plan.joins.iter().map(AsFd::as_fd).collect();
    let mut parked = shared.make_in(group, &plan.world, &joins)?;
    let pid = parked.init.ok_or(LaunchError::MonitorDied)?.as_raw_pid();
    before(pid)?;
    restrict(group, &plan)?;
    let mut own = Vec::new();
    let streams = streams_of(stdio, plan.init.program.uid, &mut own)?;
    plan.handles.push(gate);
    plan.init.gate = Some(plan.handles.len() - 1);
    let monitor = MonitorPart {
        id: String::new(),
        group: group.name().to_owned(),
        state_dir: None,
        log: None,
        terminal: None,
        open_stdin: false,
        stdin_once: false,
        attach: None,
        oom_counter: None,
        seccomp: None,
        again: None,
        hold: Some(streams),
    };
    let program = plan.init.program.args[0].clone();
    let cwd = plan.init.program.cwd.clone();
    let order = Order::Launch(Box::new(Launch { monitor, init_handles: plan.handles.len(), init: plan.init }));
    let handles: Vec<BorrowedFd<'_>> = plan.handles.iter().chain(&own).map(AsFd::as_fd).collect();
    parked.order(&order, &handles)?;
    match parked.answer()? {
        Note::Started { .. } => {
            parked.disposable = false;
            see_off(parked);
            Ok(pid)
        }
        Note::Failed(failure) => Err(LaunchError::from_failure(failure, &program, &cwd).into()),
        other => Err(unexpected(other).into()),
    }
}

/// Limits and devices.
fn restrict(group: &Group, plan: &Plan) -> Result<(), Error> {
    group.limit(&plan.limits).map_err(LaunchError::Cgroup)?;
    let rules = &plan.devices.rules;
    if plan.devices.everything {
        group.allow_devices(&[Device::all()]).map_err(LaunchError::Cgroup)?;
    } else if !rules.is_empty() {
        let all: Vec<Device> = cgroup::default_devices().into_iter().chain(rules.iter().copied()).collect();
        group.allow_more_devices(&all, rules).map_err(LaunchError::Cgroup)?;
    }
    Ok(())
}

/// Runs one more program in a container: `pidfd` is its first process, `devpts` its terminals. Returns the pid.
pub(super) fn execute(
    shared: &Shared,
    group: &Group,
    pidfd: OwnedFd,
    mut program: Program,
    filter: Option<OwnedFd>,
    devpts: Option<OwnedFd>,
    stdio: Stdio,
) -> Result<i32, Error> {
    let mut handles = vec![pidfd];
    let streams = streams_of(stdio, program.uid, &mut handles)?;
    let mut keep = |handle: OwnedFd| {
        handles.push(handle);
        handles.len() - 1
    };
    let devpts = devpts.map(&mut keep);
    program.seccomp = filter.map(&mut keep);
    let (name, cwd) = (program.args[0].clone(), program.cwd.clone());
    let parked = shared.seat_in(group)?;
    let all: Vec<BorrowedFd<'_>> = handles.iter().map(AsFd::as_fd).collect();
    parked.order(&Order::Execute(Box::new(ExecuteOrder { program, streams, devpts })), &all)?;
    let answer = parked.answer();
    see_off(parked);
    match answer? {
        Note::Executed { pid } => Ok(pid),
        Note::Failed(failure) => Err(LaunchError::from_failure(failure, &name, &cwd).into()),
        other => Err(unexpected(other).into()),
    }
}

/// Waits until the monitor has left and taken its seat along.
fn see_off(parked: Parked) {
    let monitor = parked.monitor;
    drop(parked);
    let _ = process::reap_blocking(monitor);
}

fn streams_of(stdio: Stdio, user: u32, handles: &mut Vec<OwnedFd>) -> Result<Streams, Error> {
    let mut keep = |handle: OwnedFd| {
        handles.push(handle);
        handles.len() - 1
    };
    match stdio {
        Stdio::Console { socket, size } => Ok(Streams::Console { socket: keep(socket), size }),
        Stdio::Inherited => {
            let mut indexes = [0; 3];
            for (index, ours) in indexes.iter_mut().zip([rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()]) {
                give(ours, user);
                let copy =
                    rustix::io::fcntl_dupfd_cloexec(ours, 3).map_err(|errno| shipway_sys::Error::new("dup(standard handle)", errno))?;
                *index = keep(copy);
            }
            Ok(Streams::Given(indexes))
        }
    }
}

/// Lets another user open /dev/stdout again. Never the host's devices: only pipes, sockets and files that were made for this container.
fn give(handle: BorrowedFd<'_>, user: u32) {
    let Ok(status) = rustix::fs::fstat(handle) else { return };
    let kind = rustix::fs::FileType::from_raw_mode(status.st_mode);
    let made_for_it = matches!(kind, rustix::fs::FileType::Fifo | rustix::fs::FileType::Socket);
    if user != 0 && made_for_it {
        // A pipe of somebody else's stays theirs; then opening it again by name is refused inside, nothing else.
        let _ = rustix::fs::fchown(handle, Some(rustix::fs::Uid::from_raw(user)), None);
    }
}
