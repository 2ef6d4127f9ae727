//! `volume prune`: removes volumes that no container uses.

use std::collections::BTreeSet;

use super::ANONYMOUS;
use crate::system::Pruned;
use crate::{Engine, Error, Filters, Result};

impl Engine {
    /// Removes unused volumes, the anonymous ones or (filter `all=true`) every one, and tells which and how many bytes came back.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub async fn prune_volumes(&self, filters: &Filters) -> Result<Pruned> {
        filters.check_known(&["label", "label!", "all"])?;
        let all = filters.flag("all")?.unwrap_or(false);
        let users = self.volume_users();
        let mut pruned = Pruned::default();
        for volume in self.inner.store.volumes().list() {
            let kept = users.contains_key(&volume.name)
                || !(all || volume.labels.contains_key(ANONYMOUS))
                || !filters.match_labels(&volume.labels);
            if kept {
                continue;
            }
            let _turn = self.inner.volumes.take(&BTreeSet::from([volume.name.clone()])).await;
            let bytes = self.volume_size(&volume).await;
            match self.remove_volume_in_turn(&volume.name).await {
                Ok(true) => {
                    pruned.ids.push(volume.name.to_string());
                    pruned.bytes += bytes;
                }
                // Somebody else removed it, or a container began to use it.
                Ok(false) | Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.inner.events.publish_prune(crate::Subject::Volume, pruned.bytes);
        Ok(pruned)
    }
}
