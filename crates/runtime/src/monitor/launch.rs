//! Turning a parked monitor into that of a container.
//!
//! What must stay true: whatever fails, the daemon gets exactly one answer to its launch order, Started or Failed, and on Failed no process of the
//! container is left.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use shipway_sys::{Error, namespace, process, socket};

use super::connection::{Connection, Role};
use super::hold;
use super::log::Log;
use super::record;
use super::serve::{Monitor, Subject};
use super::session::{Session, Theirs};
use super::{Parked, WaitingInit, libc_kill};
use crate::clock::Instant;
use crate::message::{Failure, InitPart, LONGEST, Launch, MonitorPart, MonitorState, Note, Report, Step, VERSION, to_json};

/// What becomes of the monitor after its container.
pub(super) enum After {
    /// It is parked again.
    Again,
    /// It is done.
    Leave,
}

/// Carries out one launch order and, when it succeeds, serves the container to its end.
pub(super) fn run(parked: &mut Parked, launch: Launch, mut handles: Vec<OwnedFd>) -> Result<After, Error> {
    let own_handles = handles.split_off(launch.init_handles.min(handles.len()));
    let Some(init) = parked.init.take() else {
        parked.note(&Note::Failed(Failure::said(Step::Protocol, "no first process is waiting")))?;
        return Ok(After::Leave);
    };
    let Launch { monitor: part, init: init_part, .. } = launch;
    if let Some(streams) = part.hold {
        return hold::run(parked, streams, &init_part, handles, &own_handles, &init).map(|()| After::Leave);
    }
    match start(parked, part, &init_part, handles, own_handles, &init) {
        Ok((monitor, again, created)) => {
            parked.note(&Note::Started { at: monitor.subject.state.started, created })?;
            let served = monitor.serve(parked);
            match (served, again) {
                (super::serve::Served::Ended, Some(world)) => parked.raise(&world, Vec::new()).map_or(Ok(After::Leave), |pid| {
                    parked.note(&Note::Ready { pid: pid.as_raw_pid() })?;
                    Ok(After::Again)
                }),
                _ => Ok(After::Leave),
            }
        }
        Err(failure) => {
            let _ = process::send_signal(init.pid, libc_kill());
            let _ = process::reap_blocking(init.pid);
            parked.note(&Note::Failed(failure))?;
            Ok(After::Leave)
        }
    }
}

type Started = (Monitor, Option<crate::message::World>, Vec<String>);

