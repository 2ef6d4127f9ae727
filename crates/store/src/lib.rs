//! Everything content-addressed or mounted, and who keeps it alive.
//!
//! **Lives here**: blobs, layers and snapshots, images and their names, cache records, leases, holds, volumes, collection, save and load, fsck.
//! **Never here**: HTTP, processes, Dockerfiles, mounting (the paths to mount are handed out, `runtime` mounts them).
//! **Nouns**: `Store`, `Layer`, `ActiveSnapshot`, `Tree`, `Image`, `CacheRecord`, `Lease`, `Hold`, `Volume`.
//! **Invariants**: no row is durable before the bytes it speaks of (but those of `publish_until_reboot`); what `Store::publish` acknowledged survives a power cut; a digest once stored is
//! never rewritten; two layers never have the same diff id; only what no image, hold, cache record, lease or unpublished work reaches is deleted, rows first.
//! **Start reading at**: `layout.rs` (the drawing of the disk), then `publish.rs`, `snapshots.rs` and `collect.rs`.

mod blobs;
mod cache;
mod changes;
mod clock;
mod collect;
mod downloads;
mod error;
mod fsck;
mod holds;
mod images;
mod layers;
mod layout;
mod leases;
mod memory;
mod open;
mod portable;
mod publish;
mod referrers;
mod representations;
mod resolve;
mod shared_blobs;
mod snapshots;
mod trash;
mod tree;
mod unpack;
mod usage;
mod volumes;
mod worker;
mod writeback;

/// What became of a path of a container.
pub use shipway_archive::changes::ChangeKind;

pub use blobs::{Blobs, Ingest};
pub use cache::{Cache, CacheKey, CacheRecord, PruneOptions, Pruned};
pub use collect::Collected;
pub use downloads::{Download, DownloadReader};
pub use error::Error;
pub use fsck::{Finding, FindingKind, FsckOptions, FsckReport};
pub use holds::Hold;
pub use images::{Image, Images, NewImage};
pub use layers::{Layer, LayerOrigin, TarSource};
pub use leases::Lease;
pub use open::{Store, StoreConfig};
pub use portable::{ImportOptions, LoadProgress, Loaded, SaveBase, SaveItem};
pub use referrers::Referrer;
pub use representations::Representation;
pub use resolve::ResolveError;
pub use shared_blobs::SharedBlobs;
pub use snapshots::{ActiveSnapshot, CommitOptions, KeptSnapshot, PrepareOptions};
pub use tree::Tree;
pub use unpack::{UnpackRequest, UnpackedLayer};
pub use usage::{ActiveUsage, CacheUsage, ImagesUsage, Usage, VolumeUsage};
pub use volumes::{AtTarget, PreparedVolumes, Seed, Volume, VolumeWish, Volumes};
pub use writeback::EarlyWriting;

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
