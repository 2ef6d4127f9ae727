//! Holds: durable reasons to keep layers, each in the name of an owner (`container:<id>`), written and removed in the owner's own transaction.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shipway_model::{ImageId, LayerId};
use shipway_state::{Table, WriteTxn};

use crate::layers::LAYERS;
use crate::open::Store;
use crate::{Error, Result};

pub(crate) const HOLDS: Table<String, Hold> = Table::new("holds");

/// What one owner keeps alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The layers, bottom first.
    pub layers: Vec<LayerId>,
    /// The image they came from. The hold keeps its layers, not its record.
    pub image: Option<ImageId>,
}

impl Store {
    /// Keeps `layers` in the name of `owner`, replacing what that owner held before.
    ///
    /// # Errors
    /// `NotFound` when a layer is not published or already collected; then nothing may rely on it.
    pub fn hold(&self, txn: &mut WriteTxn<'_>, owner: &str, layers: &[LayerId], image: Option<ImageId>) -> Result<()> {
        for layer in layers {
            if !txn.contains(&LAYERS, layer)? {
                return Err(Error::not_found("layer", layer));
            }
        }
        let hold = Hold { layers: layers.to_vec(), image };
        txn.put(&HOLDS, &owner.to_owned(), &hold)?;
        let (shared, owner) = (Arc::clone(self.shared()), owner.to_owned());
        txn.on_commit(move || drop(shared.write().holds.insert(owner, hold)));
        Ok(())
    }

    /// Lets go of what `owner` held; false when it held nothing. The bytes go with the next [`Store::collect`].
    pub fn release(&self, txn: &mut WriteTxn<'_>, owner: &str) -> Result<bool> {
        let found = txn.remove(&HOLDS, &owner.to_owned())?;
        let (shared, owner) = (Arc::clone(self.shared()), owner.to_owned());
        txn.on_commit(move || drop(shared.write().holds.remove(&owner)));
        Ok(found)
    }

    /// Every hold with its owner, in no order.
    pub fn holds(&self) -> Vec<(String, Hold)> {
        self.shared().read().holds.iter().map(|(owner, hold)| (owner.clone(), hold.clone())).collect()
    }
}
