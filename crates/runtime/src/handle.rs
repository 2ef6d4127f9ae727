//! A running container in the daemon's hands.
//!
//! What must stay true: the exit is known before anything is torn down; tearing down needs nobody to wait for it; a handle stays usable (and says
//! "not running") after the end.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::Pid;
use shipway_model::{CapabilitySet, ContainerId, ExecId, Limits, Signal, Timestamp};
use shipway_sys::cgroup::Group;
use shipway_sys::process;
use tokio::sync::{mpsc, watch};

use crate::attach::{self, AttachOptions, Attachment, Line};
use crate::error::{Error, LaunchError};
use crate::launch::{is_confined, limits_of, program_of};
use crate::message::{Answer, Ended, ExecuteRequest, Request, Step};
use crate::spec::ProcessSpec;
use crate::stats::{RawStats, network_usage};

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    /// Its code, or 128 + signal.
    pub code: i32,
    /// A process of the container was killed because memory ran out.
    pub oom_killed: bool,
    /// When.
    pub at: Timestamp,
}

impl From<Ended> for ExitStatus {
    fn from(ended: Ended) -> Self {
        Self { code: ended.code, oom_killed: ended.oom_killed, at: timestamp(ended.at) }
    }
}

pub(crate) fn timestamp(instant: crate::clock::Instant) -> Timestamp {
    Timestamp::from_unix(instant.seconds, instant.nanoseconds)
}

/// A running (or just ended) container.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) id: ContainerId,
    pub(crate) pid: Pid,
    pub(crate) seat: Pid,
    pub(crate) state_dir: PathBuf,
    pub(crate) group: Group,
    /// Bounding set of the container, which no later program exceeds (S-112).
    pub(crate) bounding: u64,
    pub(crate) exit: watch::Receiver<Option<ExitStatus>>,
    pub(crate) gone: watch::Receiver<bool>,
}

/// A later program.
#[derive(Debug, Clone)]
pub struct ExecSpec {
    /// Names it for resize and signal.
    pub id: ExecId,
    /// What and as whom. `terminal` gives it a terminal of its own.
    pub process: ProcessSpec,
    /// Which streams the caller wants.
    pub attach: AttachOptions,
    /// May have more capabilities than the container (docker exec --privileged).
    pub privileged: bool,
    /// Kill it when this daemon goes away: what nobody listens to any more is not to pile up (health checks).
    pub tied: bool,
}

/// A later program that runs.
#[derive(Debug)]
pub struct ExecHandle {
    /// Its host pid.
    pub pid: i32,
    /// Its streams, as asked for. Take it out to use it; must be received from or dropped.
    pub attachment: Option<Attachment>,
    id: String,
    state_dir: PathBuf,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Handle {
    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.inner.id
    }

    /// Host pid of the first process.
    pub fn pid(&self) -> i32 {
        self.inner.pid.as_raw_pid()
    }

    /// Whether the first process has not ended, as far as is known here.
    pub fn is_running(&self) -> bool {
        self.inner.exit.borrow().is_none()
    }

    /// Waits for the end.
    pub async fn wait(&self) -> ExitStatus {
        wait_for(self.inner.exit.clone()).await
    }

    /// Waits until the monitor, the cgroups and the root mount are gone too. Only then may the upper folder be used for another launch or removed.
    pub async fn gone(&self) {
        let mut gone = self.inner.gone.clone();
        // The sender lives in the task that tears down; if it was dropped there is nothing to wait for.
        let _ = gone.wait_for(|gone| *gone).await;
    }

    /// Sends a signal to the first process.
    pub async fn signal(&self, signal: Signal) -> Result<(), Error> {
        expect_done(attach::ask(&self.inner.state_dir, &Request::Signal { number: signal.number(), exec: None, group: false }).await?)
    }

    /// Kills every process of the container.
    pub async fn kill_all(&self) {
        let (group, seat) = (self.inner.group.clone(), self.inner.seat);
        // A panic there would be a bug of ours; the processes are gone or not, which `wait` tells.
        let _ = tokio::task::spawn_blocking(move || group.kill_all(Some(seat))).await;
    }

    /// Attaches from now on.
    pub async fn attach(&self, options: AttachOptions) -> Result<Attachment, Error> {
        let line = attach::request(&self.inner.state_dir, &Request::Attach(options.into()), options.stdin).await?;
        Ok(line.attachment)
    }

    /// Changes the size of the terminal.
    pub async fn resize(&self, rows: u16, cols: u16) -> Result<(), Error> {
        expect_done(attach::ask(&self.inner.state_dir, &Request::Resize { rows, cols, exec: None }).await?)
    }

