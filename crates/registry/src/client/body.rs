//! The body of an answer: pieces as they come, each waited for a bounded time.
//!
//! What must stay true: a connection goes back to the pool only after its body was read to the end; dropping a body early closes its connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::pool::{Link, Pool};
use super::transport::broken;
use super::within;
use crate::error::Stage;
use crate::{Error, Origin};

/// A body being read.
pub struct Body {
    incoming: Incoming,
    /// Gone once the body is at its end.
    link: Option<Link>,
    pool: Arc<Pool>,
    origin: Origin,
    idle: Duration,
}

impl Body {
    pub(super) fn new(incoming: Incoming, link: Link, pool: Arc<Pool>, origin: Origin, idle: Duration) -> Self {
        Self { incoming, link: Some(link), pool, origin, idle }
    }

    /// The next piece, or `None` after the last. A body that ends before its announced length is an error.
    ///
    /// # Errors
    /// `Broken`, `Protocol` or `TimedOut`; nothing more comes after one.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        self.link.as_ref()?;
        let host = self.origin.host.to_string();
        loop {
            let frame = async {
                match self.incoming.frame().await {
                    None => Ok(None),
                    Some(Ok(frame)) => Ok(Some(frame)),
                    Some(Err(error)) => Err(broken(&host, &error)),
                }
            };
            match within(self.idle, Stage::Body, &host, frame).await {
                // Trailers mean nothing to us.
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Some(Ok(bytes)),
                    _ => {}
                },
                Ok(None) => {
                    if let Some(link) = self.link.take() {
                        self.pool.put(self.origin.clone(), link);
                    }
                    return None;
                }
                Err(error) => {
                    self.link = None;
                    return Some(Err(error));
                }
            }
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        futures_util::stream::unfold(self, |mut body| async move { body.next().await.map(|piece| (piece, body)) })
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Body from {}", self.origin.authority())
    }
}
