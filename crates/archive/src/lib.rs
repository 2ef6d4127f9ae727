//! Trees as bytes: tar, compression, layers, content indexes, ignore files and build contexts.
//!
//! **Lives here**: reading and writing tar strictly, compression by magic, whiteouts, unpacking under a root handle, overlay upper folder to layer tar,
//! the content index of a layer and the view of a stack of them, `.dockerignore`, the index of a build context.
//! **Never here**: what an image is, where layers are kept, who may pull what.
//! **Nouns**: `TarReader`, `TarWriter`, `Entry`, `LayerIndex`, `Tree`, `IgnoreFile`, `ContextScan`.
//! **Invariants**: bytes of strangers never make this crate panic, loop without end or hold more memory than `Limits` allow; nothing is written outside
//! the root handle given; the same tree always gives the same index digest, and the same tree with the same times the same tar bytes.
//! **Start reading at**: `tar/read.rs`, then `unpack.rs` and `diff.rs`; `index.rs` draws the file format.

pub mod changes;
pub mod compress;
pub mod context;
pub mod diff;
pub mod error;
pub mod glob;
pub mod ignore;
pub mod index;
pub mod limits;
pub mod pack;
pub mod tar;
pub mod tree;
pub mod unpack;
pub mod whiteout;

pub use error::Error;
pub use limits::Limits;
