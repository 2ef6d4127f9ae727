//! Options of a container's host that this version has no hands for. They are refused, in dockerd's words where it has some: an option that is
//! accepted and forgotten is worse than none.

use shipway_wire::containers::HostConfig;

use crate::error::ApiError;

/// Refuses what nobody would act on.
pub(super) fn refuse(config: &HostConfig) -> Result<(), ApiError> {
    if config.storage_opt.as_ref().is_some_and(|options| !options.is_empty()) {
        return Err(ApiError::invalid("--storage-opt is supported only for overlay over xfs with 'pquota' mount option"));
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
            (r#"{"Isolation":"hyperv"}"#, Some("Invalid isolation: \"hyperv\" - linux only supports 'default'")),
        ] {
            let config: HostConfig = serde_json::from_str(json).unwrap();
            assert_eq!(refuse(&config).err().map(|error| error.message).as_deref(), words, "{json}");
        }
    }
}
