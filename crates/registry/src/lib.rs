#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod client;
pub mod codes;
mod error;
pub mod server;
mod url;

pub use client::{
    Access, Body, Credentials, Endpoint, Fetched, HostSettings, Hosts, NameFiles, Proxies, Registry, Response, Retries, Scope, Target,
    Timeouts, TokenCache, Transport, TransportConfig, Upload, fetch, login,
};
pub use error::{Error, Stage};
pub use url::{Host, Origin, Url};
