//! HTTP in, HTTP out: the Docker Engine API and our few own routes, over unix sockets and TCP.
//!
//! **Lives here**: listening and accepting, one connection's life, the router, the routes by resource, hijacked streams, the conversion between
//! Docker's JSON and the engine's values, the switch from error kinds to statuses.
//! **Never here**: decisions about containers, images or builds; files; records.
//! **Nouns**: `Listener`, `Api`, `Request`, `Answer`, `ApiError`, `Hijacked`, `Socket`.
//! **Invariants**: one switch maps errors to statuses; a panic ends one request; a client that left is noticed within a second by whatever waits for it;
//! no task outlives its connection except a verb that must run to its end.
//! **Start reading at**: `router.rs`, then `connection.rs`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod answer;
mod compat;
pub mod connection;
mod convert;
mod detach;
pub mod error;
pub mod hijack;
pub mod listen;
mod query;
pub mod request;
mod router;
mod routes;
mod session;
pub mod socket;
mod upload;

pub use listen::{ListenAddress, ListenError, ListenOptions, Listener, ServeOptions, serve};
pub use router::{Api, ApiOptions};
