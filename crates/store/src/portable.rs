//! Images as files: `save`, `load`, `import`.
//!
//! `save` writes what `docker save` writes since version 25, which every Docker can load: an OCI layout (`oci-layout`, `index.json`, `blobs/sha256/…`,
//! layers uncompressed) with `manifest.json` and `repositories` beside it. `load` reads that, the older form with a folder for each layer, and plain
//! OCI layouts, whole or inside compressed in any way we know. A layer that an archive names but does not have is taken from the store.

mod import;
mod load;
mod load_meaning;
pub(crate) mod recipe;
mod save;

pub use import::ImportOptions;
pub use load::{LoadProgress, Loaded};
pub use save::{SaveBase, SaveItem};

/// Annotations of `index.json` in an archive that leaves out the layers of a base: how the base was called, and its id.
const BASE_NAME: &str = "io.shipway.base.name";
const BASE_ID: &str = "io.shipway.base.id";
