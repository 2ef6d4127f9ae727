//! Volumes. Listing works; making and mounting them comes with their own issue.

use crate::{Engine, Error, Result};

impl Engine {
    /// The volumes that exist.
    pub fn list_volumes(&self) -> Vec<std::sync::Arc<shipway_store::Volume>> {
        self.inner.store.volumes().list()
    }

    /// Refuses, naming what is missing.
    pub fn refuse_volumes(&self) -> Result<()> {
        Err(Error::NotSupportedYet { what: "a named volume".to_owned() })
    }
}
