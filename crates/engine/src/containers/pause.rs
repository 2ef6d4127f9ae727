//! `pause` and `unpause`: every process of a container stands still, or goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kill::not_running;
use super::{Container, ContainerState};
use crate::{Engine, Error, Result};

impl Engine {
    /// Stops all processes of the container `name` where they are.
    ///
    /// # Errors
    /// `Conflict` when it does not run, is paused already, or is between two lives.
    pub async fn pause_container(&self, name: &str) -> Result<()> {
        let container = self.container(name)?;
        let _turn = container.turn.lock().await;
        match container.state() {
            ContainerState::Running { .. } => {}
            ContainerState::Paused { .. } => return Err(conflict(format!("Container {} is already paused", container.id))),
            ContainerState::Restarting { .. } => return Err(restarting(&container)),
            _ => return Err(not_running(&container, "pause")),
        }
        self.freeze(&container).await?;
        container.change(|record| {
            if let ContainerState::Running { pid, started } = record.state {
                record.state = ContainerState::Paused { pid, started };
            }
        });
        self.save_lazily(&container);
        self.publish_container(&container, "pause", BTreeMap::new());
        Ok(())
    }

    /// Lets the processes of the paused container `name` go on.
    ///
    /// # Errors
    /// `Internal` (dockerd answers 500 here) when it is not paused.
    pub async fn unpause_container(&self, name: &str) -> Result<()> {
        let container = self.container(name)?;
        let _turn = container.turn.lock().await;
        if !matches!(container.state(), ContainerState::Paused { .. }) {
            return Err(Error::Refused { reason: format!("Container {} is not paused", container.id) });
        }
        self.thaw(&container).await?;
        self.note_unpaused(&container);
        Ok(())
    }

    /// Records that a paused container goes on.
    pub(super) fn note_unpaused(&self, container: &Arc<Container>) {
        container.change(|record| {
            if let ContainerState::Paused { pid, started } = record.state {
                record.state = ContainerState::Running { pid, started };
            }
        });
        self.save_lazily(container);
        self.publish_container(container, "unpause", BTreeMap::new());
    }

    /// Stops the processes without telling anyone.
    pub(super) async fn freeze(&self, container: &Container) -> Result<()> {
        let handle = container.handle().ok_or_else(|| not_running(container, "pause"))?;
        handle.pause().await.map_err(|error| Error::internal(format!("Cannot pause container {}: {error}", container.id)))
    }

    /// Lets them go on without telling anyone. One that ended meanwhile is no error.
    pub(super) async fn thaw(&self, container: &Container) -> Result<()> {
        let Some(handle) = container.handle() else { return Ok(()) };
        handle.resume().await.map_err(|error| Error::internal(format!("Cannot unpause container {}: {error}", container.id)))
    }
}

fn conflict(reason: String) -> Error {
    Error::Conflict { reason, hint: None }
}

/// dockerd's words for a container between two lives.
pub(super) fn restarting(container: &Container) -> Error {
    conflict(format!("Container {} is restarting, wait until the container is running", container.id))
}
