//! Images as files: `save`, `load`, `import`.
//!
//! `save` writes what `docker save` writes since version 25, which every Docker can load: an OCI layout (`oci-layout`, `index.json`, `blobs/sha256/…`,
//! layers uncompressed) with `manifest.json` and `repositories` beside it. `load` reads that, the older form with a folder for each layer, and plain
//! OCI layouts, whole or inside compressed in any way we know.

mod import;
mod load;
mod load_meaning;
pub(crate) mod recipe;
mod save;

pub use import::ImportOptions;
pub use load::{LoadProgress, Loaded};
pub use save::SaveItem;
