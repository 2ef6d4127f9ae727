//! Verbs on the engine as a whole.

pub mod fsck;
mod info;
mod usage;

pub use info::{SystemInfo, VersionInfo};
pub use shipway_registry::server::FolderUsage;
pub use usage::{CacheUsage, DiskUsage, ImageUsage, VolumeUsage};

use crate::EngineConfig;

/// The folder name of this engine's cgroups: two daemons on one host never share one.
pub(crate) fn cgroup_root_name(config: &EngineConfig) -> String {
    match &config.cgroup_parent {
        Some(parent) => parent.trim_matches('/').to_owned(),
        None => {
            let digest = shipway_model::Digest::sha256_of(config.data_root.as_os_str().as_encoded_bytes());
            format!("shipway-{}", &digest.hex()[..8])
        }
    }
}

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    pub ids: Vec<String>,
    pub bytes: u64,
}

impl crate::Engine {
    /// Frees what nothing reaches any more, without keeping anyone waiting.
    pub(crate) fn collect_behind(&self) {
        let engine = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = engine.inner.store.collect() {
                tracing::warn!(%error, "cannot free what nothing needs any more; the next removal will try again");
            }
            if let Err(error) = engine.forget_stale_context_indexes() {
                tracing::warn!(%error, "cannot forget the digests of old build contexts; the next removal will try again");
            }
        });
    }
}
