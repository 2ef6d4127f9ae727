//! `system df`: where the bytes are. Logical sizes per image, physical sizes in total.

use std::collections::HashMap;
use std::path::Path;

use shipway_model::LayerId;

use shipway_registry::server::{EngineFolder, FolderUsage};

use crate::builds::ContextIndexUsage;
use crate::containers::{ContainerFilter, ContainerView};
use crate::images::{ImageListOptions, ImageView};
use crate::{Engine, Filters, Result, blocking};

/// One image's share of the disk.
#[derive(Debug, Clone)]
pub struct ImageUsage {
    pub view: ImageView,
    /// Bytes that other images use too.
    pub shared: u64,
    /// Bytes that go when this image goes.
    pub unique: u64,
}

/// One build cache record's share of the disk.
#[derive(Debug, Clone)]
pub struct CacheUsage {
    pub record: shipway_store::CacheRecord,
    /// An image shares its bytes.
    pub shared: bool,
}

/// One volume's share of the disk.
#[derive(Debug, Clone)]
pub struct VolumeUsage {
    pub volume: std::sync::Arc<shipway_store::Volume>,
    pub size: u64,
    /// How many containers use it.
    pub users: usize,
}

/// Where the bytes are.
#[derive(Debug, Clone)]
pub struct DiskUsage {
    pub images: Vec<ImageUsage>,
    /// Bytes of all layers that images use, each counted once.
    pub layers_size: u64,
    pub containers: Vec<ContainerView>,
    /// Volumes whose bytes are here; those with driver options lie elsewhere and may be slow to look at, so that dockerd leaves them out too.
    pub volumes: Vec<VolumeUsage>,
    pub cache: Vec<CacheUsage>,
    /// Digests remembered of folders that were built from.
    pub contexts: Vec<ContextIndexUsage>,
    /// What the registry in the data root has (`registry serve --storage engine`), where there ever was one.
    pub registry: Option<FolderUsage>,
}

impl Engine {
    /// Measures disk use.
    ///
    /// # Cost
    /// Layers are known sizes; the writable layers of containers and the volumes are walked.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        let views = self.list_images(&ImageListOptions::default())?;
        let mut users: HashMap<LayerId, u32> = HashMap::new();
        for layer in views.iter().flat_map(|view| &view.image.layers) {
            *users.entry(*layer).or_default() += 1;
        }
        let size_of = |id: &LayerId| self.inner.store.layer(id).map_or(0, |layer| layer.content_size);
        let layers_size = users.keys().map(size_of).sum();
        let images = views
            .into_iter()
            .map(|view| {
                let split = |shared: bool| view.image.layers.iter().filter(|id| (users[*id] > 1) == shared).map(size_of).sum();
                ImageUsage { shared: split(true), unique: split(false), view }
            })
            .collect();
        let filter = ContainerFilter { all: true, with_size: true, limit: None, filters: Filters::default() };
        let containers = self.list_containers(&filter).await?;
        let cache = self.cache_usage(&users)?;
        let (store, users) = (self.inner.store.clone(), self.volume_users());
        let engine = self.clone();
        let (volumes, contexts, registry) = blocking::files(move || {
            let volumes = store.volumes();
            let sized = volumes
                .list()
                .into_iter()
                .filter(|volume| volume.options.is_empty())
                .map(|volume| {
                    let size = volumes.usage(&volume.name).map_or(0, |usage| usage.0);
                    VolumeUsage { size, users: users.get(&volume.name).copied().unwrap_or(0), volume }
                })
                .collect();
            Ok((sized, engine.context_indexes()?, registry_usage(store.root())))
        })
        .await?;
        Ok(DiskUsage { images, layers_size, containers, volumes, cache, contexts, registry })
    }

    /// The build cache with what each record shares with images.
    fn cache_usage(&self, users: &HashMap<LayerId, u32>) -> Result<Vec<CacheUsage>> {
        let mut records = self.inner.store.cache().list()?;
        records.sort_by_key(|record| record.created);
        let shared = |record: &shipway_store::CacheRecord| record.result.is_some_and(|layer| users.contains_key(&layer));
        Ok(records.into_iter().map(|record| CacheUsage { shared: shared(&record), record }).collect())
    }
}

/// Measured while a registry may serve it; what cannot be read is in the log, and is no reason to tell nothing of all the rest.
fn registry_usage(root: &Path) -> Option<FolderUsage> {
    let measured = EngineFolder::of(root).and_then(|folder| folder.map(|folder| folder.usage()).transpose());
    measured.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot measure the registry's folder");
        None
    })
}
