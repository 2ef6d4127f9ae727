//! `kill`: one signal to the first process; `resize` of its terminal.

use std::collections::BTreeMap;

use shipway_model::Signal;
use shipway_runtime::Handle;

use super::Container;
use crate::{Engine, Error, Result};

impl Engine {
    /// Sends `signal` (SIGKILL when `None`) to the container `name`.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn kill_container(&self, name: &str, signal: Option<Signal>) -> Result<()> {
        let container = self.container(name)?;
        let signal = signal.unwrap_or(Signal::KILL);
        if matches!(container.state(), super::ContainerState::Restarting { .. }) {
            // Between two lives there is nobody to signal; whatever was to be said, the policy is to leave it alone now.
            self.note_ended_by_hand(&container).await?;
            let _turn = container.turn.lock().await;
            if self.forget_restart(&container) {
                return Ok(());
            }
        }
        let handle = container.handle().ok_or_else(|| not_running(&container, "kill"))?;
        if signal == Signal::KILL || Some(signal) == container.record().process.stop_signal.as_deref().and_then(|text| text.parse().ok()) {
            // A person ended it: the restart policy leaves it alone, as with dockerd.
            self.note_ended_by_hand(&container).await?;
        }
        let mut ended = container.milestones.subscribe();
        let before = ended.borrow_and_update().exits;
        self.signal(&container, &handle, signal).await?;
        if signal == Signal::KILL {
            if matches!(container.state(), super::ContainerState::Paused { .. }) {
                // A frozen process dies only when it goes on (cgroup version 1).
                self.thaw(&container).await?;
            }
            // dockerd answers a SIGKILL after the death; scripts rely on it.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(10), ended.wait_for(|now| now.exits > before)).await;
        }
        Ok(())
    }

    /// Sends a signal and publishes that it was sent. A process that ended meanwhile is no error.
    pub(super) async fn signal(&self, container: &Container, handle: &Handle, signal: Signal) -> Result<()> {
        // Told before it is done: the end that it causes is told by somebody else, perhaps faster.
        self.publish_container(container, "kill", BTreeMap::from([("signal".to_owned(), signal.number().to_string())]));
        match handle.signal(signal).await {
            Ok(()) | Err(shipway_runtime::Error::NotRunning) => Ok(()),
            Err(error) => Err(Error::internal(format!("cannot signal container {}: {error}", container.name()))),
        }
    }

    /// Tells the container's terminal its size.
    pub async fn resize(&self, name: &str, rows: u16, columns: u16) -> Result<()> {
        let container = self.container(name)?;
        let handle = container.handle().ok_or_else(|| not_running(&container, "resize"))?;
        handle.resize(rows, columns).await.map_err(|error| Error::internal(format!("resize the terminal: {error}")))
    }
}

/// dockerd's words for an action that needs a running container.
pub(super) fn not_running(container: &Container, action: &str) -> Error {
    let record = container.record();
    let reason = match action {
        "kill" => format!("cannot kill container: {}: container {} is not running", record.name, record.id),
        _ => format!("container {} is not running", record.id),
    };
    Error::Conflict {
        reason,
        hint: Some(format!("{} {}; start it: shipway start {}", record.name, super::describe(&record.state), record.name)),
    }
}
