//! Base images for builds: those that are here, and those that a registry has.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use shipway_build::ports::{ImageError, ImageSource, ResolvedImage};
use shipway_model::{Classified as _, ErrorKind, Platform, Reference};
use shipway_registry::Credentials;

use crate::images::PullSpec;
use crate::{Engine, Error, Inner};

/// The images of this engine's store, and of registries for one build. Holds the engine weakly: the engine owns what made it.
pub(super) struct LocalImages {
    engine: Weak<Inner>,
    /// By the registry's domain.
    credentials: BTreeMap<String, Credentials>,
}

impl LocalImages {
    pub(super) fn new(engine: &Engine, credentials: BTreeMap<String, Credentials>) -> Self {
        Self { engine: Arc::downgrade(&engine.inner), credentials }
    }

    fn engine(&self) -> Result<Engine, ImageError> {
        let stopped = || ImageError::Other { message: "the engine is stopping".to_owned(), kind: ErrorKind::Cancelled };
        Ok(Engine { inner: self.engine.upgrade().ok_or_else(stopped)? })
    }

    /// Looks here only.
    fn find(engine: &Engine, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, ImageError> {
        let images = engine.inner.store.images();
        let familiar = reference.familiar();
        let nearest = || ImageError::NotFound { nearest: images.nearest(&familiar), reference: familiar.clone() };
        let id = images.resolve(&familiar).map_err(|_| nearest())?;
        let image = images.get(&id).ok_or_else(nearest)?;
        let available = Platform::of_image(&image.config);
        if !available.matches(platform) {
            return Err(ImageError::Platform { reference: familiar, wanted: platform.to_string(), available: available.to_string() });
        }
        Ok(ResolvedImage {
            id,
            config: image.config.clone(),
            layers: image.layers.clone(),
            digest: image.manifest.as_ref().map(|manifest| manifest.digest),
            reference: reference.clone(),
        })
    }

    async fn resolve_or_pull(&self, reference: &Reference, platform: &Platform, pull: bool) -> Result<ResolvedImage, ImageError> {
        let engine = self.engine()?;
        let reference = reference.clone().with_default_tag();
        let missing = match Self::find(&engine, &reference, platform) {
            Ok(found) if !pull => return Ok(found),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        let wanted = (*platform != Platform::host()).then(|| platform.clone());
        let credentials = self.credentials.get(reference.domain()).cloned();
        let spec = PullSpec { reference: reference.clone(), all_tags: false, platform: wanted, credentials, referrers: false };
        match engine.pull_image(spec, Arc::new(|_| {})).await {
            Ok(_) => Self::find(&engine, &reference, platform),
            Err(error) => Err(match missing {
                // It is here, only not for this platform, and no other one was to be had.
                Some(wrong @ ImageError::Platform { .. }) => wrong,
                missing => not_pulled(&reference, missing.is_none(), &error),
            }),
        }
    }
}

/// What a failed pull means to a build.
fn not_pulled(reference: &Reference, is_here: bool, error: &Error) -> ImageError {
    let unreached = matches!(error, Error::Remote { unreached: true, .. }).then(|| reference.domain());
    let way_out = match unreached {
        _ if is_here => Some("the image that is here serves without --pull".to_owned()),
        Some(registry) => Some(format!("check that the engine's machine reaches {registry}, or bring the image another way: shipway load")),
        None => None,
    };
    // Who refuses an image by policy is not to be got round.
    let hint = if is_here && error.kind() != ErrorKind::Forbidden { way_out } else { error.hint().or(way_out) };
    ImageError::Pull {
        reference: reference.familiar(),
        is_here,
        unreached: unreached.map(Box::from),
        cause: error.to_string(),
        kind: error.kind(),
        hint: hint.map(String::into_boxed_str),
    }
}

impl ImageSource for LocalImages {
    fn resolve<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a Platform,
        pull: bool,
    ) -> BoxFuture<'a, Result<ResolvedImage, ImageError>> {
        Box::pin(self.resolve_or_pull(reference, platform, pull))
    }

    fn nearest(&self, name: &str) -> Vec<String> {
        self.engine.upgrade().map(|inner| inner.store.images().nearest(name)).unwrap_or_default()
    }

    fn is_known(&self, name: &str) -> bool {
        self.engine.upgrade().is_some_and(|inner| inner.store.images().resolve(name).is_ok())
    }
}
