//! `volume import` and `clone`: bytes into a volume, and once more (W-18). Additions of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shipway_store::Volume;

use super::{parse_name, refused};
use crate::blocking::{self, ChannelReader};
use crate::{Engine, Error, Result};

impl Engine {
    /// Puts the files of an archive into a volume, which is made when it does not exist and must be empty when it does.
    ///
    /// # Errors
    /// `Conflict` when something is in it; what is wrong with the archive. Then nothing is in the volume.
    ///
    /// # Durability
    /// When this answers, all of it survives a power cut; before that, none of it is there.
    pub async fn import_volume(&self, name: &str, reader: ChannelReader) -> Result<Arc<Volume>> {
        let name = parse_name(name)?;
        let _turn = self.inner.volumes.take(&BTreeSet::from([name.clone()])).await;
        let (store, wanted) = (self.inner.store.clone(), name.clone());
        let existed = store.volumes().get(&name).is_some();
        let volume = blocking::files(move || store.volumes().import(&wanted, reader).map_err(|error| occupied(&wanted, error))).await?;
        self.tell_filled(&volume, existed, "import");
        Ok(volume)
    }

    /// Copies a volume under a new name, sharing blocks where the filesystem can. A program that writes meanwhile is not waited for: stop it first.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the new name is taken by a volume with something in it.
    pub async fn clone_volume(&self, name: &str, new: &str) -> Result<Arc<Volume>> {
        let source = self.inspect_volume(name)?;
        let new = parse_name(new)?;
        if source.name == new {
            return Err(Error::Conflict {
                reason: format!("volume {new} cannot be cloned to itself"),
                hint: Some("give the copy another name".to_owned()),
            });
        }
        let _turn = self.inner.volumes.take(&BTreeSet::from([source.name.clone(), new.clone()])).await;
        let (store, wanted) = (self.inner.store.clone(), new.clone());
        let existed = store.volumes().get(&new).is_some();
        let volume =
            blocking::files(move || store.volumes().clone_to(&source.name, &wanted).map_err(|error| occupied(&wanted, error))).await?;
        self.tell_filled(&volume, existed, "clone");
        Ok(volume)
    }

    fn tell_filled(&self, volume: &Volume, existed: bool, action: &str) {
        if !existed {
            self.publish_volume(volume, "create", BTreeMap::new());
        }
        self.publish_volume(volume, action, BTreeMap::new());
    }
}

fn occupied(name: &shipway_model::VolumeName, error: shipway_store::Error) -> Error {
    match error {
        error @ shipway_store::Error::Conflict { .. } => Error::Conflict {
            reason: error.to_string(),
            hint: Some(format!("name another volume, or remove this one first: shipway volume rm {name}")),
        },
        other => refused(name, other),
    }
}
