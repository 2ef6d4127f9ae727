//! Containers as Docker's API writes them: what create takes, what list and inspect answer.
//!
//! What must stay true: a field is `Option` exactly where Go has a pointer, a slice or a map, and then `None` is written as `null`; it is left out of the
//! answer only where Docker's own type says `omitempty`. Clients read the difference.

mod config;
mod host_config;
mod inspect;
mod network;
mod small;
mod stats;
mod summary;
mod update;

pub use config::{ContainerConfig, Health, HealthLog, HealthcheckConfig, StringOrList};
pub use host_config::{
    BindOptions, DeviceMapping, DeviceRequest, DriverConfig, HostConfig, ImageOptions, LogConfig, Mount, PortBinding, PortMap,
    RestartPolicy, ThrottleDevice, TmpfsOptions, UlimitSpec, VolumeOptions, WeightDevice,
};
pub use inspect::{ContainerInspect, ContainerState, GraphDriver, MountPoint, NetworkSettings};
pub use network::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};
pub use small::{ChangeItem, Committed, ContainersPruned, Created, TopAnswer, UpdateAnswer, WaitAnswer, WaitError};
pub use stats::{BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, ThrottlingData};
pub use summary::{ContainerSummary, PortSummary, SummaryHostConfig, SummaryNetworkSettings};
pub use update::UpdateBody;

use serde_json::Value;

use crate::lenient::{self, JsonError};

/// The body of `POST /containers/create`: a container config with two objects beside its own fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CreateBody {
    pub config: ContainerConfig,
    pub host_config: HostConfig,
    pub networking: NetworkingConfig,
    /// True when the body held nothing that configures a container.
    pub is_empty: bool,
}

impl CreateBody {
    /// Reads a request body.
    ///
    /// # Errors
    /// When `body` is not one JSON object or a field cannot be read.
    pub fn parse(body: &[u8]) -> Result<Self, JsonError> {
        let value: Value = serde_json::from_slice(body).map_err(JsonError::from)?;
        #[derive(Default, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Halves {
            host_config: HostConfig,
            networking_config: NetworkingConfig,
        }
        let halves: Halves = lenient::from_value(value.clone())?;
        let config: ContainerConfig = lenient::from_value(value)?;
        let is_empty = config == ContainerConfig::default();
        Ok(Self { config, host_config: halves.host_config, networking: halves.networking_config, is_empty })
    }
}

#[cfg(test)]
mod tests;
