//! The registry crate through its public face, against scripted servers on loopback. No test leaves this machine or needs root.
// A test may fail by panicking: that is its way to say no.
#![allow(clippy::unwrap_used)]

mod access;
mod conformance;
mod connections;
mod downloads;
mod hostile;
mod pulling;
mod redirects;
mod server;
mod serving;
mod tls;
