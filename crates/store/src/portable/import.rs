//! A root file system as a tar becomes an image of one layer.

use std::io::Read;

use shipway_model::{ContainerDefaults, History, ImageConfig, ImageId, Platform, RootFs, Timestamp};

use crate::Result;
use crate::images::NewImage;
use crate::layers::LayerOrigin;
use crate::open::Store;
use crate::unpack::UnpackRequest;

/// What the config of an imported image says.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The changes asked for, applied to an empty config.
    pub config: ContainerDefaults,
    /// Comment of its only history entry.
    pub comment: String,
    /// Platform it is for.
    pub platform: Platform,
    /// When.
    pub created: Timestamp,
}

impl Store {
    /// Takes in a tar, compressed or not, as an image of one layer without a name; published when it returns.
    pub fn import(&self, stream: impl Read + Send, options: ImportOptions) -> Result<ImageId> {
        let lease = self.lease();
        let request = UnpackRequest {
            expected: None,
            origin: LayerOrigin::Imported,
            created: options.created,
            lower: Vec::new(),
            lease: Some(lease.clone()),
        };
        let layer = self.unpack_layer(stream, &request)?.layer;
        let config = ImageConfig {
            created: Some(options.created),
            architecture: options.platform.architecture,
            os: options.platform.os,
            variant: options.platform.variant,
            config: options.config,
            rootfs: RootFs { diff_ids: vec![layer.diff_id], ..RootFs::default() },
            history: vec![History { created: Some(options.created), comment: options.comment, ..History::default() }],
            ..ImageConfig::default()
        };
        let image = NewImage {
            config_bytes: config.to_bytes(),
            layers: vec![layer.id],
            manifest: None,
            blobs: Vec::new(),
            parent: None,
            origin: LayerOrigin::Imported,
        };
        let store = self.clone();
        let id = self.publish(move |txn| store.images().put(txn, image))?;
        drop(lease);
        Ok(id)
    }
}
