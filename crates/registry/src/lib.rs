#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod client;
mod error;
mod url;

pub use client::{Body, Fetched, NameFiles, Proxies, Response, Retries, Timeouts, Transport, TransportConfig, fetch};
pub use error::{Error, Stage};
pub use url::{Host, Origin, Url};
