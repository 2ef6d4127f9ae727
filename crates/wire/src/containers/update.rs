//! The body of `POST /containers/{id}/update`: the resources of a host config, and a restart policy.

use serde::{Deserialize, Serialize};

use super::host_config::{HostConfig, RestartPolicy};

/// What to change; zero, empty and absent mean "as it is".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateBody {
    pub blkio_weight: u16,
    pub cpu_period: i64,
    pub cpu_quota: i64,
    pub cpu_realtime_period: i64,
    pub cpu_realtime_runtime: i64,
    pub cpu_shares: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub memory: i64,
    pub memory_reservation: i64,
    pub memory_swap: i64,
    pub memory_swappiness: Option<i64>,
    pub nano_cpus: i64,
    pub pids_limit: Option<i64>,
    pub restart_policy: RestartPolicy,
}

impl UpdateBody {
    /// The same values where creation has them.
    pub fn as_host_config(&self) -> HostConfig {
        HostConfig {
            blkio_weight: self.blkio_weight,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_realtime_period: self.cpu_realtime_period,
            cpu_realtime_runtime: self.cpu_realtime_runtime,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            memory: self.memory,
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap,
            memory_swappiness: self.memory_swappiness,
            nano_cpus: self.nano_cpus,
            pids_limit: self.pids_limit,
            restart_policy: self.restart_policy.clone(),
            ..HostConfig::default()
        }
    }
}
