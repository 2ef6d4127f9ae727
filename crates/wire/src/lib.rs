//! The JSON and the stream framing of the Docker Engine API, as serde types; and the few messages that are ours.
//!
//! **Lives here**: request and answer bodies by resource, lenient reading of requests, the frames of attached streams, progress lines, filters, API versions.
//! **Never here**: behaviour, sockets, defaults that the engine decides.
//! **Nouns**: `CreateBody`, `HostConfig`, `ContainerInspect`, `BuildQuery`, `LocalBuildRequest`, `Message`, `SolveStatus`, `ApiVersion`, `FrameDecoder`.
//! **Invariants**: what Docker writes as `null`, `[]` or `{}` is written so by us; requests are read as leniently as Go reads them; Docker's spelling stops here.
//! **Start reading at**: `containers/mod.rs`, then `lenient.rs`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod build;
pub mod build_history;
pub mod containers;
pub mod error;
pub mod exec;
pub mod filters;
pub mod images;
pub mod lenient;
pub mod local_build;
pub mod message;
pub mod networks;
pub mod progress;
pub mod registries;
pub mod stream;
pub mod system;
pub mod version;
pub mod volumes;

pub use version::ApiVersion;
