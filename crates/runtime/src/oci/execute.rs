//! `oci exec`: one more program in a container.
//!
//! What must stay true: what the flags do not say is as in the container's own process, its filter included; the container's processes never see us
//! half inside (the seat joins, see `monitor/seat.rs`).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use shipway_model::Capability;
use shipway_sys::Error as SysError;

use super::arguments::{Flag, Parsed, parse};
use super::capabilities::Sets;
use super::config::{self, Process};
use super::create::{console, refuse_unsupported, write_pid_file};
use super::error::Error;
use super::launch::{self, Stdio};
use super::plan::terminal_size;
use super::store::{Container, Status, Store};
use super::{Global, foreground, program, warn};

const FLAGS: &[Flag] = &[
    Flag::value("console-socket"),
    Flag::value("cwd"),
    Flag::short_value("env", 'e'),
    Flag::short_switch("tty", 't'),
    Flag::short_value("user", 'u'),
    Flag::short_value("additional-gids", 'g'),
    Flag::short_value("process", 'p'),
    Flag::short_switch("detach", 'd'),
    Flag::value("pid-file"),
    Flag::value("process-label"),
    Flag::value("apparmor"),
    Flag::switch("no-new-privs"),
    Flag::short_value("cap", 'c'),
    Flag::value("preserve-fds"),
    Flag::value("cgroup"),
    Flag::switch("ignore-paused"),
    Flag::switch("no-subreaper"),
];

/// Type of a devpts, statfs(2).
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// `oci exec`.
pub(super) fn exec(global: &Global, words: &[String]) -> Result<u8, Error> {
    let parsed = parse(words, FLAGS)?;
    let Some((id, command)) = parsed.rest.split_first() else {
        return Err(Error::usage("usage: shipway oci exec [flags] <container-id> <command> [args...]"));
    };
    refuse_flags(&parsed)?;
    let container = Store::new(global).load(id)?;
    check_state(&container, &parsed)?;
    let config = container.config()?;
    let process = process_of(&parsed, config.process.clone().unwrap_or_default(), command)?;
    let (mut sets, warnings) = Sets::of(process.capabilities.as_ref());
    warnings.iter().for_each(|warning| warn(global, warning));
    for name in parsed.all("cap") {
        let capability: Capability = name.parse().map_err(|_| Error::usage(format!("there is no capability \"{name}\"")))?;
        sets.add(capability);
    }
    let program = program::program_of(&process, sets)?;
    let detach = parsed.has("detach");
    let (stdio, waiting) = stdio_of(&parsed, &process, detach)?;
    let (pid, pidfd) = container.process()?;
    let devpts = process.terminal.then(|| devpts_of(pid.as_raw_pid())).transpose()?;
    let shared = launch::shared()?;
    let filter = shared.filters.handle(&program::seccomp_of(config.linux.seccomp.as_ref())?, sets.bounding)?;
    let pid = launch::execute(&shared, &container.group()?, pidfd, program, filter, devpts, stdio)?;
    write_pid_file(&parsed, pid)?;
    if detach { Ok(0) } else { foreground::wait(pid, waiting) }
}

fn refuse_flags(parsed: &Parsed) -> Result<(), Error> {
    refuse_unsupported(parsed)?;
    let said = |name: &str| parsed.text(name).is_some_and(|value| !value.is_empty());
    let asked = ["process-label", "apparmor", "cgroup"].into_iter().find(|name| said(name));
    asked.map_or(Ok(()), |name| Err(Error::unsupported(format!("--{name}"))))
}

fn check_state(container: &Container, parsed: &Parsed) -> Result<(), Error> {
    match container.status() {
        Status::Running | Status::Created => Ok(()),
        Status::Paused if parsed.has("ignore-paused") => Ok(()),
        Status::Paused => Err(Error::refused("cannot exec in a paused container (use --ignore-paused to override)")),
        Status::Stopped => Err(Error::refused("cannot exec in a stopped container")),
        Status::Creating => Err(Error::NotRunning),
    }
}

/// The process asked for: a document, or the container's own changed by the flags.
fn process_of(parsed: &Parsed, own: Process, command: &[String]) -> Result<Process, Error> {
    if let Some(path) = parsed.text("process") {
        let mut process: Process = config::read(Path::new(path))?;
        process.terminal |= parsed.has("tty");
        process.capabilities = process.capabilities.or(own.capabilities);
        return Ok(process);
    }
    if command.is_empty() {
        return Err(Error::usage("exec: command args cannot be empty"));
    }
    let mut process = Process { args: command.to_vec(), terminal: parsed.has("tty"), console_size: None, ..own };
    process.env.extend(parsed.all("env").map(str::to_owned));
    if let Some(cwd) = parsed.text("cwd") {
        process.cwd = cwd.to_owned();
    }
    process.no_new_privileges |= parsed.has("no-new-privs");
    if let Some(user) = parsed.text("user") {
        let (uid, gid) = user.split_once(':').map_or((user, None), |(uid, gid)| (uid, Some(gid)));
        let number = |text: &str| text.parse().map_err(|_| Error::usage(format!("\"{user}\" is not <uid>[:<gid>]")));
        process.user.uid = number(uid)?;
        process.user.gid = gid.map_or(Ok(process.user.gid), number)?;
    }
    for gid in parsed.all("additional-gids") {
        process.user.additional_gids.push(gid.parse().map_err(|_| Error::usage(format!("\"{gid}\" is no group id")))?);
    }
    Ok(process)
}

fn stdio_of(parsed: &Parsed, process: &Process, detach: bool) -> Result<(Stdio, Option<OwnedFd>), Error> {
    let socket = parsed.text("console-socket").filter(|path| !path.is_empty());
    if !detach {
        foreground::become_parent()?;
    }
    match (process.terminal, socket) {
        // A caller that brings a socket shows the terminal itself, whether or not we wait.
        (true, Some(path)) => Ok((console(Path::new(path), terminal_size(process))?, None)),
        (true, None) if detach => Err(Error::usage("cannot allocate tty if runtime will detach without setting console socket")),
        (false, Some(_)) => Err(Error::usage("cannot use console socket if runtime will not detach or allocate tty")),
        (terminal, None) => foreground::own_stdio(terminal, terminal_size(process)),
    }
}

/// The root of the container's devpts, which must be one wherever /dev/pts leads.
fn devpts_of(pid: i32) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| SysError::new(format!("open({path:?})"), errno))?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let devpts = rustix::fs::openat2(&root, "dev/pts", flags, Mode::empty(), resolve)
        .map_err(|errno| SysError::new("open(\"/dev/pts\" of the container)", errno))?;
    let status = rustix::fs::fstatfs(&devpts).map_err(|errno| SysError::new("fstatfs(\"/dev/pts\")", errno))?;
    if status.f_type as u64 == DEVPTS_SUPER_MAGIC { Ok(devpts) } else { Err(Error::refused("the container has no devpts at /dev/pts")) }
}
