//! Restart policies: whether a container that ended is started again, after which wait, and what happens when the daemon itself starts.
//!
//! The rules are dockerd's: the wait begins at 100 ms and doubles up to a minute; a process that lived for ten seconds begins it anew; `always` also
//! brings back, at daemon start, what a person stopped. What must stay true: between two lives the record says `Restarting`, so that a daemon that
//! dies then goes on waiting when it is back.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use shipway_model::Timestamp;

use super::{Container, ContainerRecord, ContainerState, RestartPolicy};
use crate::Engine;

/// First wait.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// A process that lived this long is no crash loop.
const STEADY: Duration = Duration::from_secs(10);
/// Containers started at once when the daemon starts: more only wait for each other.
const AT_ONCE: usize = 16;

impl Engine {
    /// Starts the container again after `wait`, unless somebody stops or removes it meanwhile. Its record says `Restarting`.
    pub(super) fn restart_after(&self, container: &Arc<Container>, wait: Duration) {
        let (engine, container) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move {
            let mut changed = container.milestones.subscribe();
            let before = changed.borrow_and_update().exits;
            // Whoever ends the wait by hand tells it as an exit.
            if tokio::time::timeout(wait, changed.wait_for(|now| now.exits > before || now.removed)).await.is_ok() {
                return;
            }
            let _turn = container.turn.lock().await;
            // Somebody may have stopped it in the moment between its end and our wait.
            if container.record().stopped_by_hand {
                engine.forget_restart(&container);
            }
            if !matches!(container.state(), ContainerState::Restarting { .. }) || engine.is_stopping() {
                return;
            }
            if let Err(error) = engine.start_again_in_turn(&container).await {
                tracing::warn!(container = %container.id, %error, "the restart policy could not start a container");
            }
        });
    }

    /// Goes on with a wait that the daemon's own end interrupted.
    pub(crate) fn resume_restart(&self, container: &Arc<Container>) {
        let wait = next_wait(container, None);
        self.restart_after(container, wait);
    }

    /// Starts what policies ask for now that the daemon is back: first what stands alone, then what joins others' namespaces.
    pub(crate) fn start_by_policy(&self, containers: Vec<Arc<Container>>) {
        if containers.is_empty() {
            return;
        }
        let engine = self.clone();
        tokio::spawn(async move {
            let (joining, alone): (Vec<_>, Vec<_>) = containers.into_iter().partition(|container| joins_another(&container.record()));
            for group in [alone, joining] {
                futures_util::stream::iter(group)
                    .for_each_concurrent(AT_ONCE, |container| {
                        let engine = engine.clone();
                        async move {
                            let _turn = container.turn.lock().await;
                            // Somebody may have been faster.
                            if container.state().is_alive() || container.milestones.borrow().removed {
                                return;
                            }
                            container.change(|record| record.stopped_by_hand = false);
                            if let Err(error) = engine.start_again_in_turn(&container).await {
                                tracing::warn!(container = %container.id, %error, "cannot start a container that its restart policy wants");
                            }
                        }
                    })
                    .await;
            }
        });
    }
}

impl Container {
    /// A person starts it: what its policy remembers of earlier lives no longer counts.
    pub(super) fn begin_anew(&self) {
        *self.last_wait.lock().unwrap_or_else(PoisonError::into_inner) = Duration::ZERO;
        self.change(|record| {
            record.restart_count = 0;
            record.stopped_by_hand = false;
        });
    }
}

/// Whether the policy starts the container again after its process ended with `code` while the daemon watched.
pub(super) fn will_restart(record: &ContainerRecord, code: i32) -> bool {
    !record.stopped_by_hand && wants(&record.spec.host.restart, record.restart_count, code)
}

/// Whether the policy starts a container that is not running when the daemon starts.
pub(crate) fn will_start_with_daemon(record: &ContainerRecord) -> bool {
    let ContainerState::Exited { code, .. } = record.state else { return false };
    match record.spec.host.restart {
        RestartPolicy::Always => true,
        _ => will_restart(record, code),
    }
}

fn wants(policy: &RestartPolicy, restarts: u32, code: i32) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure(most) => code != 0 && (*most == 0 || restarts < *most),
    }
}

/// The wait before the next start of a container whose process lived from its record's start to `ended`.
pub(super) fn next_wait(container: &Container, ended: Option<Timestamp>) -> Duration {
    let lived = container.record().started_at.zip(ended).map_or(Duration::ZERO, |(started, ended)| ended.since(started));
    let mut last = container.last_wait.lock().unwrap_or_else(PoisonError::into_inner);
    *last = following(*last, lived);
    *last
}

/// dockerd's back-off as a function of the wait before.
fn following(last: Duration, lived: Duration) -> Duration {
    if last.is_zero() || lived >= STEADY { FIRST } else { last.saturating_mul(2).min(LONGEST) }
}

fn joins_another(record: &ContainerRecord) -> bool {
    let host = &record.spec.host;
    matches!(host.network, super::NetworkMode::Container(_))
        || [&host.pid_mode, &host.ipc_mode].iter().any(|mode| mode.starts_with("container:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_a_minute_and_begins_anew_after_a_steady_life() {
        let mut waits = Vec::new();
        let mut wait = Duration::ZERO;
        for _ in 0..12 {
            wait = following(wait, Duration::from_secs(1));
            waits.push(wait.as_millis());
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        assert_eq!(following(wait, Duration::from_secs(10)), FIRST);
    }

    #[test]
    fn failures_are_counted_and_success_is_none() {
        for (policy, restarts, code, expected) in [
            (RestartPolicy::No, 0, 1, false),
            (RestartPolicy::Always, 9, 0, true),
            (RestartPolicy::UnlessStopped, 9, 0, true),
            (RestartPolicy::OnFailure(0), 99, 1, true),
            (RestartPolicy::OnFailure(2), 1, 1, true),
            (RestartPolicy::OnFailure(2), 2, 1, false),
            (RestartPolicy::OnFailure(2), 0, 0, false),
        ] {
            assert_eq!(wants(&policy, restarts, code), expected, "{policy:?} {restarts} {code}");
        }
    }
}
