//! `volume rm`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shipway_model::VolumeName;

use crate::{Engine, Error, Result, blocking};

impl Engine {
    /// Removes a volume and everything in it. With `force`, one that is not there is no error.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with the containers that use it, also with `force`.
    ///
    /// # Durability
    /// The record is gone when this answers; the bytes go in the background.
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        let parsed = name.parse::<VolumeName>().ok();
        let Some(known) = parsed.filter(|name| self.inner.store.volumes().get(name).is_some()) else {
            return if force { Ok(()) } else { Err(self.no_such_volume(name)) };
        };
        let _turn = self.inner.volumes.take(&BTreeSet::from([known.clone()])).await;
        if self.remove_volume_in_turn(&known).await? || force { Ok(()) } else { Err(self.no_such_volume(name)) }
    }

    /// Removes a volume whose turn the caller holds; false when there is none.
    pub(crate) async fn remove_volume_in_turn(&self, name: &VolumeName) -> Result<bool> {
        let users = self.users_of_volume(name);
        if !users.is_empty() {
            let ids: Vec<String> = users.iter().map(|user| user.id.to_string()).collect();
            let names: Vec<String> = users.iter().map(|user| user.name().to_string()).collect();
            return Err(Error::Conflict {
                reason: format!("remove {name}: volume is in use - [{}]", ids.join(", ")),
                hint: Some(format!("remove the containers first: shipway rm -f {}", names.join(" "))),
            });
        }
        let Some(volume) = self.inner.store.volumes().get(name) else { return Ok(false) };
        let (store, gone) = (self.inner.store.clone(), name.clone());
        let removed = blocking::files(move || {
            store.volumes().unmount(&gone)?;
            Ok(store.volumes().remove(&gone)?)
        })
        .await?;
        if removed {
            self.publish_volume(&volume, "destroy", BTreeMap::new());
        }
        Ok(removed)
    }

    /// Removes the anonymous volumes of a container that is gone, those that nobody else uses. A failure is logged: the container is gone all the same.
    pub(crate) async fn remove_anonymous(&self, names: Vec<VolumeName>) {
        for name in names {
            let _turn = self.inner.volumes.take(&BTreeSet::from([name.clone()])).await;
            match self.remove_volume_in_turn(&name).await {
                Ok(_) | Err(Error::Conflict { .. }) => {}
                Err(error) => tracing::warn!(volume = %name, %error, "cannot remove an anonymous volume; volume prune will"),
            }
        }
    }

    /// Bytes of a volume; 0 where they cannot be told.
    pub(super) async fn volume_size(&self, volume: &Arc<shipway_store::Volume>) -> u64 {
        let (store, name) = (self.inner.store.clone(), volume.name.clone());
        blocking::files(move || Ok(store.volumes().usage(&name)?.0)).await.unwrap_or(0)
    }
}
