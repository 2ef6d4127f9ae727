//! Images and their names.
//!
//! An image is its config: the id is the digest of the config's exact bytes, which stand in the database beside the record, so that naming an image
//! writes no file. A name is a row of its own pointing at an image; both are kept in memory as well.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shipway_model::{Descriptor, Digest, ImageConfig, ImageId, LayerId, Reference, Timestamp};
use shipway_state::{Codec, Table, WriteTxn};

use crate::clock;
use crate::layers::{LAYERS, LayerOrigin, chain_of};
use crate::memory::{Shared, Tag};
use crate::open::Store;
use crate::referrers::REFERRERS;
use crate::{Error, Result};

pub(crate) const IMAGES: Table<ImageId, ImageRecord> = Table::new("images");
pub(crate) const CONFIGS: Table<ImageId, Vec<u8>> =
    Table::with_codec("image_configs", Codec { encode: |bytes| Ok(bytes.clone()), decode: |bytes| Ok(bytes.to_vec()) });
pub(crate) const TAGS: Table<String, TagRecord> = Table::new("tags");

/// An image of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Digest of the config.
    pub id: ImageId,
    /// The config.
    pub config: ImageConfig,
    /// Length of the config's exact bytes.
    pub config_size: u64,
    /// Its layers, bottom first, one for each diff id of the config.
    pub layers: Vec<LayerId>,
    /// The manifest it was pulled or loaded by, whose bytes are a blob.
    pub manifest: Option<Descriptor>,
    /// Further blobs it needs, such as compressed layers kept for pushing.
    pub blobs: Vec<Digest>,
    /// When it came into this store.
    pub added: Timestamp,
    /// The image it was built from step by step, where known.
    pub parent: Option<ImageId>,
    /// How it came into this store.
    pub origin: LayerOrigin,
    /// Bytes of the files of all its layers, shared ones counted in full.
    pub size: u64,
}

/// An image about to be stored.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// The exact bytes of the config; their digest becomes the id.
    pub config_bytes: Vec<u8>,
    /// Its layers, bottom first.
    pub layers: Vec<LayerId>,
    /// The manifest it came by, if any; its bytes must be a blob already.
    pub manifest: Option<Descriptor>,
    /// Further blobs to keep as long as the image.
    pub blobs: Vec<Digest>,
    /// The image it was built from, where known.
    pub parent: Option<ImageId>,
    /// How it came.
    pub origin: LayerOrigin,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    layers: Vec<LayerId>,
    manifest: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    blobs: Vec<Digest>,
    added: Timestamp,
    parent: Option<ImageId>,
    origin: LayerOrigin,
    size: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TagRecord {
    pub(crate) image: ImageId,
    pub(crate) at: Timestamp,
}

/// The images of a store.
#[derive(Clone, Copy)]
pub struct Images<'a> {
    pub(crate) store: &'a Store,
}

impl Store {
    /// The images of this store.
    pub fn images(&self) -> Images<'_> {
        Images { store: self }
    }
}

impl Image {
    pub(crate) fn from_record(id: ImageId, record: ImageRecord, config_bytes: &[u8]) -> Result<Self> {
        let config =
            ImageConfig::parse(config_bytes).map_err(|error| Error::corrupt(format!("config of image {id}"), error.to_string()))?;
        Ok(Self {
            id,
            config,
            config_size: config_bytes.len() as u64,
            layers: record.layers,
            manifest: record.manifest,
            blobs: record.blobs,
            added: record.added,
            parent: record.parent,
            origin: record.origin,
            size: record.size,
        })
    }
}

