//! The monitor: parent of everything in one container, owner of its stdio, log and exit status; survives the daemon.
//!
//! It starts parked: a seat taken in the container's cgroups, a first process waiting at its gate. One launch order turns it into the monitor of a
//! container; an *ephemeral* one (build steps) returns to the parked state afterwards and dies with the daemon.
//!
//! What must stay true: one thread, no async, no unbounded buffer; every process it clones comes from the seat with CLONE_PARENT, so that it is the
//! parent and takes every exit status; the `exit` file is complete before anyone is told.

mod clients;
mod connection;
mod endings;
mod execute;
mod hold;
mod launch;
mod log;
mod record;
mod seat;
mod serve;
mod session;

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use rustix::process::Pid;
use shipway_sys::process::{self, Ended, SingleThreaded};
use shipway_sys::{Error, socket};

use crate::message::{Failure, LONGEST, Note, Order, Report, Step, World, to_json};
pub(crate) use record::{EXIT, SOCKET, STATE};
use seat::Seat;

/// Handle number of the control line, given by the spawner.
pub(crate) const CONTROL: i32 = 3;

/// The whole life of a monitor.
pub(crate) fn main() -> ExitCode {
    match live() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn live() -> Result<(), Error> {
    let one_thread = SingleThreaded::prove()?;
    let control = process::inherited_handle(CONTROL)?;
    // What the daemon's own parent forgot to close must not live on in containers' helpers.
    process::close_all_but(one_thread, &[control.as_fd()])?;
    rustix::process::chdir("/").map_err(|errno| Error::new("chdir(\"/\")", errno))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    process::forbid_inspection()?;
    process::become_subreaper()?;
    process::ignore_closed_pipes_only();
    let signals = process::signals_as_file(&[rustix::process::Signal::CHILD.as_raw()])?;
    let mut parked = Parked { control, signals, seat: None, init: None, one_thread };
    while let Some(message) = socket::receive(parked.control.as_fd(), LONGEST)? {
        let Ok(order) = serde_json::from_slice(&message.bytes) else {
            parked.note(&Note::Failed(Failure::said(Step::Protocol, "the order makes no sense")))?;
            continue;
        };
        match order {
            Order::Seat => parked.take_seat(message.handles)?,
            Order::Raise(world) => parked.raise_and_tell(&world, message.handles)?,
            Order::Launch(launch) => {
                if let launch::After::Leave = launch::run(&mut parked, *launch, message.handles)? {
                    break;
                }
            }
            Order::Execute(order) => {
                hold::execute(&mut parked, &order, message.handles)?;
                break;
            }
            // Nothing runs yet.
            Order::Signal(_) => {}
        }
    }
    parked.dissolve();
    Ok(())
}

/// A monitor without a container.
struct Parked {
    control: OwnedFd,
    signals: OwnedFd,
    seat: Option<Seat>,
    init: Option<WaitingInit>,
    one_thread: SingleThreaded,
}

/// A first process at its gate.
struct WaitingInit {
    pid: Pid,
    line: OwnedFd,
    devpts: OwnedFd,
}

impl Parked {
    fn note(&self, note: &Note) -> Result<(), Error> {
        socket::send(self.control.as_fd(), &to_json(note), &[])
    }

    fn take_seat(&mut self, handles: Vec<OwnedFd>) -> Result<(), Error> {
        let seat = Seat::take(handles.first().map(AsFd::as_fd), self.one_thread)?;
        let pid = seat.pid().as_raw_pid();
        self.seat = Some(seat);
        self.note(&Note::Seated { pid })
    }

    fn raise_and_tell(&mut self, world: &World, joins: Vec<OwnedFd>) -> Result<(), Error> {
        match self.raise(world, joins) {
            Ok(pid) => self.note(&Note::Raised { pid: pid.as_raw_pid() }),
            Err(failure) => self.note(&Note::Failed(failure)),
        }
    }

    /// Has the seat clone a first process into `world` and waits until it stands at its gate. One that waited before is sent away.
    fn raise(&mut self, world: &World, joins: Vec<OwnedFd>) -> Result<Pid, Failure> {
        self.send_init_away();
        let seat = self.seat.as_mut().ok_or_else(|| Failure::said(Step::Protocol, "no seat was taken"))?;
        let protocol = |error| Failure::new(Step::Protocol, error);
        let (ours, theirs) = socket::pair().map_err(protocol)?;
        let pid = seat.raise(world, theirs, joins)?;
        let message = socket::receive(ours.as_fd(), LONGEST).map_err(protocol)?;
        let Some(mut message) = message else {
            return Err(Failure::said(Step::World, "the first process died while building its world"));
        };
        match serde_json::from_slice(&message.bytes) {
            Ok(Report::AtGate) if !message.handles.is_empty() => {
                self.init = Some(WaitingInit { pid, line: ours, devpts: message.handles.remove(0) });
                Ok(pid)
            }
            Ok(Report::Failed(failure)) => Err(failure),
            _ => Err(Failure::said(Step::Protocol, "the first process said something unexpected")),
        }
    }

    /// A first process that is not wanted leaves when its line closes; killed all the same, in case it hangs.
    fn send_init_away(&mut self) {
        if let Some(init) = self.init.take() {
            let _ = process::send_signal(init.pid, libc_kill());
            let _ = process::reap_blocking(init.pid);
        }
    }

    fn dissolve(&mut self) {
        self.send_init_away();
        if let Some(seat) = self.seat.take() {
            seat.leave();
        }
    }
}

/// SIGKILL.
fn libc_kill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}

/// Takes every child that has ended.
fn reap_all() -> Vec<(Pid, Ended)> {
    let mut ended = Vec::new();
    while let Ok(Some(one)) = process::reap_any() {
        ended.push(one);
    }
    ended
}
