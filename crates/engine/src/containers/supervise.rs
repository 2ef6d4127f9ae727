//! What happens when a container's process ends: the exit is told at once, everything else comes behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shipway_runtime::{ExitStatus, Handle};

use super::{Container, ContainerState, RemoveOptions, RestartPolicy, WaitOutcome};
use crate::{Engine, clock};

/// First wait of the restart policy; it doubles up to `BACKOFF_MOST`, as dockerd does.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MOST: Duration = Duration::from_secs(60);
/// A process that lived this long starts the back-off anew.
const BACKOFF_RESET: Duration = Duration::from_secs(10);

impl Engine {
    /// Watches the process behind `handle` in a task of its own until it ends.
    pub(crate) fn supervise(&self, container: &Arc<Container>, handle: Handle) {
        let (engine, container) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move {
            let exit = handle.wait().await;
            engine.exited(&container, exit).await;
        });
    }

    /// Records that the process ended, tells those who wait, and does what the container's options say.
    pub(crate) async fn exited(&self, container: &Arc<Container>, exit: ExitStatus) {
        let before = container.record();
        let restart = will_restart(&before, exit.code);
        container.set_handle(None);
        let state = if restart {
            ContainerState::Restarting { code: exit.code, finished: exit.at }
        } else {
            ContainerState::Exited { code: exit.code, finished: exit.at, oom_killed: exit.oom_killed, error: None }
        };
        let record = container.change(|record| record.state = state);
        if exit.oom_killed {
            self.publish_container(container, "oom", BTreeMap::new());
        }
        self.publish_container(container, "die", BTreeMap::from([("exitCode".to_owned(), exit.code.to_string())]));
        let removes = before.spec.host.auto_remove;
        if !restart {
            container.milestones.send_modify(|now| {
                now.exits += 1;
                now.last = WaitOutcome { code: exit.code, error: None };
            });
        }
        if restart {
            self.save_lazily(record);
            self.restart_later(container, exit);
        } else if removes {
            self.remove_behind(container);
        } else {
            self.save_lazily(record);
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

    /// Starts the container again after the back-off, unless somebody stops or removes it meanwhile.
    fn restart_later(&self, container: &Arc<Container>, exit: ExitStatus) {
        let (engine, container) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move {
            tokio::time::sleep(backoff(&container.record(), &exit)).await;
            let _turn = container.turn.lock().await;
            if !matches!(container.state(), ContainerState::Restarting { .. }) {
                return;
            }
            container.change(|record| record.restart_count += 1);
            if let Err(error) = engine.start_in_turn(&container).await {
                tracing::warn!(container = %container.id, %error, "the restart policy could not start a container");
            }
        });
    }
}

/// Whether the restart policy starts the container again after it ended with `code`.
fn will_restart(record: &super::ContainerRecord, code: i32) -> bool {
    if record.stopped_by_hand {
        return false;
    }
    match record.spec.host.restart {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure(most) => code != 0 && (most == 0 || record.restart_count < most),
    }
}

/// How long to wait before the next start.
fn backoff(record: &super::ContainerRecord, exit: &ExitStatus) -> Duration {
    let lived = record.started_at.map_or(Duration::ZERO, |started| exit.at.since(started));
    if lived >= BACKOFF_RESET {
        return BACKOFF_FIRST;
    }
    let doublings = record.restart_count.min(16);
    BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_MOST)
}

impl Engine {
    /// Tells those who wait that a container is gone.
    pub(crate) fn tell_removed(&self, container: &Container) {
        container.milestones.send_modify(|now| now.removed = true);
        tracing::trace!(container = %container.id, at = %clock::now(), "removed");
    }
}
