//! `volume create`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shipway_model::{Classified, VolumeName};
use shipway_store::Volume;

use super::ANONYMOUS;
use crate::{Engine, Error, Result, blocking, clock};

/// A volume as asked for.
#[derive(Debug, Clone, Default)]
pub struct VolumeSpec {
    /// Its name; a made-up one when empty.
    pub name: String,
    /// Its driver; `local` when empty.
    pub driver: String,
    /// Options for the driver.
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

impl Engine {
    /// Makes a volume, or answers with the one that has the name already.
    ///
    /// # Errors
    /// `Invalid` for a name or an option that cannot be; `NotFound` for an unknown driver; `Conflict` when the volume exists with other options.
    ///
    /// # Durability
    /// When this answers, the volume survives a power cut.
    pub async fn create_volume(&self, spec: VolumeSpec) -> Result<Arc<Volume>> {
        let mut labels = spec.labels;
        let name = if spec.name.is_empty() {
            labels.insert(ANONYMOUS.to_owned(), String::new());
            made_up_name()
        } else {
            parse_name(&spec.name)?
        };
        let _turn = self.inner.volumes.take(&BTreeSet::from([name.clone()])).await;
        let existed = self.inner.store.volumes().get(&name).is_some();
        let store = self.inner.store.clone();
        let (wanted, driver, options) = (name.clone(), spec.driver, spec.options);
        let volume = blocking::files(move || {
            let made = store.volumes().create(&wanted, &driver, options, labels);
            made.map_err(|error| refused(&wanted, error))
        })
        .await?;
        if !existed {
            self.publish_volume(&volume, "create", BTreeMap::new());
        }
        Ok(volume)
    }
}

/// Reads a volume's name, with dockerd's words when it is none.
pub(crate) fn parse_name(text: &str) -> Result<VolumeName> {
    text.parse::<VolumeName>().map_err(|_| {
        if text.len() < 2 {
            let reason = format!("create {text}: volume name is too short, names should be at least two alphanumeric characters");
            return Error::InvalidWithHint { reason, hint: "for a folder of the host write its absolute path".to_owned() };
        }
        Error::invalid(format!(
            "create {text}: \"{text}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        ))
    })
}

/// 64 hexadecimal digits, as dockerd names volumes that nobody named.
pub(crate) fn made_up_name() -> VolumeName {
    let text = shipway_model::ContainerId::from_random(clock::random()).to_string();
    text.parse().expect("hexadecimal digits are a volume name")
}

/// A refusal of the store in dockerd's words.
pub(crate) fn refused(name: &VolumeName, error: shipway_store::Error) -> Error {
    match error {
        shipway_store::Error::NotFound { noun: "volume driver", name: driver } => Error::NotFoundInWords {
            reason: format!("create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found"),
            hint: Some("the one driver is local; its options type, device and o mount anything the kernel can".to_owned()),
        },
        shipway_store::Error::Option { reason } => Error::InvalidWithHint {
            reason: format!("create {name}: {reason}"),
            hint: "the options are type, device and o, as of mount(8)".to_owned(),
        },
        error @ shipway_store::Error::Conflict { .. } => Error::Conflict {
            hint: error
                .hint()
                .or_else(|| Some(format!("look at it: shipway volume inspect {name}; or remove it: shipway volume rm {name}"))),
            reason: format!("create {name}: {error}"),
        },
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_in_dockerds_words() {
        assert!(parse_name("data").is_ok());
        assert_eq!(
            parse_name("a").unwrap_err().to_string(),
            "create a: volume name is too short, names should be at least two alphanumeric characters"
        );
        for bad in ["a/b", "../x", ".hidden", "a b", "-x"] {
            assert!(parse_name(bad).unwrap_err().to_string().contains("includes invalid characters"), "{bad}");
        }
    }

    #[test]
    fn made_up_names_differ() {
        let (one, other) = (made_up_name(), made_up_name());
        assert_eq!(one.as_str().len(), 64);
        assert_ne!(one, other);
    }
}
