//! `oci create` and `oci start`.
//!
//! What must stay true: when `create` answers 0, everything but the exec is done; when it refuses, no process, group or folder is left.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use shipway_sys::cgroup::Group;
use shipway_sys::{Error as SysError, socket};

use super::arguments::{Flag, Parsed, parse};
use super::config::Config;
use super::error::Error;
use super::launch::{self, Stdio};
use super::plan::{self, terminal_size};
use super::store::{self, Container, GATE, Record, Status, Store};
use super::{Global, hooks, warn};
use crate::error::LaunchError;
use crate::message::{LONGEST, Report};

/// Flags of `create` and `run`.
pub(super) const CREATE_FLAGS: &[Flag] = &[
    Flag::short_value("bundle", 'b'),
    Flag::value("console-socket"),
    Flag::value("pid-file"),
    Flag::value("preserve-fds"),
    Flag::switch("no-pivot"),
    Flag::switch("no-new-keyring"),
    // `run` only.
    Flag::short_switch("detach", 'd'),
    Flag::switch("keep"),
    Flag::switch("no-subreaper"),
];

/// `oci create`.
pub(super) fn create(global: &Global, words: &[String]) -> Result<u8, Error> {
    let parsed = parse(words, CREATE_FLAGS)?;
    let [id] = parsed.words(1, "create [flags] <container-id>")?;
    refuse_unsupported(&parsed)?;
    let bundle = bundle_of(&parsed)?;
    let config = Config::of_bundle(&bundle)?;
    let stdio = detached_stdio(&parsed, &config)?;
    let container = make(global, id, &bundle, &config, stdio)?;
    if let Err(error) = write_pid_file(&parsed, container.record.pid) {
        destroy(global, &container)?;
        return Err(error);
    }
    Ok(0)
}

/// `oci start`.
pub(super) fn start_command(global: &Global, words: &[String]) -> Result<u8, Error> {
    let parsed = parse(words, &[])?;
    let [id] = parsed.words(1, "start <container-id>")?;
    let container = Store::new(global).load(id)?;
    start(global, &container)?;
    Ok(0)
}

pub(super) fn refuse_unsupported(parsed: &Parsed) -> Result<(), Error> {
    let asked = [
        (parsed.has("no-pivot"), "--no-pivot"),
        (parsed.has("no-new-keyring"), "--no-new-keyring"),
        (parsed.number::<u32>("preserve-fds")?.is_some_and(|count| count > 0), "--preserve-fds"),
    ];
    asked.iter().find(|(asked, _)| *asked).map_or(Ok(()), |(_, what)| Err(Error::unsupported(*what)))
}

/// The bundle's folder, absolute.
pub(super) fn bundle_of(parsed: &Parsed) -> Result<PathBuf, Error> {
    let path = Path::new(parsed.text("bundle").filter(|path| !path.is_empty()).unwrap_or("."));
    std::fs::canonicalize(path).map_err(|error| Error::file("open", path, &error))
}

/// Standard handles of a process that we shall not wait for.
pub(super) fn detached_stdio(parsed: &Parsed, config: &Config) -> Result<Stdio, Error> {
    let process = config.process.as_ref();
    let wants_terminal = process.is_some_and(|process| process.terminal);
    match (wants_terminal, parsed.text("console-socket").filter(|path| !path.is_empty())) {
        (true, Some(path)) => console(Path::new(path), process.map_or((0, 0), terminal_size)),
        (false, None) => Ok(Stdio::Inherited),
        (true, None) => Err(Error::usage("cannot allocate tty if runtime will detach without setting console socket")),
        (false, Some(_)) => Err(Error::usage("cannot use console socket if runtime will not detach or allocate tty")),
    }
}

/// A terminal for whoever listens at `path`.
pub(super) fn console(path: &Path, size: (u16, u16)) -> Result<Stdio, Error> {
    let socket = UnixStream::connect(path).map_err(|error| Error::file("connect", path, &error))?;
    Ok(Stdio::Console { socket: OwnedFd::from(socket), size })
}

pub(super) fn write_pid_file(parsed: &Parsed, pid: i32) -> Result<(), Error> {
    let Some(path) = parsed.text("pid-file").filter(|path| !path.is_empty()).map(Path::new) else { return Ok(()) };
    let told = |error: std::io::Error| Error::file("write", path, &error);
    // Readers watch for the name, so it appears with its content.
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    std::fs::write(&draft, pid.to_string()).map_err(told)?;
    std::fs::rename(&draft, path).map_err(told)
}

/// Makes a container and brings it to its gate.
pub(super) fn make(global: &Global, id: &str, bundle: &Path, config: &Config, stdio: Stdio) -> Result<Container, Error> {
    let store = Store::new(global);
    // The commonest mistakes are told before anything is made.
    if store.folder(id)?.exists() {
        return Err(Error::Exists { id: id.to_owned() });
    }
    let shared = launch::shared()?;
    let plan = plan::plan(&shared, config, bundle)?;
    for warning in &plan.warnings {
        warn(global, warning);
    }
    let (cgroup_parent, cgroup_name) = store::cgroup_place(&config.linux.cgroups_path, id)?;
    let mut created = Vec::new();
    crate::clock::Instant::now().write_rfc3339(&mut created);
    let record = Record {
        oci_version: config.oci_version.clone(),
        id: id.to_owned(),
        pid: 0,
        pid_started: 0,
        bundle: bundle.to_owned(),
        rootfs: plan.rootfs.clone(),
        created: String::from_utf8_lossy(&created).into_owned(),
        annotations: config.annotations.clone(),
        cgroup_parent,
        cgroup_name,
        owner: rustix::process::getuid().as_raw(),
    };
    let mut container = Container { folder: store.claim(id)?, record };
    let made = make_claimed(&mut container, config, |container, group| {
        let gate = listen(&container.folder)?;
        launch::hold(&shared, plan, group, gate, stdio, |pid| before_pivot(container, config, pid))
    });
    match made {
        Ok(()) => Ok(container),
        Err(error) => {
            // What made it fail is the news; a folder that stays is found by `delete --force`.
            let _ = container.forget();
            Err(error)
        }
    }
}

