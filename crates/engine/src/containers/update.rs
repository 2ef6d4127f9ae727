//! `update`: other limits and another restart policy, at once and for every later start.
//!
//! What must stay true: the kernel takes the new limits before the record says so, and a failure to store the record puts the old limits back.

use std::collections::BTreeMap;

use shipway_model::Limits;

use super::{Container, ContainerState, RestartPolicy};
use crate::{Engine, Error, Result};

/// What to change; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateSpec {
    /// Limits to set; those that are `None` stay as they are.
    pub limits: Limits,
    pub restart: Option<RestartPolicy>,
}

impl Engine {
    /// Changes limits and restart policy of the container `name`; a running one feels it at once.
    ///
    /// # Errors
    /// `Invalid` for values that are refused at creation too; `Conflict` for those that contradict what was set before.
    ///
    /// # Durability
    /// When this answers, the change survives a power cut.
    pub async fn update_container(&self, name: &str, change: UpdateSpec) -> Result<Vec<String>> {
        super::refuse::limits(&alone(&change.limits))?;
        let container = self.container(name)?;
        let _turn = container.turn.lock().await;
        let before = container.record();
        if matches!(before.state, ContainerState::Removing | ContainerState::Dead { .. }) {
            return Err(Error::Conflict { reason: "Container is marked for removal and cannot be \"update\".".to_owned(), hint: None });
        }
        let merged = merge(&before.spec.host.limits, &change.limits).map_err(|error| cannot(&container, error))?;
        // The kernel judges these two against each other; the rest was judged alone, as dockerd does.
        let together = Limits { memory: merged.memory, memory_swap: merged.memory_swap, ..Limits::default() };
        super::refuse::limits(&together).map_err(|error| cannot(&container, error))?;
        if before.spec.host.auto_remove && change.restart.as_ref().is_some_and(|policy| *policy != RestartPolicy::No) {
            let reason = "Restart policy cannot be updated because AutoRemove is enabled for the container";
            return Err(cannot(&container, Error::invalid(reason)));
        }
        self.apply_limits(&container, &only_changed(&before.spec.host.limits, &merged)).await?;
        container.change(|record| {
            record.spec.host.limits = merged;
            if let Some(policy) = change.restart {
                record.spec.host.restart = policy;
            }
        });
        if let Err(error) = self.save(&container).await {
            // The change was not acknowledged: take it back.
            container.change(|record| {
                record.spec.host.limits.clone_from(&before.spec.host.limits);
                record.spec.host.restart.clone_from(&before.spec.host.restart);
            });
            if let Err(error) = self.apply_limits(&container, &before.spec.host.limits).await {
                tracing::warn!(container = %container.id, %error, "the limits before an update could not be set again");
            }
            return Err(error);
        }
        self.publish_container(&container, "update", BTreeMap::new());
        Ok(Vec::new())
    }

    /// Has the kernel take `limits`, when there are any and something runs.
    async fn apply_limits(&self, container: &Container, limits: &Limits) -> Result<()> {
        let Some(handle) = container.handle().filter(|_| !limits.is_empty()) else { return Ok(()) };
        handle.update_limits(limits).await.map_err(|error| cannot(container, Error::internal(error.to_string())))
    }
}

/// The asked limits without those that are only judged together with the limits they join.
fn alone(limits: &Limits) -> Limits {
    let mut alone = limits.clone();
    if alone.memory.is_none() {
        alone.memory_swap = None;
    }
    alone
}

