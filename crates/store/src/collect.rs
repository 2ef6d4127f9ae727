//! Freeing what nothing needs any more: mark from every reason to live, sweep the rest, rows first.
//!
//! The whole decision is made inside a transaction that runs alone on the writer thread: every row committed before it is in memory, and every
//! reference made after it (a hold, an image, a lease) finds the thing already gone and fails instead of pointing at nothing. After the commit the
//! folders are renamed to the trash; a crash before that leaves folders without rows, which the next start moves there.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use shipway_model::{Digest, LayerId};
use shipway_sys::durable::fault;

use crate::Result;
use crate::blobs::BLOBS;
use crate::layers::{LAYERS, Layer};
use crate::memory::{Memory, Shared};
use crate::open::Store;
use crate::representations::REPRESENTATIONS;

/// What a collection freed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Layers deleted.
    pub layers: Vec<LayerId>,
    /// Blobs deleted.
    pub blobs: Vec<Digest>,
    /// Bytes of their files, without those that somebody else has a name for: the registry beside the engine links blobs.
    pub bytes: u64,
}

struct Victims {
    layers: Vec<Arc<Layer>>,
    blobs: Vec<(Digest, u64)>,
}

impl Store {
    /// Deletes every layer and blob that no image, hold, cache record, lease, snapshot or unpublished work reaches. Safe while builds run.
    ///
    /// # Durability
    /// The rows are gone for good when it returns; the bytes are freed in the background.
    ///
    /// # Cost
    /// A walk over what is in memory; no write at all when there is nothing to free.
    pub fn collect(&self) -> Result<Collected> {
        if !self.shared().read().has_garbage() {
            return Ok(Collected::default());
        }
        let _moving = self.shared().moving();
        let shared = Arc::clone(self.shared());
        let decided = Arc::new(std::sync::Mutex::new(None));
        let decision = Arc::clone(&decided);
        let committed = self.db().write_alone(move |txn| -> Result<()> {
            let victims = take_victims(&mut shared.write());
            let rows = victims.layers.iter().map(|layer| layer.id).collect::<Vec<_>>();
            let diff_ids = victims.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>();
            let blobs = victims.blobs.iter().map(|(digest, _)| *digest).collect::<Vec<_>>();
            *decision.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(victims);
            for id in &rows {
                txn.remove(&LAYERS, id)?;
            }
            for digest in &blobs {
                txn.remove(&BLOBS, digest)?;
            }
            for diff_id in &diff_ids {
                txn.remove(&REPRESENTATIONS, diff_id)?;
            }
            let memory = Arc::clone(&shared);
            txn.on_commit(move || {
                let mut memory = memory.write();
                diff_ids.iter().for_each(|diff_id| memory.forget_representations(diff_id));
            });
            Ok(())
        });
        let victims = decided.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(victims) = victims else { return committed.map(|()| Collected::default()) };
        if let Err(error) = committed {
            put_back(&mut self.shared().write(), victims);
            return Err(error);
        }
        fault::point("store.collect.committed");
        Ok(self.sweep(victims))
    }

    /// Moves the bytes of what was decided on to the trash.
    fn sweep(&self, victims: Victims) -> Collected {
        let shared = self.shared();
        let mut collected = Collected::default();
        for layer in victims.layers {
            self.shared().indexes.forget(&layer.id);
            shared.trash.take_or_log(&shared.layout.layer(&layer.id));
            fault::point("store.collect.layer");
            collected.bytes += layer.content_size;
            collected.layers.push(layer.id);
        }
        for (digest, size) in victims.blobs {
            collected.bytes += if self.sweep_blob(shared, &digest) { size } else { 0 };
            collected.blobs.push(digest);
        }
        collected
    }

    /// True when its bytes go with it.
    fn sweep_blob(&self, shared: &Shared, digest: &Digest) -> bool {
        let path = shared.layout.blob(digest);
        // The same bytes may have been ingested again since the decision; their file has the same name and must stay.
        let memory = shared.write();
        if memory.blobs.contains_key(digest) {
            return false;
        }
        let has_other_names = std::fs::symlink_metadata(&path).is_ok_and(|found| found.nlink() > 1);
        shared.trash.take_or_log(&path);
        !has_other_names
    }

    /// Returns when everything deleted so far is off the disk; for tests and for `df` right after a prune.
    pub fn wait_for_trash(&self) {
        self.shared().trash.wait();
    }
}

impl Memory {
    fn has_garbage(&self) -> bool {
        let layers = self.reachable_layers();
        let blobs = self.reachable_blobs(&layers);
        self.layers.keys().any(|id| !layers.contains(id)) || self.blobs.keys().any(|digest| !blobs.contains(digest))
    }

    /// Layers that images or containers use.
    pub(crate) fn layers_of_images_and_holds(&self) -> HashSet<LayerId> {
        let mut used: HashSet<LayerId> = self.images.values().flat_map(|image| image.layers.iter().copied()).collect();
        used.extend(self.holds.values().flat_map(|hold| hold.layers.iter().copied()));
        used
    }
}

fn take_victims(memory: &mut Memory) -> Victims {
    let layers = memory.reachable_layers();
    let blobs = memory.reachable_blobs(&layers);
    let dead_layers: Vec<LayerId> = memory.layers.keys().filter(|id| !layers.contains(id)).copied().collect();
    let dead_blobs: Vec<Digest> = memory.blobs.keys().filter(|digest| !blobs.contains(digest)).copied().collect();
    Victims {
        layers: dead_layers.iter().filter_map(|id| memory.remove_layer(id)).collect(),
        blobs: dead_blobs.iter().filter_map(|digest| memory.blobs.remove_entry(digest)).collect(),
    }
}

fn put_back(memory: &mut Memory, victims: Victims) {
    for layer in victims.layers {
        // A layer committed meanwhile with the same diff id keeps the name; this one stays as garbage for the next round.
        if memory.by_diff_id.contains_key(&layer.diff_id) {
            memory.layers.insert(layer.id, layer);
        } else {
            memory.add_layer(layer);
        }
    }
    for (digest, size) in victims.blobs {
        memory.blobs.entry(digest).or_insert(size);
    }
}