fn make_claimed(
    container: &mut Container,
    config: &Config,
    hold: impl FnOnce(&Container, &Group) -> Result<i32, Error>,
) -> Result<(), Error> {
    container.keep_config()?;
    container.save()?;
    let group = container.group()?;
    if !group.processes().is_empty() {
        return Err(Error::CgroupInUse { path: format!("{}/{}", container.record.cgroup_parent, container.record.cgroup_name) });
    }
    let group = store::tree(&container.record.cgroup_parent)?.create(group.name()).map_err(LaunchError::Cgroup)?;
    let held = hold(container, &group).and_then(|pid| {
        let (_, started) = store::started_at(pid).ok_or(Error::NotRunning)?;
        container.record.pid = pid;
        container.record.pid_started = started;
        container.save()
    });
    if held.is_err() {
        group.kill_all(None);
        let _ = group.remove();
        // Whatever the runtime hooks set up, poststop is to take down.
        let _ = hooks::call("poststop", &config.hooks.poststop, &container.state(Status::Stopped));
    }
    held
}

/// The hooks of the moment when the namespaces are there and the root is not.
fn before_pivot(container: &Container, config: &Config, pid: i32) -> Result<(), Error> {
    let record = Record { pid, ..container.record.clone() };
    let state = Container { folder: container.folder.clone(), record }.state(Status::Creating);
    hooks::call("prestart", &config.hooks.prestart, &state)?;
    hooks::call("createRuntime", &config.hooks.create_runtime, &state)
}

/// The gate: a socket that the first process listens at.
fn listen(folder: &Path) -> Result<OwnedFd, Error> {
    let gate = gate_socket()?;
    rustix::net::bind(&gate, &gate_address(folder)?.1).map_err(|errno| SysError::new("bind(gate)", errno))?;
    rustix::net::listen(&gate, 1).map_err(|errno| SysError::new("listen(gate)", errno))?;
    Ok(gate)
}

fn gate_socket() -> Result<OwnedFd, Error> {
    let made = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    Ok(made.map_err(|errno| SysError::new("socket(gate)", errno))?)
}

/// Through the folder's handle, which must live until the address was used, the name stays within the 108 bytes an address has.
fn gate_address(folder: &Path) -> Result<(std::fs::File, SocketAddrUnix), Error> {
    let handle = std::fs::File::open(folder).map_err(|error| Error::file("open", folder, &error))?;
    let address =
        SocketAddrUnix::new(crate::attach::short_path(&handle, GATE)).map_err(|errno| SysError::new("name the gate's socket", errno))?;
    Ok((handle, address))
}

/// Lets the first process through its gate and waits for its exec.
pub(super) fn start(global: &Global, container: &Container) -> Result<(), Error> {
    match container.status() {
        Status::Created => {}
        Status::Stopped => return Err(Error::refused("cannot start a container that has stopped")),
        Status::Creating => {
            return Err(Error::WrongState { verb: "start", id: container.record.id.clone(), wanted: "created", status: "creating" });
        }
        Status::Running | Status::Paused => return Err(Error::refused("cannot start an already running container")),
    }
    let gate = gate_socket()?;
    let (handle, address) = gate_address(&container.folder)?;
    rustix::net::connect(&gate, &address).map_err(|_| Error::refused("cannot start an already running container"))?;
    drop(handle);
    // From here on it counts as running: what it is told it cannot be untold.
    let name = container.folder.join(GATE);
    std::fs::remove_file(&name).map_err(|_| Error::refused("cannot start an already running container"))?;
    socket::send(gate.as_fd(), b"start", &[])?;
    let config = container.config()?;
    if let Some(message) = socket::receive(gate.as_fd(), LONGEST)? {
        let process = config.process.unwrap_or_default();
        let program = process.args.first().map_or("", String::as_str);
        return Err(match serde_json::from_slice(&message.bytes) {
            Ok(Report::Failed(failure)) => LaunchError::from_failure(failure, program, &process.cwd).into(),
            _ => Error::Launch(LaunchError::MonitorDied),
        });
    }
    let state = container.state(Status::Running);
    if let Err(error) = hooks::call("poststart", &config.hooks.poststart, &state) {
        // The spec: a poststart hook that fails is told, and the container lives on.
        warn(global, &error.to_string());
    }
    Ok(())
}

/// Ends a container with everything in it and forgets it.
pub(super) fn destroy(global: &Global, container: &Container) -> Result<(), Error> {
    let group = container.group()?;
    if let Ok((pid, _)) = container.process() {
        // Usually the group's business; not where the host has no group for it any more.
        let _ = shipway_sys::process::send_signal(pid, 9);
    }
    group.kill_all(None);
    group.remove().map_err(LaunchError::Cgroup)?;
    if let Ok(config) = container.config()
        && let Err(error) = hooks::call("poststop", &config.hooks.poststop, &container.state(Status::Stopped))
    {
        warn(global, &error.to_string());
    }
    container.forget()
}
