//! The runtime: the pool and its thread, launches, and taking over what an earlier daemon has left running.
//!
//! What must stay true: dropping it ends what is parked and nothing that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::Pid;
use shipway_model::ContainerId;
use shipway_sys::cgroup::Tree;
use shipway_sys::probe::Probe;
use shipway_sys::{fd, process, socket};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::attach::{self, line};
use crate::error::{Error, LaunchError};
use crate::handle::{ExitStatus, Handle, Inner, killed_unseen, tear_down, timestamp};
use crate::launch::{Duty, Launched, Running, launch};
use crate::message::{Answer, Ended, LONGEST, MonitorState, Note, Request};
use crate::monitor::{EXIT, STATE};
use crate::pool::{Reserved, Shared};
use crate::spec::ContainerSpec;
use crate::step::blocking;

/// Longest note of a monitor that is read.
const LONGEST_NOTE: usize = 64 << 10;

/// What a runtime is told once.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Folder for state that a reboot may lose, e.g. /run/shipway. Made if missing.
    pub exec_root: PathBuf,
    /// Name of our folder in every cgroup hierarchy; two daemons on one host must differ, e.g. `shipway-<hash of the data root>`.
    pub cgroup_root_name: String,
    /// Parked monitors kept ready. 0 makes each in line.
    pub pool_size: usize,
    /// The program with our personalities; a sealed copy of it is made. `/proc/self/exe` for the running one.
    pub binary: PathBuf,
    /// Folder for the lowest layers with nothing but mount points; best on the filesystem of the layers. `None`: in `exec_root`.
    pub stubs: Option<PathBuf>,
}

impl RuntimeConfig {
    /// For the running binary, with a pool of three.
    pub fn new(exec_root: impl Into<PathBuf>, cgroup_root_name: impl Into<String>) -> Self {
        Self {
            exec_root: exec_root.into(),
            cgroup_root_name: cgroup_root_name.into(),
            pool_size: 3,
            binary: PathBuf::from("/proc/self/exe"),
            stubs: None,
        }
    }
}

/// Launches containers.
#[derive(Debug)]
pub struct Runtime {
    shared: SharedHandle,
    refill: Option<std::thread::JoinHandle<()>>,
}

#[derive(Clone)]
struct SharedHandle(Arc<Shared>);

impl std::fmt::Debug for SharedHandle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} parked", self.0.ready())
    }
}

/// What has become of a container that an earlier daemon launched.
#[derive(Debug)]
pub enum Adopted {
    /// It runs; from now on it is ours.
    Running(Running),
    /// It has ended like this.
    Exited(ExitStatus),
    /// Nothing is known: the machine was rebooted, or the monitor was killed. What was left of it has been killed and removed.
    Gone,
}

