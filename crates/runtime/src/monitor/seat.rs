//! The seat: a process that sits in the container's cgroups from long before the launch until the end, and clones everything that runs there.
//!
//! On cgroup version 1 moving a process costs 5-15 ms, being born costs nothing; so one process is moved ahead of time and gives birth on request.
//! The children are the monitor's (CLONE_PARENT). It has left the host's mounts, so that none is copied for a child. For later programs (exec) it enters
//! the container's namespaces once.
//!
//! What must stay true: it is never visible inside (not a member of the container's pid namespace), never inspectable, dies with the monitor, and
//! holds no host handle when a program is executed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::Pid;
use shipway_sys::process::{self, CLONE_PARENT, Cloned, SingleThreaded};
use shipway_sys::{Error, namespace, socket};

use crate::init::{self, Ground};
use crate::message::{Failure, LONGEST, Program, Report, SeatOrder, SeatReport, Step, World, to_json};

/// The monitor's grip on it.
pub(super) struct Seat {
    pid: Pid,
    line: OwnedFd,
}

impl Seat {
    /// Clones the seat, into `cgroup` where given.
    pub(super) fn take(cgroup: Option<BorrowedFd<'_>>, one_thread: SingleThreaded) -> Result<Self, Error> {
        let (ours, theirs) = socket::pair()?;
        match process::clone_process(one_thread, 0, cgroup)? {
            Cloned::Parent(pid) => Ok(Self { pid, line: ours }),
            Cloned::Child => sit(&theirs, one_thread),
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn line(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }

    /// Clones a first process; blocks for the clone only.
    pub(super) fn raise(&mut self, world: &World, line: OwnedFd, joins: Vec<OwnedFd>) -> Result<Pid, Failure> {
        let protocol = |error| Failure::new(Step::Protocol, error);
        let mut handles = vec![line.as_fd()];
        handles.extend(joins.iter().map(AsFd::as_fd));
        socket::send(self.line.as_fd(), &to_json(&SeatOrder::Raise(world.clone())), &handles).map_err(protocol)?;
        self.answer()
    }

    /// Asks for one more program; the answer is to be fetched with [`Seat::answer`] when the line is readable. `handles` as in `SeatOrder::Execute`.
    pub(super) fn order_program(&mut self, order: &SeatOrder, handles: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        socket::send(self.line.as_fd(), &to_json(order), handles).map_err(|error| Failure::new(Step::Protocol, error))
    }

    pub(super) fn answer(&mut self) -> Result<Pid, Failure> {
        let message = socket::receive(self.line.as_fd(), LONGEST).map_err(|error| Failure::new(Step::Protocol, error))?;
        let Some(message) = message else { return Err(Failure::said(Step::Clone, "the seat has left")) };
        match serde_json::from_slice(&message.bytes) {
            Ok(SeatReport::Cloned { pid }) => Pid::from_raw(pid).ok_or_else(|| Failure::said(Step::Clone, "the clone has no number")),
            Ok(SeatReport::Failed(failure)) => Err(failure),
            Err(error) => Err(Failure::said(Step::Protocol, error.to_string())),
        }
    }

    /// Ends it.
    pub(super) fn leave(self) {
        let _ = process::send_signal(self.pid, super::libc_kill());
        let _ = process::reap_blocking(self.pid);
    }
}

/// The seat's own life.
fn sit(line: &OwnedFd, one_thread: SingleThreaded) -> ! {
    let _ = process::die_with_parent();
    let _ = process::forbid_inspection();
    // Among the rest is the monitor's control line, whose end must be the monitor's end.
    let _ = process::close_all_but(one_thread, &[line.as_fd()]);
    let mut ground = Ground::clear().map_err(|error| Failure::new(Step::World, error));
    let mut joined = false;
    while let Ok(Some(message)) = socket::receive(line.as_fd(), LONGEST) {
        let answer = match serde_json::from_slice(&message.bytes) {
            Ok(SeatOrder::Raise(world)) => match &mut ground {
                Ok(ground) => raise(&world, ground, message.handles, one_thread),
                Err(failure) => Err(failure.clone()),
            },
            Ok(SeatOrder::Execute { program, joins }) => execute(&program, joins, &mut joined, message.handles, one_thread),
            Err(error) => Err(Failure::said(Step::Protocol, error.to_string())),
        };
        let report = match answer {
            Ok(pid) => SeatReport::Cloned { pid: pid.as_raw_pid() },
            Err(failure) => SeatReport::Failed(failure),
        };
        if socket::send(line.as_fd(), &to_json(&report), &[]).is_err() {
            break;
        }
    }
    process::leave_now(0)
}

fn raise(world: &World, ground: &mut Ground, mut handles: Vec<OwnedFd>, one_thread: SingleThreaded) -> Result<Pid, Failure> {
    if handles.len() != world.joins.len() + 1 {
        return Err(Failure::said(Step::Protocol, "a namespace's handle is missing"));
    }
    let to_monitor = handles.remove(0);
    for (handle, kind) in handles.iter().zip(&world.joins) {
        // A pid namespace is entered by being born into it.
        if *kind == namespace::PID {
            namespace::enter(handle.as_fd(), *kind).map_err(|error| Failure::new(Step::Join, error))?;
        }
    }
    let fresh = ground.prepare(world).map_err(|error| Failure::new(Step::World, error))?;
    match process::clone_process(one_thread, fresh | CLONE_PARENT, None).map_err(|error| Failure::new(Step::Clone, error))? {
        Cloned::Parent(pid) => Ok(pid),
        Cloned::Child => {
            let kept: Vec<BorrowedFd<'_>> = handles.iter().chain([&to_monitor]).map(AsFd::as_fd).collect();
            let _ = process::close_all_but(one_thread, &kept);
            init::run(to_monitor, world, handles, one_thread)
        }
    }
}

fn execute(
    program: &Program,
    joins: u64,
    joined: &mut bool,
    mut handles: Vec<OwnedFd>,
    one_thread: SingleThreaded,
) -> Result<Pid, Failure> {
    let pidfd = handles.pop().ok_or_else(|| Failure::said(Step::Protocol, "the pidfd is missing"))?;
    // All of them or none (setns(2)); nothing is ever started from a seat that is not inside.
    if !*joined {
        namespace::enter_process(pidfd.as_fd(), joins).map_err(|error| Failure::new(Step::Join, error))?;
        *joined = true;
    }
    drop(pidfd);
    if handles.len() < 4 {
        return Err(Failure::said(Step::Protocol, "standard handles are missing"));
    }
    match process::clone_process(one_thread, CLONE_PARENT, None).map_err(|error| Failure::new(Step::Clone, error))? {
        Cloned::Parent(pid) => Ok(pid),
        Cloned::Child => {
            let failure = become_program(program, &handles);
            let _ = socket::send(handles[0].as_fd(), &to_json(&Report::Failed(failure)), &[]);
            process::leave_now(127)
        }
    }
}

/// Handles: error line, 0, 1, 2, then the filter.
fn become_program(program: &Program, handles: &[OwnedFd]) -> Failure {
    let filter = match program.seccomp.map(|index| init::program::read_filter(handles.get(index))).transpose() {
        Ok(filter) => filter,
        Err(failure) => return failure,
    };
    if let Err(failure) = init::program::take_standard(&handles[1..4], program.terminal) {
        return failure;
    }
    init::program::become_it(program, filter.as_deref(), || Ok(()))
}
