//! `system fsck`: is what is on disk what the records say?

use shipway_store::{FsckOptions, FsckReport};

use crate::{Engine, Result, blocking};

impl Engine {
    /// Checks every invariant of the store (security.md section 8) and mends what can be mended when asked.
    ///
    /// # Cost
    /// `strict` reads and hashes every stored byte.
    pub async fn fsck(&self, options: FsckOptions) -> Result<FsckReport> {
        let store = self.inner.store.clone();
        blocking::files(move || Ok(store.fsck(options)?)).await
    }
}