impl Runtime {
    /// Seals the binary, finds the cgroups and starts filling the pool.
    ///
    /// # Errors
    /// When no cgroups are mounted, or the folders cannot be made.
    pub fn start(config: RuntimeConfig) -> Result<Runtime, Error> {
        let told = |path: &Path, error: std::io::Error| Error::Sys(shipway_sys::Error::from_io(format!("open({path:?})"), &error));
        let bytes = std::fs::read(&config.binary).map_err(|error| told(&config.binary, error))?;
        let binary = fd::memfd_sealed(crate::personality::MONITOR, &bytes)?;
        let tree = Tree::open(&Probe::get().cgroup, &config.cgroup_root_name)?;
        let stubs = config.stubs.unwrap_or_else(|| config.exec_root.join("stubs"));
        let (container_stubs, step_stubs) = make_stubs(&stubs).map_err(|error| told(&stubs, error))?;
        let shared = Arc::new(Shared::new(binary, tree, config.pool_size, container_stubs, step_stubs));
        let refill = (config.pool_size > 0)
            .then(|| Arc::clone(&shared))
            .map(|shared| std::thread::Builder::new().name("shipway-pool".to_owned()).spawn(move || shared.refill()));
        let refill = refill.transpose().map_err(|error| shipway_sys::Error::from_io("clone(pool thread)", &error))?;
        Ok(Runtime { shared: SharedHandle(shared), refill })
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared.0)
    }

    /// How many monitors stand ready.
    pub fn parked(&self) -> usize {
        self.shared.0.ready()
    }

    /// Takes a parked monitor out of the pool for one launch, so that its network can be wired first.
    pub async fn reserve(&self) -> Result<Reserved, LaunchError> {
        let shared = self.shared();
        blocking(move || shared.take().map(|parked| Reserved { parked })).await
    }

    /// Launches a container in a private network namespace of its own, or wherever `spec.namespaces` says.
    ///
    /// # Cost
    /// About 2 ms with a parked monitor, 1 ms more for unusual namespaces, up to 20 ms with an empty pool.
    pub async fn launch(&self, spec: ContainerSpec) -> Result<Running, LaunchError> {
        self.launch_with(spec, None).await
    }

    /// The same, on a monitor that was reserved (and wired) before.
    pub async fn launch_reserved(&self, reserved: Reserved, spec: ContainerSpec) -> Result<Running, LaunchError> {
        self.launch_with(spec, Some(reserved)).await
    }

    async fn launch_with(&self, mut spec: ContainerSpec, reserved: Option<Reserved>) -> Result<Running, LaunchError> {
        let shared = self.shared();
        let (id, state_dir, wish) = (spec.id, spec.state_dir.clone(), spec.attach);
        let (client, first_client) = match wish {
            Some(wish) => {
                let (ours, theirs) = socket::stream_pair()?;
                (Some((ours, wish)), Some((theirs, wish.into())))
            }
            None => (None, None),
        };
        let launched = blocking(move || launch(&shared, &mut spec, reserved, &Duty::Container, first_client)).await?;
        let Launched { parked, pid, started, root, bounding, created } = launched;
        let attachment = match client {
            Some((ours, wish)) => Some(line(to_stream(ours)?, wish.stdin).attachment),
            None => None,
        };
        let (exit_sender, exit) = watch::channel(None);
        let (gone_sender, gone) = watch::channel(false);
        let group = parked.group.clone();
        let inner = Inner { id, pid, seat: parked.seat, state_dir: state_dir.clone(), group: group.clone(), bounding, exit, gone };
        let control = watch_control(&parked.control)?;
        let monitor = parked.monitor;
        tokio::spawn(async move {
            supervise(&control, &exit_sender, &state_dir).await;
            let _ = tokio::task::spawn_blocking(move || {
                wait_for_monitor(monitor);
                tear_down(&group, Some(monitor), Some(root));
                drop(parked);
            })
            .await;
            gone_sender.send_replace(true);
        });
        let handle = Handle { inner: Arc::new(inner) };
        Ok(Running { pid: pid.as_raw_pid(), started_at: timestamp(started), handle, attachment, created })
    }

    /// Takes over a container whose monitor was started by an earlier daemon with this `state_dir`.
    pub async fn adopt(&self, id: ContainerId, state_dir: &Path) -> Result<Adopted, Error> {
        if let Ok(Answer::State(state)) = attach::ask(state_dir, &Request::State).await
            && state.id == id.to_string()
            && state.ended.is_none()
        {
            return self.take_over(id, state_dir, &state).await;
        }
        let left = read_json::<MonitorState>(&state_dir.join(STATE));
        if let Some(state) = left {
            let group = self.shared.0.group_named(&state.group);
            // Only what sits in the container's own cgroup is touched; numbers may belong to others by now.
            let _ = tokio::task::spawn_blocking(move || tear_down(&group, None, None)).await;
        }
        match read_json::<Ended>(&state_dir.join(EXIT)) {
            Some(ended) => Ok(Adopted::Exited(ended.into())),
            None => Ok(Adopted::Gone),
        }
    }

    async fn take_over(&self, id: ContainerId, state_dir: &Path, state: &MonitorState) -> Result<Adopted, Error> {
        let bad = || Error::Monitor { text: "it names no process".to_owned() };
        let (pid, seat) = (Pid::from_raw(state.pid).ok_or_else(bad)?, Pid::from_raw(state.seat).ok_or_else(bad)?);
        let monitor = Pid::from_raw(state.monitor).ok_or_else(bad)?;
        let mut waiting = attach::request(state_dir, &Request::Wait, false).await?;
        let (exit_sender, exit) = watch::channel(None);
        let (gone_sender, gone) = watch::channel(false);
        let group = self.shared.0.group_named(&state.group);
        let folder = state_dir.to_path_buf();
        let inner = Inner { id, pid, seat, state_dir: folder.clone(), group: group.clone(), bounding: state.capabilities, exit, gone };
        // Opened while it is known to live, so that its number cannot come to mean another.
        let pidfd = process::open_pidfd(monitor).ok();
        tokio::spawn(async move {
            let status = match waiting.answers.recv().await {
                Some(Answer::Ended(ended)) => ended.into(),
                _ => read_json::<Ended>(&folder.join(EXIT)).map_or_else(killed_unseen, ExitStatus::from),
            };
            exit_sender.send_replace(Some(status));
            let _ = tokio::task::spawn_blocking(move || {
                if let Some(pidfd) = pidfd {
                    let patience = rustix::event::Timespec { tv_sec: 15, tv_nsec: 0 };
                    let _ = rustix::event::poll(&mut [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)], Some(&patience));
                }
                tear_down(&group, None, None);
            })
            .await;
            gone_sender.send_replace(true);
        });
        let handle = Handle { inner: Arc::new(inner) };
        Ok(Adopted::Running(Running {
            pid: state.pid,
            started_at: timestamp(state.started),
            handle,
            attachment: None,
            created: Vec::new(),
        }))
    }

    /// Kills and removes whatever is in our cgroups and belongs to none of `known` (and to no pool of this process): leftovers of a daemon that died.
    /// Blocking; call at boot, before anything is launched. Returns the names removed.
    pub fn sweep(&self, known: &BTreeSet<ContainerId>) -> Vec<String> {
        let mut removed = Vec::new();
        for name in self.shared.0.tree.names() {
            let id = name.split('.').next().unwrap_or_default();
            let is_known = id.parse::<ContainerId>().is_ok_and(|id| known.contains(&id));
            if is_known || name.starts_with(&self.shared.0.pool_prefix) {
                continue;
            }
            let group = self.shared.0.tree.group(&name);
            group.kill_all(None);
            match group.remove() {
                Ok(()) => removed.push(name),
                Err(error) => tracing::warn!(%error, name, "cgroup of an unknown container stays behind"),
            }
        }
        removed
    }

    /// The cgroups below ours, by name, with the processes in each; those of the pool of this process, build steps included, are left out.
    pub fn groups(&self) -> BTreeMap<String, Vec<i32>> {
        let shared = &self.shared.0;
        let names = shared.tree.names().into_iter().filter(|name| !name.starts_with(&shared.pool_prefix));
        let processes = |name: &str| shared.tree.group(name).processes().into_iter().map(Pid::as_raw_pid).collect();
        names.map(|name| (name.clone(), processes(&name))).collect()
    }

    /// Kills what is in the cgroup `name` and removes it. Blocking; for cgroups that belong to nobody.
    ///
    /// # Errors
    /// When a process does not die, or the kernel keeps the folder.
    pub fn end_group(&self, name: &str) -> Result<(), shipway_sys::Error> {
        let group = self.shared.0.tree.group(name);
        group.kill_all(None);
        group.remove()
    }

    /// Ends everything parked and stops the pool. Running containers go on. Blocking.
    pub fn shutdown(&mut self) {
        self.shared.0.stop();
        if let Some(thread) = self.refill.take() {
            // A panic there has been reported by the panic hook already.
            let _ = thread.join();
        }
        self.shared.0.drain();
        self.shared.0.tree.remove_if_empty();
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Reports the end as soon as it is known, and returns when the monitor has left.
async fn supervise(control: &AsyncFd<OwnedFd>, exit: &watch::Sender<Option<ExitStatus>>, state_dir: &Path) {
    while let Some(note) = next_note(control).await {
        if let Note::Ended(ended) = note {
            exit.send_replace(Some(ended.into()));
        }
    }
    if exit.borrow().is_none() {
        let written = read_json::<Ended>(&state_dir.join(EXIT));
        exit.send_replace(Some(written.map_or_else(killed_unseen, ExitStatus::from)));
    }
}

/// The next note; `None` when the monitor has left.
pub(crate) async fn next_note(control: &AsyncFd<OwnedFd>) -> Option<Note> {
    loop {
        let mut ready = control.readable().await.ok()?;
        match socket::receive(control.get_ref().as_fd(), LONGEST.min(LONGEST_NOTE)) {
            Ok(Some(message)) => match serde_json::from_slice(&message.bytes) {
                Ok(note) => return Some(note),
                Err(error) => tracing::warn!(%error, "a monitor's note makes no sense"),
            },
            Ok(None) => return None,
            Err(error) if error.errno == rustix::io::Errno::AGAIN => ready.clear_ready(),
            Err(_) => return None,
        }
    }
}

/// The control line for the async side.
pub(crate) fn watch_control(control: &OwnedFd) -> Result<AsyncFd<OwnedFd>, LaunchError> {
    let told = |errno| shipway_sys::Error::new("dup(control line)", errno);
    rustix::io::ioctl_fionbio(control, true).map_err(told)?;
    let copy = rustix::io::fcntl_dupfd_cloexec(control, 3).map_err(told)?;
    #[expect(
        deprecated,
        reason = "its unsoundness is about types whose descriptor changes; an OwnedFd keeps its own until the AsyncFd drops it"
    )]
    let watched = AsyncFd::new(copy);
    watched.map_err(|error| LaunchError::Sys(shipway_sys::Error::from_io("epoll_ctl(control line)", &error)))
}

