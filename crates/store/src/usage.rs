//! How much is used, and by what: sums that add up, each layer counted once.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use shipway_model::{ImageId, LayerId, VolumeName};

use crate::Result;
use crate::error::Doing as _;
use crate::open::Store;

/// What the store uses. Layers count by the bytes of their files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Images and their layers.
    pub images: ImagesUsage,
    /// Writable layers of containers.
    pub active: Vec<ActiveUsage>,
    /// Volumes.
    pub volumes: Vec<VolumeUsage>,
    /// Cache records and the layers only they keep.
    pub cache: CacheUsage,
    /// Every layer of the store, each once.
    pub layers_total: u64,
    /// Every blob of the store.
    pub blobs_total: u64,
}

/// Images in sum and one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImagesUsage {
    /// Number of images.
    pub total: usize,
    /// Images some hold refers to.
    pub active: usize,
    /// Bytes of all their layers, each once.
    pub size: u64,
    /// Bytes that removing the inactive ones would free, as far as images go.
    pub reclaimable: u64,
    /// For each image the bytes of layers no other image has, and those it shares.
    pub each: Vec<(ImageId, u64, u64)>,
}

/// The writable layer of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveUsage {
    /// Its id.
    pub id: String,
    /// Bytes on disk.
    pub size: u64,
    /// Inodes.
    pub inodes: u64,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Its name.
    pub name: VolumeName,
    /// Bytes on disk.
    pub size: u64,
    /// Inodes.
    pub inodes: u64,
}

/// The build cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheUsage {
    /// Number of records.
    pub records: usize,
    /// Bytes of the layers they lead to, each once.
    pub size: u64,
    /// Bytes of those no image and no container has: what a prune frees.
    pub reclaimable: u64,
}

impl Store {
    /// Adds everything up. Layers, images and cache come from memory; containers and volumes are walked.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = self.usage_of_layers();
        for kept in self.list_active() {
            let (size, inodes) = folder_size(&self.shared().layout.active(&kept.id).join("upper"))?;
            usage.active.push(ActiveUsage { id: kept.id, size, inodes });
        }
        for volume in self.volumes().list() {
            let (size, inodes) = self.volumes().usage(&volume.name)?;
            usage.volumes.push(VolumeUsage { name: volume.name.clone(), size, inodes });
        }
        Ok(usage)
    }

    fn usage_of_layers(&self) -> Usage {
        let memory = self.shared().read();
        let size_of = |layer: &LayerId| memory.layers.get(layer).map_or(0, |layer| layer.content_size);
        let mut users: HashMap<LayerId, usize> = HashMap::new();
        for image in memory.images.values() {
            for layer in image.layers.iter().collect::<HashSet<_>>() {
                *users.entry(*layer).or_default() += 1;
            }
        }
        let held: HashSet<ImageId> = memory.holds.values().filter_map(|hold| hold.image).collect();
        let held_layers: HashSet<LayerId> = memory.holds.values().flat_map(|hold| hold.layers.iter().copied()).collect();
        let mut images = ImagesUsage { total: memory.images.len(), ..ImagesUsage::default() };
        images.size = users.keys().map(size_of).sum();
        let mut active_layers = held_layers.clone();
        for image in memory.images.values() {
            if held.contains(&image.id) {
                images.active += 1;
                active_layers.extend(&image.layers);
            }
            let own: HashSet<&LayerId> = image.layers.iter().collect();
            let (mut unique, mut shared) = (0, 0);
            for layer in own {
                *if users.get(layer) == Some(&1) { &mut unique } else { &mut shared } += size_of(layer);
            }
            images.each.push((image.id, unique, shared));
        }
        images.each.sort();
        images.reclaimable = users.keys().filter(|layer| !active_layers.contains(layer)).map(size_of).sum();
        let results: HashSet<LayerId> = memory.cache.results().collect();
        let cache = CacheUsage {
            records: memory.cache.len(),
            size: results.iter().map(size_of).sum(),
            reclaimable: results.iter().filter(|layer| !users.contains_key(layer) && !held_layers.contains(layer)).map(size_of).sum(),
        };
        Usage {
            images,
            cache,
            layers_total: memory.layers.values().map(|layer| layer.content_size).sum(),
            blobs_total: memory.blobs.values().sum(),
            ..Usage::default()
        }
    }
}

/// Bytes on disk (blocks, hard links once) and inodes below `folder`. What disappears while it is walked is not counted.
pub(crate) fn folder_size(folder: &Path) -> Result<(u64, u64)> {
    let mut waiting = vec![folder.to_owned()];
    let mut linked = HashSet::new();
    let (mut bytes, mut inodes) = (0, 0);
    while let Some(folder) = waiting.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.doing(|| format!("read folder {folder:?}"))?,
        };
        for entry in entries {
            let entry = entry.doing(|| format!("read folder {folder:?}"))?;
            // The entry's own metadata: symlinks are not followed, and the path is one we walked ourselves from the store's folder.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.nlink() > 1 && !metadata.is_dir() && !linked.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            inodes += 1;
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok((bytes, inodes))
}
