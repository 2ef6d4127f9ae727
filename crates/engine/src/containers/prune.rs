//! `container prune`: removes containers that do not run.

use super::RemoveOptions;
use crate::images::parse_until;
use crate::system::Pruned;
use crate::{Engine, Error, Filters, Result};

impl Engine {
    /// Removes stopped containers and tells which, and how many bytes came back.
    pub async fn prune_containers(&self, filters: &Filters) -> Result<Pruned> {
        filters.check_known(&["label", "label!", "until"])?;
        let until = filters.values("until").iter().map(|text| parse_until(text)).collect::<Result<Vec<_>>>()?;
        let mut pruned = Pruned::default();
        for container in self.inner.containers.all() {
            let record = container.record();
            let kept = record.state.is_alive()
                || matches!(record.state, super::ContainerState::Restarting { .. } | super::ContainerState::Removing)
                || !until.iter().all(|limit| record.created < *limit)
                || !filters.match_labels(&record.process.labels);
            if kept {
                continue;
            }
            let bytes = self.writable_size(record.id).await.unwrap_or(0);
            let _turn = container.turn.lock().await;
            match self.remove_in_turn(&container, RemoveOptions::default()).await {
                Ok(()) => {
                    pruned.ids.push(record.id.to_string());
                    pruned.bytes += bytes;
                }
                // It was started meanwhile: it is in use again.
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.inner.events.publish_prune(crate::Subject::Container, pruned.bytes);
        Ok(pruned)
    }
}
