//! The server through its public face: sockets, malformed HTTP, hijacked connections. And the routes, over an engine on a scratch root that starts no process.

#![allow(clippy::unwrap_used)]

mod api;
mod harness;
mod hijack;
mod http;
mod life;
