//! Typed Linux: the only crate with `unsafe`, and the only one that talks to the kernel directly.
//!
//! **Lives here**: mounts, namespaces, clone3 and pidfds, cgroups, seccomp, capabilities, ptys, durable writes, paths beneath a root handle.
//! **Never here**: any word of the container trade (image, container, layer).
//! **Nouns**: `Root`, `DetachedMount`, `Pid`/pidfd, `Cgroup`, `Filter`.
//! **Invariants**: every unsafe block says why it holds where it stands; a path inside a foreign tree is walked from a `Root`, never joined;
//! an error repeats the call, its arguments and what the handle pointed at.
//! **Start reading at**: `error.rs`, then `path.rs` and `process.rs`.
#![allow(unsafe_code)]

pub mod caps;
pub mod cgroup;
pub mod copy;
pub mod durable;
pub mod error;
pub mod fd;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod overlay;
pub mod path;
pub mod probe;
pub mod process;
pub mod pty;
pub mod rlimit;
pub mod seccomp;
pub mod socket;
pub mod title;
pub mod users;
pub mod xattr;

pub use error::Error;
