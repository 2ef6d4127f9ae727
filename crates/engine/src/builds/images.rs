//! Base images for builds: those that are here. Pulling comes with the registry.

use std::sync::Weak;

use futures_util::future::BoxFuture;
use shipway_build::ports::{ImageError, ImageSource, ResolvedImage};
use shipway_model::{ErrorKind, Platform, Reference};

use crate::{Engine, Inner};

/// The images of this engine's store. Holds the engine weakly: the engine owns it.
pub(super) struct LocalImages {
    engine: Weak<Inner>,
}

impl LocalImages {
    pub(super) fn new(engine: &Engine) -> Self {
        Self { engine: std::sync::Arc::downgrade(&engine.inner) }
    }

    fn find(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, ImageError> {
        let stopped = || ImageError::Other { message: "the engine is stopping".to_owned(), kind: ErrorKind::Cancelled };
        let inner = self.engine.upgrade().ok_or_else(stopped)?;
        let images = inner.store.images();
        let reference = reference.clone().with_default_tag();
        let familiar = reference.familiar();
        let id = images
            .resolve(&familiar)
            .map_err(|_| ImageError::PullUnsupported { nearest: images.nearest(&familiar), reference: familiar.clone() })?;
        let image = images.get(&id).ok_or_else(|| ImageError::NotFound { reference: familiar.clone(), nearest: Vec::new() })?;
        let available = Platform::of_image(&image.config);
        if !available.matches(platform) {
            return Err(ImageError::Platform { reference: familiar, wanted: platform.to_string(), available: available.to_string() });
        }
        Ok(ResolvedImage {
            id,
            config: image.config.clone(),
            layers: image.layers.clone(),
            digest: image.manifest.as_ref().map(|manifest| manifest.digest),
            reference,
        })
    }
}

impl ImageSource for LocalImages {
    fn resolve<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a Platform,
        _pull: bool,
    ) -> BoxFuture<'a, Result<ResolvedImage, ImageError>> {
        Box::pin(std::future::ready(self.find(reference, platform)))
    }

    fn nearest(&self, name: &str) -> Vec<String> {
        self.engine.upgrade().map(|inner| inner.store.images().nearest(name)).unwrap_or_default()
    }

    fn is_known(&self, name: &str) -> bool {
        self.engine.upgrade().is_some_and(|inner| inner.store.images().resolve(name).is_ok())
    }
}
