//! The stored forms of layers: as which bytes a layer was pulled or pushed, and which registries are known to have them.
//!
//! A layer is unpacked; a registry wants its tar, mostly compressed. Whoever has seen such bytes notes their digest here, so that a layer is recognized
//! before it is fetched again and never compressed twice. Whether the bytes themselves are still here is the blobs' to say: a blob that a form names lives
//! as long as the layer, unless space gets short.
//!
//! # Durability
//! A row is written in the transaction that makes the layer an image's; it goes with the layer's.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shipway_model::{DiffId, Digest, MediaType};
use shipway_state::{Table, WriteTxn};

use crate::Result;
use crate::layers::LAYERS;
use crate::memory::Memory;
use crate::open::Store;

/// The forms of each layer.
pub(crate) const REPRESENTATIONS: Table<DiffId, Vec<Representation>> = Table::new("layer_representations");

/// Forms remembered of one layer: a few compressions of it exist, hardly more.
const FORMS: usize = 8;
/// Places remembered for one form.
const ORIGINS: usize = 16;

/// One form of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Representation {
    /// What a manifest calls it.
    pub media_type: MediaType,
    /// Digest of the stored bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Where they were seen: `host/repository`, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
}

impl Store {
    /// The known forms of a layer, the latest first.
    pub fn representations(&self, diff_id: &DiffId) -> Vec<Representation> {
        self.shared().read().representations.get(diff_id).map(|forms| forms.to_vec()).unwrap_or_default()
    }

    /// The layer whose stored form has this digest, if it is here.
    pub fn layer_by_stored(&self, digest: &Digest) -> Option<DiffId> {
        let memory = self.shared().read();
        let diff_id = memory.by_stored.get(digest)?;
        let layer = memory.by_diff_id.get(diff_id)?;
        (!memory.damaged.contains_key(layer)).then_some(*diff_id)
    }

    /// Notes in `txn` a form of a layer, or further places of a known one. Nothing happens for a layer that is not here.
    pub fn remember_representation(&self, txn: &mut WriteTxn<'_>, diff_id: DiffId, form: Representation) -> Result<()> {
        let layer = self.layer_by_diff_id(&diff_id);
        // The row, not the memory: a note about a layer that a crash takes back would point at nothing.
        if !layer.is_some_and(|layer| txn.contains(&LAYERS, &layer).unwrap_or(false)) {
            return Ok(());
        }
        let former = txn.get(&REPRESENTATIONS, &diff_id)?.unwrap_or_default();
        let forms = merged(former.clone(), form);
        if forms == former {
            return Ok(());
        }
        txn.put(&REPRESENTATIONS, &diff_id, &forms)?;
        let shared = Arc::clone(self.shared());
        txn.on_commit(move || shared.write().set_representations(diff_id, forms));
        Ok(())
    }
}

/// `former` with `form` at its head.
fn merged(mut former: Vec<Representation>, mut form: Representation) -> Vec<Representation> {
    if let Some(at) = former.iter().position(|known| known.digest == form.digest) {
        let known = former.remove(at);
        for origin in known.origins {
            if !form.origins.contains(&origin) {
                form.origins.push(origin);
            }
        }
    }
    form.origins.truncate(ORIGINS);
    former.insert(0, form);
    former.truncate(FORMS);
    former
}

impl Memory {
    pub(crate) fn set_representations(&mut self, diff_id: DiffId, forms: Vec<Representation>) {
        self.forget_representations(&diff_id);
        for form in &forms {
            self.by_stored.insert(form.digest, diff_id);
        }
        self.representations.insert(diff_id, forms.into());
    }

    pub(crate) fn forget_representations(&mut self, diff_id: &DiffId) {
        let Some(forms) = self.representations.remove(diff_id) else { return };
        for form in forms.iter() {
            if self.by_stored.get(&form.digest) == Some(diff_id) {
                self.by_stored.remove(&form.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(bytes: &[u8], origins: &[&str]) -> Representation {
        Representation {
            media_type: MediaType::OciLayerTarGzip,
            digest: Digest::sha256_of(bytes),
            size: bytes.len() as u64,
            origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
        }
    }

    #[test]
    fn places_of_one_form_add_up_and_stay_bounded() {
        let mut forms = merged(Vec::new(), form(b"a", &["r/x"]));
        forms = merged(forms, form(b"b", &["r/y"]));
        forms = merged(forms, form(b"a", &["r/z"]));
        assert_eq!(forms, [form(b"a", &["r/z", "r/x"]), form(b"b", &["r/y"])]);
        for number in 0..100_u32 {
            forms = merged(forms, form(b"a", &[&format!("r/{number}")]));
            forms = merged(forms, form(&number.to_le_bytes(), &[]));
        }
        assert_eq!(forms.len(), FORMS);
        assert!(forms.iter().all(|form| form.origins.len() <= ORIGINS));
    }
}