    /// Runs one more program in the container.
    ///
    /// # Cost
    /// About one millisecond; the program is born in the container's cgroups.
    pub async fn exec(&self, spec: ExecSpec) -> Result<ExecHandle, LaunchError> {
        let mut process = spec.process;
        if !spec.privileged {
            process.capabilities = CapabilitySet::from_mask(process.capabilities.mask() & self.inner.bounding);
        }
        let name = process.args.first().cloned().unwrap_or_default();
        let request = ExecuteRequest {
            id: spec.id.to_string(),
            program: program_of(&process)?,
            confined: is_confined(&process.seccomp),
            terminal: process.terminal.map(|size| (size.rows, size.cols)),
            attach: spec.attach.into(),
            tied: spec.tied,
        };
        let id = request.id.clone();
        let line = attach::request(&self.inner.state_dir, &Request::Execute(Box::new(request)), spec.attach.stdin).await;
        let Line { attachment, mut answers } = line.map_err(|_| LaunchError::NotRunning)?;
        match answers.recv().await {
            Some(Answer::Started { pid }) => {
                let (sender, exit) = watch::channel(None);
                tokio::spawn(report_end(answers, sender));
                let wanted = spec.attach != AttachOptions::NONE;
                Ok(ExecHandle { pid, attachment: wanted.then_some(attachment), id, state_dir: self.inner.state_dir.clone(), exit })
            }
            Some(Answer::Failed(failure)) => Err(LaunchError::from_failure(failure, &name, &process.cwd)),
            Some(_) | None => Err(LaunchError::NotRunning),
        }
    }

    /// Host pids of all processes of the container, the seat left out.
    pub fn processes(&self) -> Vec<i32> {
        let all = self.inner.group.processes();
        all.into_iter().filter(|pid| *pid != self.inner.seat).map(Pid::as_raw_pid).collect()
    }

    /// Stops all processes where they are.
    pub async fn pause(&self) -> Result<(), Error> {
        self.with_group(Group::freeze).await
    }

    /// Lets them go on.
    pub async fn resume(&self) -> Result<(), Error> {
        self.with_group(Group::thaw).await
    }

    /// One reading of all counters.
    pub fn stats(&self) -> RawStats {
        let mut usage = self.inner.group.usage();
        usage.pids = usage.pids.saturating_sub(1);
        usage.pids_limit = usage.pids_limit.map(|limit| limit.saturating_sub(1));
        RawStats { usage, network: network_usage(self.inner.pid) }
    }

    /// Changes limits while it runs.
    pub async fn update_limits(&self, limits: &Limits) -> Result<(), Error> {
        let limits = limits_of(limits);
        self.with_group(move |group| group.limit(&limits)).await
    }

    /// Folder of the monitor's socket and notes.
    pub fn state_dir(&self) -> &Path {
        &self.inner.state_dir
    }

    async fn with_group<F>(&self, work: F) -> Result<(), Error>
    where
        F: FnOnce(&Group) -> Result<(), shipway_sys::Error> + Send + 'static,
    {
        let group = self.inner.group.clone();
        match tokio::task::spawn_blocking(move || work(&group)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Error::Monitor { text: "the work was cut off".to_owned() }),
        }
    }
}

impl ExecHandle {
    /// Waits for its end.
    pub async fn wait(&self) -> ExitStatus {
        wait_for(self.exit.clone()).await
    }

    /// Sends it a signal.
    pub async fn signal(&self, signal: Signal) -> Result<(), Error> {
        expect_done(
            attach::ask(&self.state_dir, &Request::Signal { number: signal.number(), exec: Some(self.id.clone()), group: false }).await?,
        )
    }

    /// Kills it and every process it has started that did not leave its process group.
    pub async fn kill_group(&self) -> Result<(), Error> {
        let request = Request::Signal { number: Signal::KILL.number(), exec: Some(self.id.clone()), group: true };
        expect_done(attach::ask(&self.state_dir, &request).await?)
    }

    /// Changes the size of its terminal.
    pub async fn resize(&self, rows: u16, cols: u16) -> Result<(), Error> {
        expect_done(attach::ask(&self.state_dir, &Request::Resize { rows, cols, exec: Some(self.id.clone()) }).await?)
    }
}

async fn report_end(mut answers: mpsc::Receiver<Answer>, sender: watch::Sender<Option<ExitStatus>>) {
    while let Some(answer) = answers.recv().await {
        if let Answer::Ended(ended) = answer {
            sender.send_replace(Some(ended.into()));
            return;
        }
    }
    sender.send_replace(Some(killed_unseen()));
}

/// What is reported of a program whose end nobody saw: its monitor or its container was killed.
pub(crate) fn killed_unseen() -> ExitStatus {
    let now = crate::clock::Instant::now();
    ExitStatus { code: 137, oom_killed: false, at: timestamp(now) }
}

async fn wait_for(mut exit: watch::Receiver<Option<ExitStatus>>) -> ExitStatus {
    match exit.wait_for(Option::is_some).await {
        Ok(found) => (*found).unwrap_or_else(killed_unseen),
        Err(_) => killed_unseen(),
    }
}

fn expect_done(answer: Answer) -> Result<(), Error> {
    match answer {
        Answer::Done => Ok(()),
        Answer::Failed(failure) if failure.step == Step::Lookup => Err(Error::NoSuchProcess),
        other => Err(Error::Monitor { text: format!("{other:?}") }),
    }
}

/// Removes what a container that has ended leaves: stragglers, cgroups, the root mount. Blocking.
pub(crate) fn tear_down(group: &Group, monitor: Option<Pid>, root: Option<OwnedFd>) {
    if let Some(monitor) = monitor {
        let _ = process::reap_if_ended(monitor);
    }
    group.kill_all(None);
    drop(root);
    if let Err(error) = group.remove() {
        tracing::warn!(%error, "cgroup stays behind");
    }
}
