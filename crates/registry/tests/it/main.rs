//! The registry crate through its public face, against scripted servers on loopback. No test leaves this machine or needs root.

mod connections;
mod downloads;
mod redirects;
mod server;
mod tls;
