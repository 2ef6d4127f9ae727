//! `stop` and `restart`: ask the process to end, then insist.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shipway_model::Signal;

use super::{Container, ContainerState, RestartPolicy};
use crate::{Engine, Error, Result};

/// How long stop waits when nobody said.
const GRACE: Duration = Duration::from_secs(10);
/// How long a killed process may take to go before stop gives up: longer means it hangs in the kernel.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// How to stop.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopOptions {
    /// The first signal; the container's own when `None`.
    pub signal: Option<Signal>,
    /// How long to wait for it; the container's own when `None`; `Duration::MAX` waits for ever.
    pub timeout: Option<Duration>,
}

/// A restart by hand, for as long as it takes.
struct Restarted(Arc<Container>);

impl Restarted {
    fn begin(container: &Arc<Container>) -> Self {
        container.restarts.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(container))
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        self.0.restarts.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Container {
    /// True while a person's restart of it is between its two halves.
    pub(crate) fn is_restarted_by_hand(&self) -> bool {
        self.restarts.load(Ordering::Acquire) > 0
    }
}

impl Engine {
    /// Stops the container `name`: its stop signal, a grace period, then SIGKILL to everything in it.
    ///
    /// # Errors
    /// `Unchanged` when it does not run.
    pub async fn stop_container(&self, name: &str, options: StopOptions) -> Result<()> {
        let container = self.container(name)?;
        self.stop(&container, options).await
    }

    /// Stops (when it runs) and starts the container `name`.
    pub async fn restart_container(&self, name: &str, options: StopOptions) -> Result<()> {
        let container = self.container(name)?;
        let _restarted = Restarted::begin(&container);
        match self.stop(&container, options).await {
            Ok(()) | Err(Error::Unchanged { .. }) => {}
            Err(error) => return Err(error),
        }
        let _turn = container.turn.lock().await;
        match self.start_in_turn(&container).await {
            Ok(()) | Err(Error::Unchanged { .. }) => {}
            Err(error) => return Err(error),
        }
        self.publish_container(&container, "restart", BTreeMap::new());
        Ok(())
    }

    async fn stop(&self, container: &Arc<Container>, options: StopOptions) -> Result<()> {
        let turn = container.turn.lock().await;
        // At the daemon's own end nobody has judged the container: policies bring it back when the daemon is.
        if !self.is_stopping() {
            self.note_ended_by_hand(container).await?;
        }
        if self.forget_restart(container) {
            self.publish_container(container, "stop", BTreeMap::new());
            return Ok(());
        }
        let Some(handle) = container.handle() else {
            return Err(Error::Unchanged { reason: format!("container {} is already stopped", container.name()) });
        };
        let record = container.record();
        let signal =
            options.signal.or_else(|| record.process.stop_signal.as_deref().and_then(|text| text.parse().ok())).unwrap_or(Signal::TERM);
        let grace = options.timeout.or(record.spec.stop_timeout).unwrap_or(GRACE);
        let mut ended = container.milestones.subscribe();
        let before = ended.borrow_and_update().exits;
        if matches!(record.state, ContainerState::Paused { .. }) {
            self.thaw(container).await?;
            self.note_unpaused(container);
        }
        self.signal(container, &handle, signal).await?;
        // Patience is no reason to keep others waiting: a removal by force, or a stop in more of a hurry, goes first.
        drop(turn);
        if tokio::time::timeout(grace, ended.wait_for(|now| now.exits > before)).await.is_err() {
            self.signal(container, &handle, Signal::KILL).await?;
            // Kills what somebody has paused meanwhile, too.
            handle.kill_all().await;
            let gone = tokio::time::timeout(AFTER_KILL, ended.wait_for(|now| now.exits > before)).await;
            if gone.is_err() {
                return Err(Error::internal(format!(
                    "container {} does not end although it was killed; a process of it hangs in the kernel",
                    record.name
                )));
            }
        }
        self.publish_container(container, "stop", BTreeMap::new());
        Ok(())
    }

    /// Ends the wait between two lives of a container by its restart policy; false when it is not in one.
    pub(super) fn forget_restart(&self, container: &Arc<Container>) -> bool {
        let mut outcome = None;
        container.change(|record| {
            if let ContainerState::Restarting { code, finished } = record.state {
                record.state = ContainerState::Exited { code, finished, oom_killed: false, error: None };
                outcome = Some(code);
            }
        });
        let Some(code) = outcome else { return false };
        self.save_lazily(container);
        container.milestones.send_modify(|now| {
            now.exits += 1;
            now.last = super::WaitOutcome { code, error: None };
        });
        true
    }

    /// Notes that a person ends this container, before it is ended: after a crash its restart policy must leave it alone.
    pub(super) async fn note_ended_by_hand(&self, container: &Arc<Container>) -> Result<()> {
        let record = container.change(|record| record.stopped_by_hand = true);
        if record.spec.host.restart == RestartPolicy::No {
            return Ok(());
        }
        self.save(container).await
    }

    /// Stops every container within the configured time, all at once.
    pub(crate) async fn stop_all(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        let stops =
            self.inner.containers.all().into_iter().filter(|container| container.state().is_going_on()).map(|container| async move {
                let options = StopOptions { signal: None, timeout: Some(self.inner.config.shutdown_timeout) };
                if let Err(error) = self.stop(&container, options).await {
                    tracing::warn!(container = %container.id, %error, "cannot stop a container at shutdown");
                }
            });
        futures_util::future::join_all(stops).await;
    }
}
