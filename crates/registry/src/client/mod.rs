//! The HTTP client, from names to files. One `Transport` serves a whole daemon: it keeps connections, certificates and settings.

mod access;
mod auth;
mod body;
mod dial;
mod disposition;
mod endpoint;
mod fetch;
mod hosts;
mod lists;
mod login;
mod manifests;
mod named_hosts;
mod names;
mod pool;
mod proxy;
mod pull;
mod push;
mod race;
mod random;
mod referrers;
mod refusal;
mod registry;
mod retry;
mod search;
mod signatures;
mod sink;
mod tls;
mod transfer;
mod transport;
mod upload;

pub use access::{Access, Credentials, Scope};
pub use auth::TokenCache;
pub use body::Body;
pub(crate) use endpoint::HUB_SERVER;
pub use endpoint::{Endpoint, HostSettings, Hosts};
pub use fetch::{Fetched, fetch};
pub use hosts::signatures::SignaturePolicy;
pub use hosts::{ClientIdentity, HostTrust, TrustSource};
pub use lists::ListEntry;
pub use login::login;
pub use manifests::{FetchedManifest, Wanted, choose};
pub use names::NameFiles;
pub use proxy::Proxies;
pub use pull::{Chosen, PullRequest, Pulled, Puller};
pub use push::{LayerCompression, PushRequest, Pushed, Pusher};
pub use referrers::{FetchedReferrer, FoundReferrer, is_referrer_tag};
pub use registry::{Registry, Target};
pub use retry::Retries;
pub use search::{Hit, search};
pub use signatures::{TrustedKey, VerifiedSignature};
pub use transfer::{TransferEvent, TransferSink, TransferState};
pub use transport::{Response, Timeouts, Transport, TransportConfig};
pub use upload::Upload;

use std::time::Duration;

use crate::error::{Error, Stage};

/// Runs synchronous work, of the disk mostly, on a thread where it may block. How much of it runs at once is for the callers to bound.
async fn blocking<T, F>(job: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        Err(error) => Err(Error::Internal { what: format!("work on the disk ended abnormally: {error}") }),
    }
}

/// Gives `work` the time `limit`; `host` and `stage` say in the error who let us wait and for what.
async fn within<T>(limit: Duration, stage: Stage, host: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::TimedOut { stage, host: host.to_owned(), limit }),
    }
}
