#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod client;
mod clock;
pub mod codes;
mod error;
mod hash;
pub mod server;
mod url;

pub use client::{
    Access, Body, Chosen, Credentials, Endpoint, Fetched, FetchedManifest, FetchedReferrer, FoundReferrer, Hit, HostSettings, Hosts,
    LayerCompression, ListEntry, NameFiles, Proxies, PullRequest, Pulled, Puller, PushRequest, Pushed, Pusher, Registry, Response, Retries,
    Scope, SignaturePolicy, Target, Timeouts, TokenCache, TransferEvent, TransferSink, TransferState, Transport, TransportConfig,
    TrustSource, TrustedKey, Upload, VerifiedSignature, Wanted, choose, fetch, is_referrer_tag, login, search,
};
pub use error::{Error, Stage};
pub use url::{Host, Origin, Url};
