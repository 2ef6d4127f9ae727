//! The crate through its public face, in network namespaces that each test makes for itself. Needs root.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod attach;
mod exposure;
mod firewall;
mod names;
mod respect;
mod world;
