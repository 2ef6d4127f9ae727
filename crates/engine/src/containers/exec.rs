//! `exec`: another process in a running container.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use shipway_model::{ContainerId, ExecId, env};
use shipway_runtime::{ExecHandle, LaunchError, ProcessSpec, StreamKind};
use tokio::sync::{mpsc, watch};

use super::attach::{Attachment, FRAMES, Input};
use super::kill::not_running;
use super::{Container, ContainerState};
use crate::{Engine, Error, Result, blocking, clock};

/// Ended instances that stay inspectable, the last ones; dockerd keeps them for about five minutes.
const KEPT: usize = 1000;

/// A process as asked for.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools)]
pub struct ExecSpec {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    pub tty: bool,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub privileged: bool,
    pub detach_keys: Option<String>,
}

/// What inspect shows of an exec instance.
#[derive(Debug, Clone)]
pub struct ExecView {
    pub id: ExecId,
    pub container: ContainerId,
    pub spec: ExecSpec,
    pub running: bool,
    /// `None` while it has not ended.
    pub exit_code: Option<i32>,
    pub pid: i32,
}

/// An exec instance.
struct Exec {
    id: ExecId,
    container: Arc<Container>,
    spec: ExecSpec,
    life: Mutex<Life>,
    /// Turns true when the end is recorded; clients see their streams end after that, because they ask for the code then.
    ended: watch::Sender<bool>,
}

/// How far an exec instance has come.
enum Life {
    Created,
    Starting,
    Running(Arc<ExecHandle>),
    Ended { code: i32, pid: i32 },
}

/// All exec instances of this daemon's life.
#[derive(Default)]
pub(crate) struct Execs {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<ExecId, Arc<Exec>>,
    /// The one that ended first is first.
    ended: VecDeque<ExecId>,
}

impl Execs {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, exec: Arc<Exec>) {
        self.known().by_id.insert(exec.id, exec);
    }

    /// Keeps an ended instance for those who ask how it ended, for as long as not too many others have ended after it.
    fn keep_ended(&self, id: ExecId) {
        let mut known = self.known();
        known.ended.push_back(id);
        while known.ended.len() > KEPT
            && let Some(oldest) = known.ended.pop_front()
        {
            known.by_id.remove(&oldest);
        }
    }

    /// Forgets those of `ids` that nobody has started.
    fn forget_unstarted(&self, ids: &[ExecId]) {
        let mut known = self.known();
        for id in ids {
            let waits = known.by_id.get(id).is_some_and(|exec| matches!(*exec.life(), Life::Created));
            if waits {
                known.by_id.remove(id);
            }
        }
    }

    fn find(&self, text: &str) -> Option<Arc<Exec>> {
        let by_id = &self.known().by_id;
        if let Some(exec) = text.parse::<ExecId>().ok().and_then(|id| by_id.get(&id)) {
            return Some(Arc::clone(exec));
        }
        let mut matching = by_id.values().filter(|exec| text.len() >= 4 && exec.id.to_string().starts_with(text));
        let found = matching.next().cloned();
        if matching.next().is_some() { None } else { found }
    }
}

impl Exec {
    fn life(&self) -> std::sync::MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Records a process to run in the container `name`. It does not run yet.
    ///
    /// # Errors
    /// `Conflict` when the container does not run or is paused; `Invalid` without a program.
    pub async fn create_exec(&self, name: &str, spec: ExecSpec) -> Result<ExecId> {
        let container = self.container(name)?;
        if matches!(container.state(), ContainerState::Paused { .. }) {
            return Err(Error::Conflict {
                reason: format!("Container {} is paused, unpause the container before exec", container.name()),
                hint: None,
            });
        }
        if matches!(container.state(), ContainerState::Restarting { .. }) {
            let reason = format!("Container {} is restarting, wait until the container is running", container.id);
            return Err(Error::Conflict { reason, hint: None });
        }
        if container.handle().is_none() {
            return Err(not_running(&container, "exec"));
        }
        if spec.args.first().is_none_or(String::is_empty) {
            return Err(Error::invalid("No exec command specified"));
        }
        let id = ExecId::from_random(clock::random());
        self.publish_container(
            &container,
            &format!("exec_create: {}", in_words(&spec.args)),
            BTreeMap::from([("execID".to_owned(), id.to_string())]),
        );
        container.execs.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        self.inner.execs.insert(Arc::new(Exec { id, container, spec, life: Mutex::new(Life::Created), ended: watch::Sender::new(false) }));
        Ok(id)
    }

