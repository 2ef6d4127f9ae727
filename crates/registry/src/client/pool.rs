//! Connections that rest between two requests, by origin.
//!
//! What must stay true: what rests is finished with its last answer; nothing rests longer than the idle limit or in larger numbers than a server likes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::upload::RequestBody;
use crate::Origin;

/// Connections kept per origin: what parallel downloads of one image's layers need.
const KEPT: usize = 8;

/// How a connection reaches its origin, as far as requests must know.
#[derive(Debug, Clone)]
pub(super) enum Route {
    /// The server itself is at the other end, perhaps through a tunnel.
    Direct,
    /// A proxy is, and wants whole addresses.
    Forwarded { authorization: Option<HeaderValue> },
}

/// An open connection. Dropping it closes it and ends its task.
pub(super) struct Link {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) route: Route,
    /// Moves the bytes; owned here so that it never outlives its use.
    pub(super) _task: AbortOnDropHandle<()>,
}

pub(super) struct Pool {
    resting: Mutex<HashMap<Origin, Vec<Resting>>>,
    longest: Duration,
}

struct Resting {
    link: Link,
    since: Instant,
}

impl Pool {
    pub(super) fn new(longest: Duration) -> Self {
        Self { resting: Mutex::new(HashMap::new()), longest }
    }

    /// A connection to `origin` that rested, the last used first.
    pub(super) fn take(&self, origin: &Origin) -> Option<Link> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let links = resting.get_mut(origin)?;
        while let Some(found) = links.pop() {
            if !found.link.sender.is_closed() && found.since.elapsed() < self.longest {
                return Some(found.link);
            }
        }
        None
    }

    /// Lets `link` rest for the next request to `origin`, and sees off those that rested too long.
    pub(super) fn put(&self, origin: Origin, link: Link) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain(|_, links| {
            links.retain(|found| !found.link.sender.is_closed() && found.since.elapsed() < self.longest);
            !links.is_empty()
        });
        let links = resting.entry(origin).or_default();
        if links.len() < KEPT && !link.sender.is_closed() {
            links.push(Resting { link, since: Instant::now() });
        }
    }
}
