//! Writing images to a stream. The same images give the same bytes.
//!
//! An archive since a base leaves out the layers that the base has. Every document of it is the same as in a whole one, so that it stays an archive of
//! Docker's form; `index.json` says whose layers are missing. `load` takes them from the store, and so does Docker's where it has the base.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde_json::json;
use shipway_archive::diff::{ScanOptions, write_layer_tar};
use shipway_archive::tar::{Entry, EntryKind, TarWriter};
use shipway_model::{DiffId, Digest, ImageId, LayerId, Reference, Sha256Hasher};

use super::{BASE_ID, BASE_NAME, recipe};
use crate::images::Image;
use crate::layers::{Layer, TarSource};
use crate::open::Store;
use crate::{Error, Result};

/// An image to save and the names to save it under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveItem {
    /// The image.
    pub id: ImageId,
    /// Its names in the archive; none for an image saved by its id.
    pub references: Vec<Reference>,
}

/// The image whose layers an archive may leave out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveBase {
    /// The image.
    pub id: ImageId,
    /// What the reader of the archive is told to bring, should it not have it.
    pub name: String,
}

/// A small file of the archive.
struct SmallBlob {
    digest: Digest,
    bytes: Vec<u8>,
}

impl Store {
    /// Writes images as one archive, without the layers that `base` has.
    ///
    /// # Errors
    /// `NotFound` before the first byte when an image or the base is not here. `Corrupt` in the middle of the stream when a layer no longer gives the bytes its
    /// digest promises; what was written so far must then be thrown away.
    ///
    /// # Cost
    /// Each layer once, read and hashed; memory does not depend on their size.
    pub fn save(&self, items: &[SaveItem], base: Option<&SaveBase>, out: &mut dyn Write) -> Result<()> {
        let lease = self.lease();
        let left_out = match base {
            Some(base) => self.images().get(&base.id).ok_or_else(|| Error::not_found("image", base.id))?.config.rootfs.diff_ids.clone(),
            None => Vec::new(),
        };
        let mut images = Vec::new();
        for item in items {
            let image =
                self.images().get(&item.id).filter(|_| lease.add_image(&item.id)).ok_or_else(|| Error::not_found("image", item.id))?;
            images.push((item, image));
        }
        let mut layers: BTreeMap<DiffId, LayerId> = BTreeMap::new();
        let mut small: BTreeMap<String, SmallBlob> = BTreeMap::new();
        let (mut index, mut manifest, mut repositories) = (Vec::new(), Vec::new(), BTreeMap::<String, BTreeMap<String, String>>::new());
        for (item, image) in &images {
            let described = self.describe(item, image, &mut layers)?;
            index.extend(described.index);
            manifest.push(described.docker);
            for (repository, tag, top) in described.repositories {
                repositories.entry(repository).or_default().insert(tag, top);
            }
            for blob in described.blobs {
                small.insert(blob.digest.hex(), blob);
            }
        }
        layers.retain(|diff_id, _| !left_out.contains(diff_id));
        let mut tar = TarWriter::new(out);
        for folder in ["blobs/", "blobs/sha256/"] {
            tar.append(&Entry::new(folder, EntryKind::Directory), &[])?;
        }
        // One order for everything, so that the archive does not depend on the order of the names given.
        let names: BTreeSet<String> = small.keys().cloned().chain(layers.keys().map(|diff_id| diff_id.0.hex())).collect();
        let by_name: BTreeMap<String, LayerId> = layers.iter().map(|(diff_id, layer)| (diff_id.0.hex(), *layer)).collect();
        for name in names {
            match (by_name.get(&name), small.get(&name)) {
                (Some(layer), _) => self.append_layer(&mut tar, &name, layer)?,
                (None, Some(blob)) => append_file(&mut tar, &format!("blobs/sha256/{name}"), &blob.bytes)?,
                (None, None) => {}
            }
        }
        let mut top = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": index});
        if let Some(base) = base {
            top["annotations"] = json!({BASE_NAME: base.name, BASE_ID: base.id.to_string()});
        }
        append_file(&mut tar, "index.json", &to_json(&top)?)?;
        append_file(&mut tar, "manifest.json", &to_json(&json!(manifest))?)?;
        append_file(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        if !repositories.is_empty() {
            append_file(&mut tar, "repositories", &to_json(&json!(repositories))?)?;
        }
        tar.finish()?;
        Ok(())
    }

    /// Writes the exact uncompressed tar of a layer and checks it while it passes.
    ///
    /// # Errors
    /// `Corrupt` after the last byte when the digest is not the layer's; `Unsupported` when the tar cannot be made again (see [`TarSource::Lost`]).
    pub fn write_layer(&self, id: &LayerId, out: &mut dyn Write) -> Result<()> {
        let layer = self.need_layer(id)?;
        let roots = self.roots_of(id)?;
        let mut hashing = Hashing { out, hasher: Sha256Hasher::new() };
        match layer.tar {
            TarSource::Written => {
                let index = self.layer_index(id)?;
                write_layer_tar(&roots, &index, &ScanOptions { newest: layer.newest }, &mut hashing)?;
            }
            TarSource::Recipe => {
                recipe::replay(&self.shared().layout.recipe(id), layer.tar_size, &roots[0], &mut hashing)?;
            }
            TarSource::Lost => {
                return Err(Error::Unsupported {
                    what: format!("writing layer {} again, whose archive cannot be told from its files,", layer.diff_id),
                });
            }
        }
        let found = DiffId(hashing.hasher.finish());
        if found != layer.diff_id {
            return Err(Error::corrupt(format!("layer {}", layer.diff_id), format!("its files now give the digest {found}")));
        }
        Ok(())
    }

    fn append_layer(&self, tar: &mut TarWriter<&mut dyn Write>, name: &str, id: &LayerId) -> Result<()> {
        let layer = self.need_layer(id)?;
        let mut entry = Entry::new(format!("blobs/sha256/{name}"), EntryKind::Regular);
        entry.size = layer.tar_size;
        tar.start(&entry)?;
        self.write_layer(id, tar)
    }

    fn describe(&self, item: &SaveItem, image: &Image, layers: &mut BTreeMap<DiffId, LayerId>) -> Result<Described> {
        let config = self.images().config_bytes(&image.id)?;
        let mut stack: Vec<std::sync::Arc<Layer>> = Vec::new();
        for id in &image.layers {
            let layer = self.need_layer(id)?;
            layers.insert(layer.diff_id, *id);
            stack.push(layer);
        }
        let described: Vec<_> = stack
            .iter()
            .map(|layer| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.diff_id.to_string(), "size": layer.tar_size}))
            .collect();
        let manifest = to_json(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": image.id.to_string(), "size": config.len()},
            "layers": described,
        }))?;
        let manifest_digest = Digest::sha256_of(&manifest);
        let pointer = |reference: Option<&Reference>| {
            let mut pointer = json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest_digest.to_string(), "size": manifest.len(),
                "platform": {"architecture": image.config.architecture, "os": image.config.os},
            });
            if let Some(reference) = reference {
                pointer["annotations"] = json!({"io.containerd.image.name": reference.canonical(), "org.opencontainers.image.ref.name": reference.tag().unwrap_or("latest")});
            }
            pointer
        };
        let index =
            if item.references.is_empty() { vec![pointer(None)] } else { item.references.iter().map(|name| pointer(Some(name))).collect() };
        let paths: Vec<String> = stack.iter().map(|layer| format!("blobs/sha256/{}", layer.diff_id.0.hex())).collect();
        let docker = json!({
            "Config": format!("blobs/sha256/{}", image.id.0.hex()),
            "RepoTags": item.references.iter().map(Reference::familiar).collect::<Vec<_>>(),
            "Layers": paths,
        });
        let top = stack.last().map(|layer| layer.diff_id.0.hex()).unwrap_or_default();
        let repositories = item
            .references
            .iter()
            .filter_map(|reference| Some((reference.familiar_repository(), reference.tag()?.to_owned(), top.clone())))
            .collect();
        let blobs = vec![SmallBlob { digest: image.id.0, bytes: config }, SmallBlob { digest: manifest_digest, bytes: manifest }];
        Ok(Described { index, docker, repositories, blobs })
    }
}

/// What one image adds to the archive.
struct Described {
    index: Vec<serde_json::Value>,
    docker: serde_json::Value,
    /// Repository, tag, and hex of the uppermost layer.
    repositories: Vec<(String, String, String)>,
    blobs: Vec<SmallBlob>,
}

struct Hashing<'a> {
    out: &'a mut dyn Write,
    hasher: Sha256Hasher,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn append_file(tar: &mut TarWriter<&mut dyn Write>, name: &str, bytes: &[u8]) -> Result<()> {
    Ok(tar.append(&Entry::new(name, EntryKind::Regular), bytes)?)
}

fn to_json(value: &serde_json::Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::invalid("archive document", error))
}
