//! `wait`: until a container stops, stops again, or is gone.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Container, Milestones};
use crate::{Engine, Result};

/// What to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run; at once when it does not.
    #[default]
    NotRunning,
    /// That it exits the next time.
    NextExit,
    /// That it is removed.
    Removed,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WaitOutcome {
    pub code: i32,
    /// Why the daemon could not tell or could not start it.
    pub error: Option<String>,
}

/// A registered wait: nothing that happens after its creation is missed.
pub struct WaitHandle {
    container: Arc<Container>,
    condition: WaitCondition,
    seen: u64,
    receiver: watch::Receiver<Milestones>,
}

impl Engine {
    /// Registers a wait for `condition` on the container `name`.
    pub async fn wait_container(&self, name: &str, condition: WaitCondition) -> Result<WaitHandle> {
        let container = self.container(name)?;
        let receiver = container.milestones.subscribe();
        let seen = receiver.borrow().exits;
        Ok(WaitHandle { container, condition, seen, receiver })
    }
}

impl WaitHandle {
    /// Waits until the condition holds.
    pub async fn finished(mut self) -> Result<WaitOutcome> {
        if self.condition == WaitCondition::NotRunning && !is_going_on(&self.container) {
            return Ok(self.receiver.borrow().last.clone());
        }
        let (condition, seen) = (self.condition, self.seen);
        let reached = self.receiver.wait_for(|now| now.removed || (condition != WaitCondition::Removed && now.exits > seen)).await;
        match reached {
            Ok(now) => Ok(now.last.clone()),
            // The container is gone from memory: it was removed.
            Err(_) => Ok(WaitOutcome::default()),
        }
    }
}

/// True while it has a process or will have one again by its restart policy.
pub(super) fn is_going_on(container: &Container) -> bool {
    container.state().is_going_on()
}
