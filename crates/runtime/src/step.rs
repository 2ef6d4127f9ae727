//! Build steps: the same launch, under a monitor that dies with the daemon and is used again.
//!
//! What must stay true: a cancelled or abandoned step leaves no process; output is complete before the status is told.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;

use shipway_model::{ContainerId, Limits};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::attach::{AttachOptions, OutputFrame, line};
use crate::error::LaunchError;
use crate::handle::ExitStatus;
use crate::launch::{Duty, Launched, launch};
use crate::message::{Note, Order};
use crate::pool::Reserved;
use crate::runtime::{Runtime, next_note, to_stream, watch_control};
use crate::spec::{ContainerSpec, GeneratedFile, LogConfig, Mount, Namespaces, ProcessSpec, RootFs};

/// One command of a build.
#[derive(Debug)]
pub struct BuildStepSpec {
    /// For messages only.
    pub id: ContainerId,
    /// Host name inside.
    pub hostname: String,
    /// Root; `volatile` is right here.
    pub root: RootFs,
    /// What to run; input is /dev/null.
    pub process: ProcessSpec,
    /// Further mounts.
    pub mounts: Vec<Mount>,
    /// Generated files.
    pub files: Vec<GeneratedFile>,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Cgroup limits.
    pub limits: Limits,
    /// As for a container.
    pub privileged: bool,
    /// Bytes of /dev/shm.
    pub shm_size: u64,
}

impl BuildStepSpec {
    /// A step with Docker's defaults.
    pub fn new(id: ContainerId, root: RootFs, process: ProcessSpec) -> Self {
        Self {
            id,
            hostname: "buildkitsandbox".to_owned(),
            root,
            process,
            mounts: Vec::new(),
            files: Vec::new(),
            namespaces: Namespaces::default(),
            limits: Limits::default(),
            privileged: false,
            shm_size: crate::spec::DEFAULT_SHM_SIZE,
        }
    }

    fn into_container(self) -> ContainerSpec {
        ContainerSpec {
            hostname: self.hostname,
            mounts: self.mounts,
            files: self.files,
            namespaces: self.namespaces,
            limits: self.limits,
            privileged: self.privileged,
            shm_size: self.shm_size,
            log: LogConfig::None,
            sysctls: BTreeMap::new(),
            ..ContainerSpec::new(self.id, self.root, self.process, PathBuf::new())
        }
    }
}

impl Runtime {
    /// Takes a place for one build step, so that its network can be wired first.
    pub async fn reserve_step(&self) -> Result<Reserved, LaunchError> {
        let shared = self.shared();
        blocking(move || shared.take_for_step(true).map(|parked| Reserved { parked })).await
    }

    /// Runs one build step to its end. Its output goes to `output` as it comes; on cancellation it is killed.
    pub async fn run_step(
        &self,
        step: BuildStepSpec,
        output: mpsc::Sender<OutputFrame>,
        cancel: CancellationToken,
    ) -> Result<ExitStatus, LaunchError> {
        self.run_step_in(None, step, output, cancel).await
    }

    /// The same, in a place that was reserved (and wired) before.
    pub async fn run_step_in(
        &self,
        reserved: Option<Reserved>,
        step: BuildStepSpec,
        output: mpsc::Sender<OutputFrame>,
        cancel: CancellationToken,
    ) -> Result<ExitStatus, LaunchError> {
        let plain = step.limits.is_empty() && !step.privileged;
        let mut spec = step.into_container();
        let shared = self.shared();
        let (ours, theirs) = shipway_sys::socket::stream_pair()?;
        let launched = blocking(move || {
            let upper = spec.root.upper.clone().map(|(upper, _)| upper);
            launch(&shared, &mut spec, reserved, &Duty::Step, Some((theirs, AttachOptions::OUTPUT.into())))
                .map(|launched| (launched, upper))
        });
        let (Launched { parked, root, created, .. }, upper) = launched.await?;
        let mut attachment = line(to_stream(ours)?, false).attachment;
        let control = watch_control(&parked.control)?;
        let mut ended: Option<ExitStatus> = None;
        let mut output_over = false;
        let mut killed = false;
        while ended.is_none() || !output_over {
            tokio::select! {
                frame = attachment.output.recv(), if !output_over => match frame {
                    // Nobody may be listening any more; the step goes on.
                    Some(frame) => { let _ = output.send(frame).await; }
                    None => output_over = true,
                },
                note = next_note(&control), if ended.is_none() => match note {
                    Some(Note::Ended(how)) => ended = Some(how.into()),
                    Some(_) => {}
                    None => return Err(LaunchError::MonitorDied),
                },
                () = cancel.cancelled(), if !killed => {
                    killed = true;
                    parked.order(&Order::Signal(9), &[])?;
                }
            }
        }
        if let Some(upper) = upper.filter(|_| !created.is_empty()) {
            // Before the caller commits the folder.
            blocking(move || Ok(remove_stubs(&upper, &created)?)).await?;
        }
        let shared = self.shared();
        tokio::task::spawn_blocking(move || {
            drop(root);
            recycle(&shared, parked, plain);
        });
        if killed { Err(LaunchError::Cancelled) } else { ended.ok_or(LaunchError::MonitorDied) }
    }
}

fn recycle(shared: &crate::pool::Shared, mut parked: crate::pool::Parked, plain: bool) {
    let control = parked.control.as_fd();
    let blocking = rustix::io::ioctl_fionbio(control, false).is_ok();
    if plain
        && blocking
        && let Ok(Note::Ready { pid }) = parked.answer()
    {
        parked.init = rustix::process::Pid::from_raw(pid);
        parked.world = crate::pool::default_world(&shared.tree);
        shared.give_back(parked);
    } else {
        parked.dissolve();
    }
}

/// Removes mount points that were made in the step's own layer and are still empty, so that they are not committed.
fn remove_stubs(upper: &std::path::Path, created: &[String]) -> Result<(), shipway_sys::Error> {
    if created.is_empty() {
        return Ok(());
    }
    let root = shipway_sys::path::Root::open(upper)?;
    for path in created.iter().rev() {
        let path = std::path::Path::new(path);
        let Ok(found) = root.lstat(path) else { continue };
        let empty_file = found.kind == shipway_sys::path::FileKind::Regular && found.size == 0;
        let empty_folder =
            found.kind == shipway_sys::path::FileKind::Directory && root.read_dir(path).is_ok_and(|entries| entries.is_empty());
        if empty_file || empty_folder {
            root.remove_tree(path)?;
        }
    }
    Ok(())
}

/// Runs blocking work of a launch.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, LaunchError> + Send + 'static) -> Result<T, LaunchError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(_) => Err(LaunchError::Cancelled),
    }
}