pub(crate) fn to_stream(socket: OwnedFd) -> Result<UnixStream, LaunchError> {
    let told = |error: std::io::Error| LaunchError::Sys(shipway_sys::Error::from_io("epoll_ctl(service line)", &error));
    let stream = std::os::unix::net::UnixStream::from(socket);
    stream.set_nonblocking(true).map_err(told)?;
    UnixStream::from_std(stream).map_err(told)
}

/// The line has closed, so it is leaving or dead; a moment later it can be buried.
fn wait_for_monitor(monitor: Pid) {
    let _ = process::reap_blocking(monitor);
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// The lowest layers: names that every container needs and some images lack. Returns that for containers and that for build steps.
fn make_stubs(folder: &Path) -> std::io::Result<(PathBuf, PathBuf)> {
    let container = folder.join("container");
    let step = folder.join("step");
    for base in [&container, &step] {
        for name in ["proc", "dev", "sys", "etc"] {
            std::fs::create_dir_all(base.join(name))?;
        }
        for name in ["etc/hosts", "etc/hostname", "etc/resolv.conf"] {
            make_empty(&base.join(name))?;
        }
    }
    make_empty(&container.join(".dockerenv"))?;
    Ok((container, step))
}

fn make_empty(path: &Path) -> std::io::Result<()> {
    std::fs::OpenOptions::new().create(true).append(true).open(path).map(drop)
}
