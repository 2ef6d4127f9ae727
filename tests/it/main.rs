//! The product as its users meet it: the real binary as a daemon, driven over its socket.
//!
//! All of these tests need root. Each starts a daemon of its own with private folders, so that they run in parallel.

#![allow(clippy::unwrap_used)] // Tests.

mod accounts;
mod api_socket;
mod between;
mod bombs;
mod breakouts;
mod crash;
mod distributed;
mod engine_storage;
mod files;
mod interrupted_pulls;
mod interrupted_pushes;
mod interrupted_registry;
mod lessons;
mod logging;
mod mistakes;
mod names;
mod networks;
mod odd_layers;
mod parity;
mod posture;
mod powercut;
mod private_bases;
mod recovery;
mod registry;
mod sharing;
mod shipping;
mod signatures;
mod supervision;
mod together;
mod volumes;

/// The product.
const BINARY: &str = env!("CARGO_BIN_EXE_shipway");
