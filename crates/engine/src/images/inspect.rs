//! `image inspect`.

use shipway_model::{ImageId, Platform};

use super::ImageView;
use crate::{Engine, Error, Result};

impl Engine {
    /// Everything known about the image that `name` means.
    ///
    /// # Errors
    /// `NoSuchImage` with the nearest names; `AmbiguousPrefix`.
    pub fn inspect_image(&self, name: &str) -> Result<ImageView> {
        let id = self.resolve_image(name)?;
        self.view_image(&id)
    }

    /// Refuses what is asked of the image that `name` means when that is for another platform than `wanted`.
    ///
    /// # Errors
    /// `NoSuchImage`, `AmbiguousPrefix`; `NotFoundInWords` in dockerd's words.
    pub fn require_platform(&self, name: &str, wanted: &Platform) -> Result<()> {
        self.refuse_other_platform(name, &self.resolve_image(name)?, Some(wanted))
    }

    pub(super) fn refuse_other_platform(&self, name: &str, image: &ImageId, wanted: Option<&Platform>) -> Result<()> {
        let Some((wanted, image)) = wanted.zip(self.inner.store.images().get(image)) else { return Ok(()) };
        let found = Platform::of_image(&image.config);
        if found.matches(wanted) {
            return Ok(());
        }
        Err(Error::NotFoundInWords {
            reason: format!("image with reference {name} was found but does not provide the specified platform ({wanted})"),
            hint: Some(format!("it is for {found}")),
        })
    }
}