fn start(
    parked: &Parked,
    part: MonitorPart,
    init_part: &InitPart,
    handles: Vec<OwnedFd>,
    own_handles: Vec<OwnedFd>,
    init: &WaitingInit,
) -> Result<Started, Failure> {
    let (mut session, theirs) = Session::open(part.terminal, part.open_stdin, init.devpts.as_fd(), init_part.program.uid)
        .map_err(|error| Failure::new(Step::Terminal, error))?;
    if let Some(log) = &part.log {
        let told = |error: std::io::Error| Failure::new(Step::Log, Error::from_io(format!("open({:?})", log.path), &error));
        session.log = Some(Log::open(log).map_err(told)?);
    }
    let service = part.state_dir.as_deref().map(|folder| open_service(Path::new(folder))).transpose()?;
    let own = |index: usize| -> Result<OwnedFd, Failure> {
        let handle = own_handles.get(index).ok_or_else(|| Failure::said(Step::Protocol, "a handle of the monitor's is missing"))?;
        rustix::io::fcntl_dupfd_cloexec(handle, 3).map_err(|errno| Failure::new(Step::Protocol, Error::new("dup()", errno)))
    };
    let oom_counter = part.oom_counter.map(own).transpose()?;
    let first = part.attach.map(|(index, wish)| own(index).map(|line| (line, wish))).transpose()?;
    let filter = match part.seccomp {
        Some(index) => handles.get(index).map(|handle| rustix::io::fcntl_dupfd_cloexec(handle, 3)).transpose().ok().flatten(),
        None => None,
    };
    // A container's own mounts are gone when its end is told, as people who unmount its sources next expect.
    let mounts = part.again.is_some().then(|| namespace::of_process(init.pid, "mnt")).transpose();
    let mounts = mounts.map_err(|error| Failure::new(Step::Join, error))?;
    let created = open_gate(init, init_part, handles, theirs)?;
    session.pid = Some(init.pid);
    session.input_once = part.stdin_once;
    let started = Instant::now();
    let devpts =
        rustix::io::fcntl_dupfd_cloexec(&init.devpts, 3).map_err(|errno| Failure::new(Step::Protocol, Error::new("dup()", errno)))?;
    let seat = parked.seat.as_ref().map_or(0, |seat| seat.pid().as_raw_pid());
    let (folder, listener) = service.unzip();
    let mut state = MonitorState {
        version: VERSION,
        id: part.id,
        monitor: 0,
        pid: init.pid.as_raw_pid(),
        seat,
        group: part.group,
        capabilities: init_part.program.bounding,
        started,
        ended: None,
    };
    if let Some(folder) = &folder {
        state.monitor = rustix::process::getpid().as_raw_pid();
        record::write(folder, record::STATE, &state).map_err(|error| Failure::new(Step::Log, error))?;
    }
    let subject = Subject { state, pid: init.pid, folder, ephemeral: part.again.is_some() || part.state_dir.is_none() };
    let mut monitor = Monitor::new(subject, session, listener, oom_counter, devpts, filter, mounts);
    if let Some((line, wish)) = first {
        monitor.connections.push(Connection::new(line, Role::Attached { session: 0, wish }));
    }
    Ok((monitor, part.again, created))
}

/// Sends the first process on its way and waits for the exec, which closes its end of the line, or for its stand at the last gate.
pub(super) fn open_gate(init: &WaitingInit, part: &InitPart, handles: Vec<OwnedFd>, theirs: Theirs) -> Result<Vec<String>, Failure> {
    let protocol = |error| Failure::new(Step::Protocol, error);
    let all: Vec<_> = handles.iter().chain(&theirs).map(AsFd::as_fd).collect();
    socket::send(init.line.as_fd(), &to_json(part), &all).map_err(protocol)?;
    drop(handles);
    drop(theirs);
    let mut created = Vec::new();
    while let Some(message) = socket::receive(init.line.as_fd(), LONGEST).map_err(protocol)? {
        match serde_json::from_slice(&message.bytes) {
            Ok(Report::Created(paths)) => created = paths,
            Ok(Report::Holding) if part.gate.is_some() => return Ok(created),
            Ok(Report::Failed(failure)) => return Err(failure),
            _ => return Err(Failure::said(Step::Protocol, "the first process said something unexpected")),
        }
    }
    if part.gate.is_some() {
        return Err(Failure::said(Step::Protocol, "the first process died before it was ready"));
    }
    Ok(created)
}

/// The folder (0700) and the listening socket (0600) in it.
fn open_service(folder: &Path) -> Result<(PathBuf, OwnedFd), Failure> {
    let told = |call: &str, error: std::io::Error| Failure::new(Step::Log, Error::from_io(format!("{call}({folder:?})"), &error));
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(told("mkdir", error)),
        _ => {}
    }
    let _ = std::fs::remove_file(folder.join(record::SOCKET));
    let _ = std::fs::remove_file(folder.join(record::EXIT));
    let handle = std::fs::File::open(folder).map_err(|error| told("open", error))?;
    // Through the folder's handle the name stays within the 108 bytes a socket address has. The umask makes it 0600.
    let listener =
        std::os::unix::net::UnixListener::bind(crate::attach::short_path(&handle, record::SOCKET)).map_err(|error| told("bind", error))?;
    listener.set_nonblocking(true).map_err(|error| told("listen", error))?;
    Ok((folder.to_path_buf(), OwnedFd::from(listener)))
}
