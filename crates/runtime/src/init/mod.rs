//! The first process of a container, from its clone to the moment it becomes the program.
//!
//! It runs in two parts: first it builds its *world* and waits at the gate (long before anybody wants a container, when it comes from the pool), then
//! a launch message arrives with the root and everything else as handles. What must stay true: it is single-threaded; it reaches the host only
//! through handles it was given, because it is born into an empty memory filesystem; it stays uninspectable until the exec.

mod copy_up;
mod ground;
pub(crate) mod mask;
pub(crate) mod program;
mod reaper;
mod rootfs;
mod world;

use std::os::fd::{AsFd, OwnedFd};

use shipway_sys::process::{self, SingleThreaded};
use shipway_sys::{Error, mount, namespace, pty, socket};

use crate::message::{Failure, InitPart, LONGEST, Report, Step, World, to_json};
use crate::spec::DEFAULT_SHM_SIZE;

pub(crate) use ground::Ground;
pub(crate) use world::Standing;

/// Lives the whole life of a first process on `line` (to the monitor). Never returns: it becomes the program, or leaves with a code nobody reads.
pub(crate) fn run(line: OwnedFd, wanted: &World, joins: Vec<OwnedFd>, one_thread: SingleThreaded) -> ! {
    let mut line = Some(line);
    if let Err(failure) = live(&mut line, wanted, joins, one_thread)
        && let Some(line) = line
    {
        // When the monitor is gone too there is nobody left to tell.
        let _ = socket::send(line.as_fd(), &to_json(&Report::Failed(failure)), &[]);
    }
    process::leave_now(127)
}

fn live(line: &mut Option<OwnedFd>, wanted: &World, joins: Vec<OwnedFd>, one_thread: SingleThreaded) -> Result<(), Failure> {
    process::forbid_inspection().map_err(at(Step::World))?;
    // The monitor makes its files for itself alone; what is made in here is for every user of the container.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let to_monitor = line.as_ref().ok_or_else(gone)?;
    let standing = world::build(wanted, joins)?;
    socket::send(to_monitor.as_fd(), &to_json(&Report::AtGate), &[standing.devpts.as_fd()]).map_err(at(Step::Protocol))?;
    let Some(message) = socket::receive(to_monitor.as_fd(), LONGEST).map_err(at(Step::Protocol))? else {
        process::leave_now(0);
    };
    let part: InitPart = serde_json::from_slice(&message.bytes).map_err(|error| Failure::said(Step::Protocol, error.to_string()))?;
    enter(line, &part, message.handles, standing, one_thread)
}

/// The launch itself. The handles are those of the init part, then 0, 1 and 2.
fn enter(
    line: &mut Option<OwnedFd>,
    part: &InitPart,
    mut handles: Vec<OwnedFd>,
    standing: Standing,
    one_thread: SingleThreaded,
) -> Result<(), Failure> {
    let at_standard = handles.len().checked_sub(3).ok_or_else(|| Failure::said(Step::Protocol, "standard handles are missing"))?;
    let standard = handles.split_off(at_standard);
    if part.shm_size != DEFAULT_SHM_SIZE
        && let Some(shm) = &standing.shm
    {
        mount::reconfigure(shm.as_fd(), "size", &part.shm_size.to_string()).map_err(at(Step::Mount))?;
    }
    let created = rootfs::assemble(part, &handles, &standing, part.program.terminal.then(|| standard[0].as_fd()))?;
    name_host(part)?;
    for (key, value) in &part.sysctls {
        standing.set_kernel(key, value).map_err(at(Step::Sysctl))?;
    }
    if let Some(badness) = part.program.oom_score_adj {
        standing.set_oom_badness(badness);
    }
    // Without a quota for keys left this is refused; the session is new in any case, so nothing of ours leaks.
    let _ = process::new_session_keyring();
    if !created.is_empty() {
        socket::send(line.as_ref().ok_or_else(gone)?.as_fd(), &to_json(&Report::Created(created)), &[]).map_err(at(Step::Protocol))?;
    }
    let filter = part.program.seccomp.map(|index| program::read_filter(handles.get(index))).transpose()?;
    let gate = part.gate.map(|index| take_handle(&handles, index)).transpose()?;
    let stat = if part.reaper { standing.own_stat() } else { String::new() };
    drop(standing);
    drop(handles);
    if part.reaper {
        reaper::stand_in_front(line, &part.program.args, &stat, one_thread)?;
    }
    program::take_standard(&standard, part.program.terminal)?;
    // The terminal has its numbers now; a copy would keep it open while we hold.
    drop(standard);
    Err(program::become_it(&part.program, filter.as_deref(), || gate.map_or(Ok(()), |gate| hold(line, &gate))))
}

/// Stands still until a client on `gate` says to go on. From then on `line` is the client's: it hears a failure, or the end of the line at the exec.
fn hold(line: &mut Option<OwnedFd>, gate: &OwnedFd) -> Result<(), Failure> {
    socket::send(line.as_ref().ok_or_else(gone)?.as_fd(), &to_json(&Report::Holding), &[]).map_err(at(Step::Protocol))?;
    *line = None;
    loop {
        let client = match rustix::net::accept_with(gate, rustix::net::SocketFlags::CLOEXEC) {
            Ok(client) => client,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
            Err(errno) => return Err(Failure::new(Step::Protocol, Error::new("accept(gate)", errno))),
        };
        // One that leaves without a word has changed its mind.
        if let Ok(Some(_)) = socket::receive(client.as_fd(), LONGEST) {
            *line = Some(client);
            return Ok(());
        }
    }
}

fn take_handle(handles: &[OwnedFd], index: usize) -> Result<OwnedFd, Failure> {
    let handle = handles.get(index).ok_or_else(|| Failure::said(Step::Protocol, format!("handle {index} is missing")))?;
    rustix::io::fcntl_dupfd_cloexec(handle, 3).map_err(|errno| Failure::new(Step::Protocol, Error::new("dup()", errno)))
}

fn name_host(part: &InitPart) -> Result<(), Failure> {
    if let Some(name) = &part.hostname {
        namespace::set_host_name(name).map_err(at(Step::Identity))?;
    }
    if let Some(name) = &part.domainname {
        namespace::set_domain_name(name).map_err(at(Step::Identity))?;
    }
    Ok(())
}

fn gone() -> Failure {
    Failure::said(Step::Protocol, "the line to the monitor is closed")
}

/// Says which step an error belongs to.
pub(crate) fn at(step: Step) -> impl Fn(Error) -> Failure {
    move |error| Failure::new(step, error)
}

/// A session and a terminal of its own where there is one.
pub(crate) fn new_session(terminal: Option<std::os::fd::BorrowedFd<'_>>) -> Result<(), Failure> {
    rustix::process::setsid().map_err(|errno| Failure::new(Step::Terminal, Error::new("setsid()", errno)))?;
    match terminal {
        Some(terminal) => pty::take_control(terminal).map_err(at(Step::Terminal)),
        None => Ok(()),
    }
}