/// The limits after the change.
///
/// # Errors
/// dockerd's, for values that would contradict what was set before.
fn merge(before: &Limits, change: &Limits) -> Result<Limits> {
    let conflict = |reason: &str| Err(Error::Conflict { reason: reason.to_owned(), hint: None });
    let has_nano = before.nano_cpus.is_some();
    if has_nano && change.cpu_period.is_some() {
        return conflict("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set");
    }
    if has_nano && change.cpu_quota.is_some() {
        return conflict("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set");
    }
    if change.nano_cpus.is_some() && before.cpu_quota.is_some() {
        return conflict("Conflicting options: NanoCPUs cannot be updated as CPU Quota has already been set");
    }
    if change.nano_cpus.is_some() && before.cpu_period.is_some() {
        return conflict("Conflicting options: NanoCPUs cannot be updated as CPU Period has already been set");
    }
    let mut merged = before.clone();
    macro_rules! take {
        ($($field:ident)*) => {$( if change.$field.is_some() { merged.$field.clone_from(&change.$field); } )*};
    }
    take!(memory memory_swap memory_reservation memory_swappiness nano_cpus cpu_shares cpu_period cpu_quota cpuset_cpus cpuset_mems
        pids blkio_weight cpu_realtime_period cpu_realtime_runtime oom_kill_disable);
    // The sum that Docker's rule made at creation stays until it is changed by name.
    let sum = before.memory_swap.or_else(|| before.memory.map(|bytes| i64::try_from(bytes.saturating_mul(2)).unwrap_or(i64::MAX)));
    if let (Some(memory), Some(sum), None) = (change.memory, sum, change.memory_swap) {
        if sum > 0 && memory > sum.unsigned_abs() {
            let reason = "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time";
            return Err(Error::InvalidWithHint { reason: reason.to_owned(), hint: "add --memory-swap".to_owned() });
        }
        merged.memory_swap = Some(sum);
    }
    Ok(merged)
}

/// What the kernel has to be told. Memory and its sum with swap go together: each is judged against the other.
fn only_changed(before: &Limits, after: &Limits) -> Limits {
    let mut changed = Limits::default();
    macro_rules! take {
        ($($field:ident)*) => {$( if before.$field != after.$field { changed.$field.clone_from(&after.$field); } )*};
    }
    take!(memory memory_swap memory_reservation memory_swappiness nano_cpus cpu_shares cpu_period cpu_quota cpuset_cpus cpuset_mems
        pids blkio_weight cpu_realtime_period cpu_realtime_runtime oom_kill_disable);
    if changed.memory.is_some() || changed.memory_swap.is_some() {
        (changed.memory, changed.memory_swap) = (after.memory, after.memory_swap);
    }
    changed
}

/// dockerd's sentence around the reason.
fn cannot(container: &Container, error: Error) -> Error {
    let told = |reason: String| format!("Cannot update container {}: {reason}", container.id);
    match error {
        Error::Invalid { reason } => Error::Invalid { reason: told(reason) },
        Error::InvalidWithHint { reason, hint } => Error::InvalidWithHint { reason: told(reason), hint },
        Error::Conflict { reason, hint } => Error::Conflict { reason: told(reason), hint },
        other => Error::Refused { reason: told(other.to_string()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(memory: Option<u64>, swap: Option<i64>) -> Limits {
        Limits { memory, memory_swap: swap, ..Limits::default() }
    }

    #[track_caller]
    fn check(before: &Limits, change: &Limits, expected: std::result::Result<Limits, &str>) {
        let merged = merge(before, change).map_err(|error| error.to_string());
        assert_eq!(merged, expected.map_err(str::to_owned), "{before:?} + {change:?}");
    }

    #[test]
    fn what_is_absent_stays_and_the_sum_with_swap_is_kept() {
        check(&memory(None, None), &memory(Some(64), None), Ok(memory(Some(64), None)));
        check(&memory(Some(64), None), &memory(Some(100), None), Ok(memory(Some(100), Some(128))));
        check(&memory(Some(64), Some(-1)), &memory(Some(1 << 40), None), Ok(memory(Some(1 << 40), Some(-1))));
        check(&memory(Some(64), None), &memory(Some(200), Some(400)), Ok(memory(Some(200), Some(400))));
        let reason = "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time";
        check(&memory(Some(64), None), &memory(Some(200), None), Err(reason));
        let pids = Limits { pids: Some(7), ..Limits::default() };
        check(&memory(Some(64), None), &pids, Ok(Limits { pids: Some(7), ..memory(Some(64), None) }));
    }

    #[test]
    fn processors_are_bounded_in_one_way_only() {
        let nano = Limits { nano_cpus: Some(1), ..Limits::default() };
        let quota = Limits { cpu_quota: Some(5000), ..Limits::default() };
        check(&nano, &quota, Err("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"));
        check(&quota, &nano, Err("Conflicting options: NanoCPUs cannot be updated as CPU Quota has already been set"));
    }

    #[test]
    fn the_kernel_is_told_of_changes_only() {
        let before = Limits { pids: Some(9), ..memory(Some(64), Some(128)) };
        assert!(only_changed(&before, &before).is_empty());
        let after = Limits { memory: Some(100), ..before.clone() };
        assert_eq!(only_changed(&before, &after), memory(Some(100), Some(128)));
    }
}
