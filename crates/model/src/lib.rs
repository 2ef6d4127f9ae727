//! The words: parsing and printing of every noun that more than one floor uses.
//!
//! **Lives here**: digests, references, descriptors, manifests, image configuration, platforms, ids, names, ports, mounts, limits,
//! sizes, times, signals, users, environment lists, capabilities, error kinds.
//! **Never here**: files, sockets, async, the JSON of Docker's API.
//! **Nouns**: `Digest`, `DiffId`, `ChainId`, `ImageId`, `Reference`, `Descriptor`, `Manifest`, `ImageConfig`, `Platform`, `ContainerId`.
//! **Invariants**: parsers are total and bounded; a value that exists is valid; two things that must not be confused are two types.
//! **Start reading at**: `digest.rs`, then `reference.rs`.

pub mod bytes;
pub mod capability;
pub mod config;
pub mod descriptor;
pub mod digest;
pub mod duration;
pub mod env;
pub mod id;
pub mod kind;
pub mod limits;
pub mod manifest;
pub mod mount;
pub mod name;
pub mod platform;
pub mod port;
pub mod reference;
pub mod secret;
pub mod signal;
pub mod suggest;
mod text;
pub mod time;
pub mod user;

pub use bytes::{ByteSize, ByteSizeError};
pub use capability::{Capability, CapabilityError, CapabilitySet};
pub use config::{ConfigError, ContainerDefaults, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::{Compression, Descriptor, MediaType};
pub use digest::{Algorithm, ChainId, DiffId, Digest, DigestError, ImageId, Sha256Hasher};
pub use duration::{DurationError, GoDuration};
pub use env::EnvError;
pub use id::{BuildId, ContainerId, EndpointId, ExecId, IdError, LayerId, LeaseId, NetworkId};
pub use kind::{Classified, ErrorKind};
pub use limits::{Limits, Ulimit, UlimitError};
pub use manifest::{Index, Manifest, ManifestDocument, ManifestError};
pub use mount::{IdMap, MountError, MountForm, MountKind, MountSpec, Propagation, ReadOnlyReach};
pub use name::{ContainerName, NameError, NetworkName, VolumeName};
pub use platform::{Platform, PlatformError};
pub use port::{Port, PortBinding, PortError, Protocol, parse_publish};
pub use reference::{Reference, ReferenceError};
pub use secret::Secret;
pub use signal::{Signal, SignalError};
pub use time::{SinceError, Timestamp, TimestampError};
pub use user::{UserError, UserSpec};
