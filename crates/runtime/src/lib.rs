//! A process in a box: launch, init side, exec, stdio, limits, supervision.
//!
//! **Lives here**: the pool of parked monitors, the launch of a container's first process and of later ones, the monitor that outlives the daemon,
//! the init side that builds the box from inside, the default seccomp profile, and the same launch as an OCI runtime's command line (`oci`).
//! **Never here**: images, names, networks, records. Finished values come in (mounts, limits, addresses); nothing durable is remembered.
//! **Nouns**: `ContainerSpec`, `ProcessSpec`, `Runtime`, `Handle`, `Attachment`; inside: *monitor* (one small process per container, parent of all in
//! it), *seat* (a process that keeps a place in the container's cgroups, from which everything in the container is cloned), *world* (the namespaces
//! and standard mounts of the first process), *init* (the first process before it becomes the program).
//! **Invariants**: the daemon never copies itself; everything fallible is a file descriptor before the first process hears of it; no cgroup attach
//! lies on a start path; what runs beside a container runs from a sealed copy of our binary; the exit is written down before it is told.
//! **Start reading at**: `spec.rs`, `runtime.rs`, `launch/mod.rs`; then `personality.rs`, `monitor/mod.rs`, `init/mod.rs`; `oci/mod.rs` by itself.

mod attach;
mod clock;
mod error;
mod handle;
mod init;
mod launch;
mod message;
mod monitor;
pub mod oci;
mod personality;
mod pool;
pub mod profile;
mod root;
mod runtime;
mod spec;
mod stats;
mod step;

pub use attach::{AttachOptions, Attachment, OutputFrame, StreamKind};
pub use error::{Error, LaunchError};
pub use handle::{ExecHandle, ExecSpec, ExitStatus, Handle};
pub use launch::Running;
pub use personality::personality;
pub use pool::Reserved;
pub use root::OpenTree;
pub use runtime::{Adopted, Runtime, RuntimeConfig};
pub use spec::*;
pub use stats::{NetworkUsage, RawStats};
pub use step::BuildStepSpec;

pub use shipway_sys::cgroup::{BlockUsage, Device as DeviceRule, DeviceKind, Throttle, Throttled};
