//! Monitors that do not stay: what the OCI command line needs, where whoever called us is to be the parent of the container.
//!
//! One order is carried out, then the monitor leaves and what it has started goes to the nearest subreaper (conmon, containerd's shim, `oci run`).
//! What must stay true: on Failed nothing of it is left; the controlling end of a terminal is sent only when everything else has succeeded.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Uid};
use rustix::process::Pid;
use shipway_sys::{Error, process, pty, socket};

use super::launch::open_gate;
use super::{Parked, WaitingInit, execute::ALL, libc_kill};
use crate::clock::Instant;
use crate::message::{ExecuteOrder, Failure, InitPart, LONGEST, Note, Report, SeatOrder, Step, Streams};

/// What runc calls the controlling end in its message.
const TERMINAL_NAME: &[u8] = b"/dev/ptmx";
/// Group of terminals in every distribution, and the mode devpts gives.
const TERMINAL_GROUP: u32 = 5;

/// Standard handles for a program, and the controlling end with where it goes.
struct Prepared<'a> {
    theirs: Vec<OwnedFd>,
    terminal: Option<(OwnedFd, BorrowedFd<'a>)>,
}

/// Brings the first process to its last gate and tells so.
pub(super) fn run(
    parked: &Parked,
    streams: Streams,
    part: &InitPart,
    handles: Vec<OwnedFd>,
    own: &[OwnedFd],
    init: &WaitingInit,
) -> Result<(), Error> {
    let held = prepare(streams, own, Some(init.devpts.as_fd()), part.program.uid).and_then(|prepared| {
        let created = open_gate(init, part, handles, prepared.theirs)?;
        hand_over(prepared.terminal)?;
        Ok(created)
    });
    match held {
        Ok(created) => parked.note(&Note::Started { at: Instant::now(), created }),
        Err(failure) => {
            end(init.pid);
            parked.note(&Note::Failed(failure))
        }
    }
}

/// Runs one program beside a first process that is none of ours.
pub(super) fn execute(parked: &mut Parked, order: &ExecuteOrder, handles: Vec<OwnedFd>) -> Result<(), Error> {
    match start(parked, order, &handles) {
        Ok(pid) => parked.note(&Note::Executed { pid: pid.as_raw_pid() }),
        Err(failure) => parked.note(&Note::Failed(failure)),
    }
}

fn start(parked: &mut Parked, order: &ExecuteOrder, handles: &[OwnedFd]) -> Result<Pid, Failure> {
    let seat = parked.seat.as_mut().ok_or_else(|| Failure::said(Step::Protocol, "no seat was taken"))?;
    let devpts = order.devpts.map(|index| find(handles, index)).transpose()?;
    let prepared = prepare(order.streams, handles, devpts, order.program.uid)?;
    let (ours, error_line) = socket::pair().map_err(|error| Failure::new(Step::Protocol, error))?;
    let mut program = order.program.clone();
    let mut all = vec![error_line.as_fd()];
    all.extend(prepared.theirs.iter().map(AsFd::as_fd));
    if let Some(index) = program.seccomp {
        all.push(find(handles, index)?);
        program.seccomp = Some(4);
    }
    all.push(find(handles, 0)?);
    seat.order_program(&SeatOrder::Execute { program: Box::new(program), joins: ALL }, &all)?;
    let pid = seat.answer()?;
    drop((error_line, prepared.theirs));
    let heard = socket::receive(ours.as_fd(), LONGEST).map_err(|error| Failure::new(Step::Protocol, error));
    let started = heard.and_then(|message| match message.map(|message| serde_json::from_slice(&message.bytes)) {
        None => hand_over(prepared.terminal),
        Some(Ok(Report::Failed(failure))) => Err(failure),
        Some(_) => Err(Failure::said(Step::Protocol, "the program said something unexpected")),
    });
    started.inspect_err(|_| end(pid)).map(|()| pid)
}

fn prepare<'a>(streams: Streams, own: &'a [OwnedFd], devpts: Option<BorrowedFd<'_>>, owner: u32) -> Result<Prepared<'a>, Failure> {
    let told = |error: Error| Failure::new(Step::Terminal, error);
    match streams {
        Streams::Given(indexes) => {
            let mut theirs = Vec::new();
            for index in indexes {
                theirs.push(duplicate(find(own, index)?).map_err(told)?);
            }
            Ok(Prepared { theirs, terminal: None })
        }
        Streams::Console { socket, size: (rows, columns) } => {
            let devpts = devpts.ok_or_else(|| Failure::said(Step::Terminal, "the container has no devpts"))?;
            let terminal = pty::open_in(devpts).map_err(told)?;
            if (rows, columns) != (0, 0) {
                pty::set_size(terminal.master.as_fd(), rows, columns).map_err(told)?;
            }
            // Refused for a user id outside our user namespace; then programs cannot open the terminal again by name, nothing else.
            let _ = rustix::fs::fchown(&terminal.slave, Some(Uid::from_raw(owner)), Some(Gid::from_raw(TERMINAL_GROUP)));
            let slave = terminal.slave;
            let theirs = vec![duplicate(slave.as_fd()).map_err(told)?, duplicate(slave.as_fd()).map_err(told)?, slave];
            Ok(Prepared { theirs, terminal: Some((terminal.master, find(own, socket)?)) })
        }
    }
}

fn hand_over(terminal: Option<(OwnedFd, BorrowedFd<'_>)>) -> Result<(), Failure> {
    let Some((master, console)) = terminal else { return Ok(()) };
    socket::send_handle(console, TERMINAL_NAME, master.as_fd()).map_err(|error| Failure::new(Step::Terminal, error))
}

fn find(handles: &[OwnedFd], index: usize) -> Result<BorrowedFd<'_>, Failure> {
    let handle = handles.get(index).ok_or_else(|| Failure::said(Step::Protocol, format!("handle {index} is missing")))?;
    Ok(handle.as_fd())
}

fn duplicate(handle: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    rustix::io::fcntl_dupfd_cloexec(handle, 3).map_err(|errno| Error::new("dup()", errno))
}

fn end(pid: Pid) {
    let _ = process::send_signal(pid, libc_kill());
    let _ = process::reap_blocking(pid);
}