impl Images<'_> {
    /// Stores an image in `txn`; visible to others after its commit. One that is here already stays as it was, except that it learns its manifest.
    ///
    /// # Errors
    /// `Invalid` when the config cannot be read or its diff ids are not those of `layers`; `NotFound` when a layer or blob is not published.
    pub fn put(&self, txn: &mut WriteTxn<'_>, new: NewImage) -> Result<ImageId> {
        let config = ImageConfig::parse(&new.config_bytes).map_err(|error| Error::invalid("image config", error))?;
        let id = ImageConfig::id(&new.config_bytes);
        let mut size = 0;
        let mut diff_ids = Vec::with_capacity(new.layers.len());
        for layer in &new.layers {
            // The row, not the memory: what an image names must be durable with it.
            if !txn.contains(&LAYERS, layer)? {
                return Err(Error::not_found("layer", layer));
            }
            let layer = self.store.need_layer(layer)?;
            // Whoever made the layers below it first has chosen what its links hold; nobody else's image gets that.
            if layer.below.is_some_and(|below| below != chain_of(diff_ids.iter().copied())) {
                return Err(Error::OtherBelow { layer: layer.diff_id.to_string() });
            }
            size += layer.content_size;
            diff_ids.push(layer.diff_id);
        }
        if diff_ids != config.rootfs.diff_ids {
            return Err(Error::invalid(format!("image {id}"), "the diff ids of its config are not those of its layers"));
        }
        for blob in new.manifest.iter().map(|manifest| &manifest.digest).chain(&new.blobs) {
            if !self.store.blobs().has(blob) {
                return Err(Error::not_found("blob", blob));
            }
        }
        let mut record = match txn.get(&IMAGES, &id)? {
            Some(former) => former,
            None => ImageRecord {
                layers: new.layers.clone(),
                manifest: None,
                blobs: Vec::new(),
                added: clock::now(),
                parent: new.parent,
                origin: new.origin,
                size,
            },
        };
        // An equal image may name layers that were since found damaged and stored again.
        record.layers = new.layers;
        record.manifest = new.manifest.or(record.manifest);
        record.blobs.extend(new.blobs);
        record.blobs.sort();
        record.blobs.dedup();
        txn.put(&IMAGES, &id, &record)?;
        txn.put(&CONFIGS, &id, &new.config_bytes)?;
        let image = Arc::new(Image::from_record(id, record, &new.config_bytes)?);
        let shared = Arc::clone(self.store.shared());
        txn.on_commit(move || drop(shared.write().images.insert(id, image)));
        Ok(id)
    }

    /// The image with this id.
    pub fn get(&self, id: &ImageId) -> Option<Arc<Image>> {
        self.store.shared().read().images.get(id).cloned()
    }

    /// Every image, newest first.
    pub fn list(&self) -> Vec<Arc<Image>> {
        let mut images: Vec<_> = self.store.shared().read().images.values().cloned().collect();
        images.sort_by(|one, other| other.added.cmp(&one.added).then_with(|| one.id.cmp(&other.id)));
        images
    }

    /// The exact bytes of an image's config, checked against its id.
    pub fn config_bytes(&self, id: &ImageId) -> Result<Vec<u8>> {
        let bytes = self.store.db().read(|txn| txn.get(&CONFIGS, id))?.ok_or_else(|| Error::not_found("image", id))?;
        if ImageConfig::id(&bytes) != *id {
            return Err(Error::corrupt(format!("config of image {id}"), "its bytes have another digest"));
        }
        Ok(bytes)
    }

    /// Points `reference` (with a tag or a digest) at an image in `txn`; the image it pointed at before, if it was another one or the same.
    ///
    /// # Errors
    /// `NotFound` when there is no such image in this transaction; `Invalid` when the reference has neither tag nor digest.
    pub fn tag(&self, txn: &mut WriteTxn<'_>, reference: &Reference, image: ImageId) -> Result<Option<ImageId>> {
        if reference.tag().is_none() && reference.digest().is_none() {
            return Err(Error::invalid(format!("name \"{}\"", reference.familiar()), "it has neither a tag nor a digest"));
        }
        if !txn.contains(&IMAGES, &image)? {
            return Err(Error::not_found("image", image));
        }
        let key = reference.canonical();
        let former = txn.get(&TAGS, &key)?.map(|record| record.image);
        let record = TagRecord { image, at: clock::now() };
        txn.put(&TAGS, &key, &record)?;
        let (shared, reference) = (Arc::clone(self.store.shared()), reference.clone());
        txn.on_commit(move || shared.write().add_tag(key, Tag { reference, image, at: record.at }));
        Ok(former)
    }

    /// Takes a name away in `txn`; false when there is none. The image stays.
    pub fn untag(&self, txn: &mut WriteTxn<'_>, reference: &Reference) -> Result<bool> {
        let key = reference.canonical();
        let found = txn.remove(&TAGS, &key)?;
        forget_tag(self.store.shared(), txn, key);
        Ok(found)
    }

    /// Removes an image and all its names in `txn`; false when there is none. Its layers go with the next collect when nothing else needs them.
    pub fn remove(&self, txn: &mut WriteTxn<'_>, id: &ImageId) -> Result<bool> {
        let found = txn.remove(&IMAGES, id)?;
        txn.remove(&CONFIGS, id)?;
        txn.remove(&REFERRERS, id)?;
        // From the rows, not from memory: a name given earlier in this transaction must go too.
        for (key, record) in txn.scan(&TAGS)? {
            if record.image == *id {
                txn.remove(&TAGS, &key)?;
                forget_tag(self.store.shared(), txn, key);
            }
        }
        let (shared, id) = (Arc::clone(self.store.shared()), *id);
        txn.on_commit(move || drop(shared.write().images.remove(&id)));
        Ok(found)
    }

    /// Names with a tag, in order of their full text.
    pub fn names(&self, id: &ImageId) -> Vec<Reference> {
        self.references(id, |reference| reference.digest().is_none())
    }

    /// Names with a digest.
    pub fn digests(&self, id: &ImageId) -> Vec<Reference> {
        self.references(id, |reference| reference.digest().is_some())
    }

    /// Every name and what it points at, in order of the full text.
    pub fn all_tags(&self) -> Vec<(Reference, ImageId)> {
        self.store.shared().read().tags.values().map(|tag| (tag.reference.clone(), tag.image)).collect()
    }

    /// The image a full reference points at, without any guessing.
    pub fn tagged(&self, reference: &Reference) -> Option<ImageId> {
        self.store.shared().read().tags.get(&reference.canonical()).map(|tag| tag.image)
    }

    /// When a name was last pointed at this image.
    pub fn last_tagged(&self, id: &ImageId) -> Option<Timestamp> {
        let memory = self.store.shared().read();
        let names = memory.names.get(id)?;
        names.iter().filter_map(|name| memory.tags.get(name)).map(|tag| tag.at).max()
    }

    /// Images whose parent is this one.
    pub fn children(&self, id: &ImageId) -> Vec<ImageId> {
        self.store.shared().read().images.values().filter(|image| image.parent == Some(*id)).map(|image| image.id).collect()
    }

    fn references(&self, id: &ImageId, wanted: impl Fn(&Reference) -> bool) -> Vec<Reference> {
        let memory = self.store.shared().read();
        let Some(names) = memory.names.get(id) else { return Vec::new() };
        names.iter().filter_map(|name| memory.tags.get(name)).map(|tag| tag.reference.clone()).filter(wanted).collect()
    }
}

impl std::fmt::Debug for Images<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Images")
    }
}

fn forget_tag(shared: &Arc<Shared>, txn: &mut WriteTxn<'_>, key: String) {
    let shared = Arc::clone(shared);
    txn.on_commit(move || shared.write().remove_tag(&key));
}
