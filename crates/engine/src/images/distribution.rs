//! What a registry says about a name, without pulling anything.

use shipway_model::{Descriptor, ImageConfig, ManifestDocument, Platform, Reference};
use shipway_registry::{Credentials, Wanted};

use crate::{Engine, Result};

/// The largest config that is read.
const CONFIG_LIMIT: usize = 8 << 20;

/// An image at a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    pub descriptor: Descriptor,
    pub platforms: Vec<Platform>,
}

impl Engine {
    /// What `reference` means at its registry.
    ///
    /// # Errors
    /// `Remote` in Docker's words.
    pub async fn distribution(&self, reference: &Reference, credentials: Option<Credentials>) -> Result<Distribution> {
        let reference = reference.clone().with_default_tag();
        let registry = self.registry_of(&reference, credentials, false)?;
        let wanted = Wanted::of(&reference);
        let failed = |error: shipway_registry::Error| self.cannot_pull(&reference, &error);
        let found = registry.manifest(reference.path(), &wanted).await.map_err(failed)?;
        let platforms = match &found.document {
            ManifestDocument::Index(index) => index.manifests.iter().filter_map(|entry| entry.platform.clone()).collect(),
            ManifestDocument::Manifest(manifest) => {
                let bytes = registry.small_blob(reference.path(), &manifest.config, CONFIG_LIMIT).await.map_err(failed)?;
                // What is no image is for no platform.
                ImageConfig::parse(&bytes).map(|config| Platform::of_image(&config)).into_iter().collect()
            }
        };
        Ok(Distribution { descriptor: found.descriptor, platforms })
    }
}