    /// Starts a recorded process. The answer is the client's ends, or nothing when `detach`.
    ///
    /// # Errors
    /// `Conflict` when it was started before; `StartFailed` with 126 or 127 when the program cannot be executed or found.
    pub async fn start_exec(&self, id: &str, detach: bool) -> Result<Option<Attachment>> {
        let exec = self.exec(id)?;
        {
            let mut life = exec.life();
            if !matches!(*life, Life::Created) {
                return Err(Error::Conflict { reason: format!("exec instance {} has already run", exec.id.short()), hint: None });
            }
            *life = Life::Starting;
        }
        let started = self.launch_exec(&exec, detach).await;
        let (handle, attachment) = match started {
            Ok(started) => started,
            Err(error) => {
                let code = if let Error::StartFailed { code, .. } = &error { *code } else { 126 };
                *exec.life() = Life::Ended { code, pid: 0 };
                self.forget(&exec);
                return Err(error);
            }
        };
        *exec.life() = Life::Running(Arc::clone(&handle));
        let attributes = BTreeMap::from([("execID".to_owned(), exec.id.to_string())]);
        self.publish_container(&exec.container, &format!("exec_start: {}", in_words(&exec.spec.args)), attributes);
        let engine = self.clone();
        tokio::spawn(async move {
            let exit = handle.wait().await;
            *exec.life() = Life::Ended { code: exit.code, pid: handle.pid };
            exec.ended.send_replace(true);
            engine.forget(&exec);
            let attributes = BTreeMap::from([("execID".to_owned(), exec.id.to_string()), ("exitCode".to_owned(), exit.code.to_string())]);
            engine.publish_container(&exec.container, "exec_die", attributes);
        });
        Ok(attachment)
    }

