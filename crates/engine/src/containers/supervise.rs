//! What happens when a container's process ends: the exit is told at once, everything else comes behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use shipway_runtime::{ExitStatus, Handle};

use super::restart::{next_wait, will_restart};
use super::{Container, ContainerState, RemoveOptions, WaitOutcome};
use crate::{Engine, clock};

impl Engine {
    /// Watches the process behind `handle` in a task of its own until it ends.
    pub(crate) fn supervise(&self, container: &Arc<Container>, handle: Handle) {
        self.watch_health(container, handle.clone());
        let (engine, container) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move {
            let exit = handle.wait().await;
            engine.exited(&container, exit).await;
        });
    }

    /// Records that the process ended, tells those who wait, and does what the container's options say.
    pub(crate) async fn exited(&self, container: &Arc<Container>, exit: ExitStatus) {
        let _ending = container.ending.lock().await;
        let before = container.record();
        let restart = !self.is_stopping() && will_restart(&before, exit.code);
        container.set_handle(None);
        self.forget_unstarted_execs(container);
        let state = if restart {
            ContainerState::Restarting { code: exit.code, finished: exit.at }
        } else {
            ContainerState::Exited { code: exit.code, finished: exit.at, oom_killed: exit.oom_killed, error: None }
        };
        container.change(|record| {
            record.state = state;
            if let Some(health) = &mut record.health {
                // As dockerd says of what is not looked at any more.
                health.status = super::HealthStatus::Unhealthy;
            }
            record.restart_count += u32::from(restart);
        });
        // Before anyone hears of the end: who starts something on the same port next must get it.
        self.release_endpoints(container).await;
        if exit.oom_killed {
            self.publish_container(container, "oom", BTreeMap::new());
        }
        self.publish_container(container, "die", BTreeMap::from([("exitCode".to_owned(), exit.code.to_string())]));
        let removes = before.spec.host.auto_remove && !container.is_restarted_by_hand();
        if !restart {
            container.milestones.send_modify(|now| {
                now.exits += 1;
                now.last = WaitOutcome { code: exit.code, error: None };
            });
        }
        self.release_mounts(container).await;
        if restart {
            self.save_lazily(container);
            self.restart_after(container, next_wait(container, Some(exit.at)));
        } else if removes {
            self.remove_behind(container);
        } else {
            self.save_lazily(container);
        }
    }

    /// What a failed start leaves behind: `--rm` containers that ran before go; those that never ran stay, as with dockerd's client.
    pub(crate) fn after_failed_start(&self, container: &Arc<Container>) {
        if container.record().spec.host.auto_remove {
            self.remove_behind(container);
        }
    }

    /// Removes a container without keeping anyone waiting.
    fn remove_behind(&self, container: &Arc<Container>) {
        let (engine, container) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move {
            let _turn = container.turn.lock().await;
            let options = RemoveOptions { force: true, volumes: true, link: false };
            if let Err(error) = engine.remove_in_turn(&container, options).await {
                tracing::warn!(container = %container.id, %error, "cannot remove a container started with --rm");
            }
        });
    }
}

impl Engine {
    /// Tells those who wait that a container is gone.
    pub(crate) fn tell_removed(&self, container: &Container) {
        container.milestones.send_modify(|now| now.removed = true);
        tracing::trace!(container = %container.id, at = %clock::now(), "removed");
    }
}
