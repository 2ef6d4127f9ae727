//! `start`: from a record to a running process.

use std::collections::BTreeMap;
use std::sync::Arc;

use shipway_model::{Classified, ErrorKind};
use shipway_runtime::{LaunchError, Reserved, Running};

use super::{Container, ContainerState, StartFailure, attach};
use crate::{Engine, Error, Result, blocking, clock};

impl Engine {
    /// Starts the container `name`. When this answers, its program runs.
    ///
    /// # Errors
    /// `Unchanged` when it runs already; `StartFailed` with 126 or 127 when the program cannot be executed or found, 125 for any other refusal.
    pub async fn start_container(&self, name: &str) -> Result<()> {
        let container = self.container(name)?;
        let _turn = container.turn.lock().await;
        self.start_in_turn(&container).await
    }

    /// Starts a container whose turn the caller holds, because a person asked for it: its restart policy begins anew.
    pub(crate) async fn start_in_turn(&self, container: &Arc<Container>) -> Result<()> {
        if matches!(container.state(), ContainerState::Restarting { .. }) {
            return Err(Error::Unchanged { reason: format!("container {} is already running", container.name()) });
        }
        if !container.state().is_alive() {
            container.begin_anew();
        }
        self.start_again_in_turn(container).await
    }

    /// Starts a container whose turn the caller holds, because its restart policy asks for it.
    pub(crate) async fn start_again_in_turn(&self, container: &Arc<Container>) -> Result<()> {
        match container.state() {
            ContainerState::Running { .. } => {
                return Err(Error::Unchanged { reason: format!("container {} is already running", container.name()) });
            }
            ContainerState::Paused { .. } => {
                return Err(Error::Conflict { reason: "cannot start a paused container, try unpause instead".to_owned(), hint: None });
            }
            ContainerState::Removing | ContainerState::Dead { .. } => {
                return Err(Error::Conflict { reason: "container is marked for removal and cannot be started".to_owned(), hint: None });
            }
            ContainerState::Created { .. } | ContainerState::Exited { .. } | ContainerState::Restarting { .. } => {}
        }
        match self.launch(container).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.note_failed_start(container, &error);
                Err(error)
            }
        }
    }

    /// Records why the program did not run. Nobody's wait ends by it, because nothing ran; only a restart by policy, which others wait for,
    /// comes to its end here.
    fn note_failed_start(&self, container: &Arc<Container>, error: &Error) {
        let failure = start_failure(error);
        let before = container.record();
        let state = match before.started_at {
            None => ContainerState::Created { error: Some(failure.clone()) },
            Some(_) => {
                let finished = before.finished_at().unwrap_or_else(clock::now);
                ContainerState::Exited { code: failure.code, finished, oom_killed: false, error: Some(failure.message) }
            }
        };
        container.change(|record| record.state = state);
        self.save_lazily(container);
        // Clients that attached for this start have nothing to wait for any more.
        drop(attach::open_lobby(container));
        container.milestones.send_modify(|now| {
            now.exits += u64::from(matches!(before.state, ContainerState::Restarting { .. }));
            now.last = super::WaitOutcome { code: failure.code, error: None };
        });
        self.after_failed_start(container);
    }

    /// Launches the process and records it as running.
    async fn launch(&self, container: &Arc<Container>) -> Result<()> {
        container.ended_whole().await;
        // The root of the process before must be unmounted: two mounts of one upper folder are undefined (overlayfs.rst).
        if let Some(before) = container.ended_handle() {
            before.gone().await;
        }
        container.roots.unused().await;
        let wired = self.claim_endpoints(container).await?;
        let launched = self.launch_wired(container, wired).await;
        let (running, waiting) = match launched {
            Ok(launched) => launched,
            Err(error) => {
                self.release_endpoints(container).await;
                self.release_mounts(container).await;
                return Err(error);
            }
        };
        self.tell_mounted(container);
        if let Some(attachment) = running.attachment {
            attach::let_in(attachment, waiting);
        }
        let started = running.started_at;
        container.set_handle(Some(running.handle.clone()));
        let record = container.change(|record| {
            record.state = ContainerState::Running { pid: running.pid, started };
            record.started_at = Some(started);
            let before = record.health.take();
            record.health = super::health::is_checked(&record.process).then(|| super::Health::begin(before));
        });
        self.publish_connects(&record);
        if record.endpoints.iter().any(|endpoint| endpoint.wish.network == crate::networks::BRIDGE) {
            let (engine, started) = (self.clone(), record.clone());
            // Failing is logged there: nobody's start depends on it.
            let tell = move || {
                engine.tell_linked(&started);
                Ok(())
            };
            let _ = blocking::files(tell).await;
        }
        self.save_lazily(container);
        self.publish_container(container, "start", BTreeMap::new());
        self.supervise(container, running.handle);
        Ok(())
    }

    /// Makes the process; where there is a network to wire, before the gate opens.
    async fn launch_wired(&self, container: &Arc<Container>, wired: bool) -> Result<(Running, Vec<attach::Waiting>)> {
        if !wired {
            let mut spec = self.container_spec(container).await?;
            let (wish, waiting) = attach::open_lobby(container);
            spec.attach = wish;
            let running = self.inner.runtime.launch(spec).await.map_err(|error| explain(container, error))?;
            return Ok((running, waiting));
        }
        // The process's place is wired while its files are written.
        let (reserved, spec) = tokio::join!(self.reserve_wired(container), self.container_spec(container));
        let (reserved, mut spec) = (reserved?, spec?);
        let (wish, waiting) = attach::open_lobby(container);
        spec.attach = wish;
        let running = self.inner.runtime.launch_reserved(reserved, spec).await.map_err(|error| explain(container, error))?;
        Ok((running, waiting))
    }

    /// A place for the first process, with the container's interfaces in it.
    async fn reserve_wired(&self, container: &Arc<Container>) -> Result<Reserved> {
        let reserved = self.inner.runtime.reserve().await.map_err(|error| explain(container, error))?;
        let (engine, container) = (self.clone(), Arc::clone(container));
        blocking::files(move || {
            let netns = reserved.network_namespace().map_err(Error::sys("open the network namespace of a new container"))?;
            engine.attach_endpoints(&container.record(), &netns)?;
            Ok(reserved)
        })
        .await
    }
}

/// Turns a refusal of the hands into the words and code that docker clients act on.
fn explain(container: &Container, error: LaunchError) -> Error {
    let program = container.record().process.args().into_iter().next().unwrap_or_default();
    let code = match &error {
        LaunchError::NotFound { .. } => 127,
        LaunchError::NotExecutable { .. } => 126,
        _ if error.kind() == ErrorKind::NotFound => 127,
        _ => 125,
    };
    let hint = match code {
        127 => Some(format!(
            "{program} does not exist in this image; list what is there: shipway run --rm --entrypoint ls IMAGE /bin /usr/bin"
        )),
        126 => Some(format!("{program} exists but cannot be executed: it needs the x bit (RUN chmod +x {program})")),
        _ => error.hint(),
    };
    Error::StartFailed { code, message: format!("failed to create task for container: {error}"), hint }
}

fn start_failure(error: &Error) -> StartFailure {
    // dockerd records 128 for a start that was refused before there was a program to judge.
    let code = if let Error::StartFailed { code: code @ (126 | 127), .. } = error { *code } else { 128 };
    tracing::debug!(%error, code, "a container did not start");
    StartFailure { code, message: error.to_string() }
}
