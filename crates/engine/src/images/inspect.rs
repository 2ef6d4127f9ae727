//! `image inspect`.

use super::ImageView;
use crate::{Engine, Result};

impl Engine {
    /// Everything known about the image that `name` means.
    ///
    /// # Errors
    /// `NoSuchImage` with the nearest names; `AmbiguousPrefix`.
    pub fn inspect_image(&self, name: &str) -> Result<ImageView> {
        let id = self.resolve_image(name)?;
        self.view_image(&id)
    }
}