    async fn launch_exec(&self, exec: &Arc<Exec>, detach: bool) -> Result<(Arc<ExecHandle>, Option<Attachment>)> {
        let handle = exec.container.handle().ok_or_else(|| not_running(&exec.container, "exec"))?;
        let process = self.exec_process(exec).await?;
        let spec = &exec.spec;
        let (stdout, stderr, tty) = (spec.attach_stdout, spec.attach_stderr, spec.tty);
        let attach = if detach {
            shipway_runtime::AttachOptions::NONE
        } else {
            shipway_runtime::AttachOptions { stdin: spec.attach_stdin, stdout: stdout || tty, stderr }
        };
        let wanted = shipway_runtime::ExecSpec { id: exec.id, process, attach, privileged: spec.privileged, tied: false };
        let mut started = handle.exec(wanted).await.map_err(explain)?;
        let (sender, output) = mpsc::channel(FRAMES);
        let mut ended = exec.ended.subscribe();
        let Some(attachment) = started.attachment.take() else {
            tokio::spawn(async move {
                let _ = ended.wait_for(|ended| *ended).await;
                drop(sender);
            });
            return Ok((Arc::new(started), (!detach).then_some(Attachment { tty, output, input: None })));
        };
        let mut frames = attachment.output;
        tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                let wanted = tty || if frame.stream == StreamKind::Stderr { stderr } else { stdout };
                if wanted && sender.send(frame).await.is_err() {
                    // The client left: keep reading so that the process is not blocked for ever.
                    while frames.recv().await.is_some() {}
                    return;
                }
            }
            let _ = ended.wait_for(|ended| *ended).await;
        });
        Ok((Arc::new(started), Some(Attachment { tty, output, input: attachment.input.map(Input::new) })))
    }

    /// The process that an exec means: the container's settings, overridden by the exec's.
    async fn exec_process(&self, exec: &Arc<Exec>) -> Result<ProcessSpec> {
        let (engine, exec) = (self.clone(), Arc::clone(exec));
        blocking::files(move || {
            let record = exec.container.record();
            let spec = &exec.spec;
            let user = spec.user.as_deref().filter(|user| !user.is_empty()).unwrap_or(&record.process.user);
            let resolved = engine.accounts_of(&record)?.resolve(user, &record.spec.host.group_add)?;
            let mut process = engine.process_of(&record, &resolved)?;
            process.args.clone_from(&spec.args);
            process.env = env::merge(&process.env, &spec.env);
            if let Some(dir) = spec.working_dir.as_ref().filter(|dir| !dir.is_empty()) {
                if !dir.starts_with('/') {
                    let message = "OCI runtime exec failed: Cwd must be an absolute path".to_owned();
                    return Err(Error::StartFailed { code: 126, message, hint: Some(format!("write /{dir}")) });
                }
                process.cwd.clone_from(dir);
            }
            process.terminal = spec.tty.then(shipway_runtime::TerminalSize::default);
            if spec.privileged {
                process.capabilities = shipway_model::Capability::all();
                process.seccomp = shipway_runtime::SeccompChoice::Unconfined;
            }
            Ok(process)
        })
        .await
    }

    /// What is known about an exec instance.
    pub fn inspect_exec(&self, id: &str) -> Result<ExecView> {
        let exec = self.exec(id)?;
        let (running, exit_code, pid) = match &*exec.life() {
            Life::Created => (false, None, 0),
            Life::Starting => (true, None, 0),
            Life::Running(handle) => (true, None, handle.pid),
            Life::Ended { code, pid } => (false, Some(*code), *pid),
        };
        Ok(ExecView { id: exec.id, container: exec.container.id, spec: exec.spec.clone(), running, exit_code, pid })
    }

    /// Tells the terminal of an exec instance its size.
    pub async fn resize_exec(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let exec = self.exec(id)?;
        let handle = match &*exec.life() {
            Life::Running(handle) => Arc::clone(handle),
            _ => return Err(Error::Conflict { reason: format!("exec instance {} is not running", exec.id.short()), hint: None }),
        };
        handle.resize(rows, columns).await.map_err(|error| Error::internal(format!("resize the terminal: {error}")))
    }

    fn exec(&self, id: &str) -> Result<Arc<Exec>> {
        self.inner.execs.find(id).ok_or_else(|| Error::NoSuchExec { name: id.to_owned() })
    }

    /// The container's process has ended: what was to run in it will not.
    pub(super) fn forget_unstarted_execs(&self, container: &Container) {
        let ids = container.execs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.inner.execs.forget_unstarted(&ids);
        container.execs.lock().unwrap_or_else(PoisonError::into_inner).retain(|id| self.inner.execs.known().by_id.contains_key(id));
    }

    /// An ended instance is no longer one of its container's.
    fn forget(&self, exec: &Exec) {
        self.inner.execs.keep_ended(exec.id);
        exec.container.execs.lock().unwrap_or_else(PoisonError::into_inner).retain(|id| *id != exec.id);
        tracing::trace!(exec = %exec.id, container = %exec.container.id, engine = ?self.inner.started, "an exec instance ended");
    }
}

/// The program and its arguments as events tell them; a program without arguments ends in a space, as dockerd's does.
fn in_words(args: &[String]) -> String {
    let (program, rest) = args.split_first().map_or(("", &[][..]), |(program, rest)| (program.as_str(), rest));
    format!("{program} {}", rest.join(" "))
}

/// dockerd's words for an exec whose program cannot start; the client maps them to 126 and 127.
fn explain(error: LaunchError) -> Error {
    let code = match &error {
        LaunchError::NotFound { .. } => 127,
        // dockerd's code for every other refusal of an exec.
        _ => 126,
    };
    Error::StartFailed { code, message: format!("OCI runtime exec failed: {error}"), hint: None }
}
