//! Options of a container's host that this version has no hands for. They are refused, in dockerd's words where it has some: an option that is
//! accepted and forgotten is worse than none.

use shipway_wire::containers::HostConfig;

use crate::error::ApiError;

/// Refuses what nobody would act on.
pub(super) fn refuse(config: &HostConfig) -> Result<(), ApiError> {
    if config.storage_opt.as_ref().is_some_and(|options| !options.is_empty()) {
        return Err(ApiError::invalid("--storage-opt is supported only for overlay over xfs with 'pquota' mount option"));
    }
    if config.blkio_weight_device.as_ref().is_some_and(|list| !list.is_empty()) {
        return Err(ApiError::not_supported_yet("--blkio-weight-device"));
    }
    if config.cpu_realtime_period != 0 || config.cpu_realtime_runtime != 0 {
        return Err(ApiError::invalid("kernel does not support CPU real-time scheduler"));
    }
    match config.isolation.to_ascii_lowercase().as_str() {
        "" | "default" => Ok(()),
        _ => Err(ApiError::invalid(format!("Invalid isolation: {:?} - linux only supports 'default'", config.isolation))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_would_act_on_is_refused() {
        for (json, words) in [
            (r#"{}"#, None),
            (r#"{"Isolation":"default","DeviceRequests":[],"StorageOpt":{}}"#, None),
            (r#"{"StorageOpt":{"size":"1"}}"#, Some("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")),
            (r#"{"BlkioWeightDevice":[{"Path":"/dev/zero","Weight":10}]}"#, Some("--blkio-weight-device is not supported yet")),
            (r#"{"CpuRealtimeRuntime":5}"#, Some("kernel does not support CPU real-time scheduler")),
            (r#"{"Isolation":"hyperv"}"#, Some("Invalid isolation: \"hyperv\" - linux only supports 'default'")),
        ] {
            let config: HostConfig = serde_json::from_str(json).unwrap();
            assert_eq!(refuse(&config).err().map(|error| error.message).as_deref(), words, "{json}");
        }
    }
}
