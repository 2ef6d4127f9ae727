//! Leases: what unfinished work needs, kept in memory only. A lease dies with its last handle, all of them with the process.
//!
//! Adding answers whether the thing was still there, in one step against the collector: after `true` it stays until the lease is dropped.

use std::collections::HashSet;
use std::sync::Arc;

use shipway_model::{Digest, ImageId, LayerId};

use crate::memory::Shared;
use crate::open::Store;

/// What one lease keeps.
#[derive(Debug, Default)]
pub(crate) struct LeaseContents {
    pub(crate) layers: HashSet<LayerId>,
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) images: HashSet<ImageId>,
}

/// Keeps layers, blobs and images from being collected until the last clone of it is dropped.
#[derive(Clone)]
pub struct Lease {
    inner: Arc<Inner>,
}

struct Inner {
    number: u64,
    shared: Arc<Shared>,
}

impl Store {
    /// Takes an empty lease.
    pub fn lease(&self) -> Lease {
        let mut memory = self.shared().write();
        memory.next_lease += 1;
        let number = memory.next_lease;
        memory.leases.insert(number, LeaseContents::default());
        Lease { inner: Arc::new(Inner { number, shared: Arc::clone(self.shared()) }) }
    }
}

impl Lease {
    /// Keeps a layer; false when it is gone (a cache hit is then no hit).
    #[must_use]
    pub fn add_layer(&self, layer: &LayerId) -> bool {
        let mut memory = self.inner.shared.write();
        if !memory.layers.contains_key(layer) || memory.damaged.contains_key(layer) {
            return false;
        }
        memory.leases.entry(self.inner.number).or_default().layers.insert(*layer);
        true
    }

    /// Keeps a blob; false when it is gone.
    #[must_use]
    pub fn add_blob(&self, blob: &Digest) -> bool {
        let mut memory = self.inner.shared.write();
        if !memory.blobs.contains_key(blob) {
            return false;
        }
        memory.leases.entry(self.inner.number).or_default().blobs.insert(*blob);
        true
    }

    /// Keeps an image's layers and blobs, even when the image itself is removed meanwhile; false when it is gone.
    #[must_use]
    pub fn add_image(&self, image: &ImageId) -> bool {
        let mut memory = self.inner.shared.write();
        let Some(found) = memory.images.get(image).cloned() else { return false };
        let lease = memory.leases.entry(self.inner.number).or_default();
        lease.images.insert(*image);
        lease.layers.extend(found.layers.iter().copied());
        lease.blobs.extend(found.blobs.iter().copied());
        lease.blobs.extend(found.manifest.iter().map(|manifest| manifest.digest));
        true
    }

    pub(crate) fn number(&self) -> u64 {
        self.inner.number
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Lease").field("number", &self.inner.number).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.write().leases.remove(&self.number);
    }
}
