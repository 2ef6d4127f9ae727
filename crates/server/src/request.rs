//! One request, taken apart: who asks, which version, which path, which query, and the body while it is still coming.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use shipway_wire::ApiVersion;
use shipway_wire::lenient;
use tokio::sync::oneshot;

use crate::error::{ApiError, ApiResult};
use crate::hijack::Hijacked;
use crate::query::Query;
use crate::socket::Socket;

/// JSON bodies are small; dockerd has no limit, which lets one client fill the memory of all.
pub const JSON_LIMIT: usize = 8 << 20;

/// Bytes of an unread body that are read and thrown away so that the client gets to see its error; more than that and the connection is closed on it.
const DRAIN_LIMIT: usize = 64 << 20;

/// How long that may take: a client that never finishes must not wait for its answer for ever.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// What takes a connection over once hyper has let go of it.
pub(crate) type Takeover = Box<dyn FnOnce(Hijacked) -> BoxFuture<'static, ()> + Send>;

/// The way from a handler to the connection it is served on.
pub(crate) type TakeoverSlot = Arc<Mutex<Option<oneshot::Sender<Takeover>>>>;

/// One request.
pub struct Request {
    pub method: Method,
    /// The version of the path, or the newest.
    pub version: ApiVersion,
    /// Decoded, without the version.
    pub path: String,
    pub query: Query,
    pub headers: HeaderMap,
    /// The connection: who is there, and are they still.
    pub client: Socket,
    /// Marks the daemon as busy as long as it lives.
    pub serving: Option<Arc<dyn Any + Send + Sync>>,
    body: Option<Incoming>,
    takeover: TakeoverSlot,
}

impl Request {
    pub(crate) fn new(parts: http::request::Parts, body: Incoming, client: Socket, takeover: TakeoverSlot) -> Self {
        Self {
            version: ApiVersion::MAX,
            path: crate::query::decode(parts.uri.path(), false),
            query: Query::parse(parts.uri.query().unwrap_or("")),
            method: parts.method,
            headers: parts.headers,
            client,
            serving: None,
            body: Some(body),
            takeover,
        }
    }

    /// A header as text, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The whole body, when it is at most `limit` bytes.
    ///
    /// # Errors
    /// 413-like refusal above the limit, 400 when the client breaks off.
    pub async fn read_all(&mut self, limit: usize) -> Result<Bytes, ApiError> {
        let Some(mut body) = self.body.take() else { return Ok(Bytes::new()) };
        let mut gathered = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ApiError::invalid(format!("cannot read the request body: {error}")))?;
            let Some(piece) = frame.data_ref() else { continue };
            if gathered.len() + piece.len() > limit {
                self.body = Some(body);
                return Err(ApiError {
                    status: http::StatusCode::PAYLOAD_TOO_LARGE,
                    message: format!("the request body is larger than {limit} bytes"),
                    hint: None,
                });
            }
            gathered.extend_from_slice(piece);
        }
        Ok(gathered.freeze())
    }

    /// The JSON body.
    ///
    /// # Errors
    /// 400 when it is missing or cannot be read.
    pub async fn read_json<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        let text = self.read_all(JSON_LIMIT).await?;
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err(empty_body());
        }
        lenient::from_slice(&text).map_err(bad_json)
    }

    /// The JSON body, or the default when there is none.
    ///
    /// # Errors
    /// 400 when it cannot be read.
    pub async fn read_optional_json<T: DeserializeOwned + Default>(&mut self) -> Result<T, ApiError> {
        let text = self.read_all(JSON_LIMIT).await?;
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        lenient::from_slice(&text).map_err(bad_json)
    }

    /// The body as it comes; empty the second time.
    pub fn take_body(&mut self) -> Option<Incoming> {
        self.body.take()
    }

    /// Reads and forgets what is left of the body. A client that is still sending would otherwise see a broken pipe instead of its error.
    pub(crate) async fn drain(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        let reading = async {
            let mut left = DRAIN_LIMIT;
            while let Some(Ok(frame)) = body.frame().await {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                if left == 0 {
                    return;
                }
            }
        };
        // What is left after that is cut off with the connection.
        let _ = tokio::time::timeout(DRAIN_PATIENCE, reading).await;
    }

    /// Leaves HTTP: hyper lets go of the connection and `then` gets it, with any bytes that came after the request.
    /// The body must have been read. Does not return while the connection lives.
    pub async fn take_over<F>(&self, then: F) -> ApiResult
    where
        F: FnOnce(Hijacked) -> BoxFuture<'static, ()> + Send + 'static,
    {
        let slot = self.takeover.lock().unwrap_or_else(PoisonError::into_inner).take();
        match slot.map(|sender| sender.send(Box::new(then))) {
            // The connection's task drops this future together with hyper's state.
            Some(Ok(())) => std::future::pending().await,
            _ => Err(ApiError::new(shipway_model::ErrorKind::Internal, "the connection cannot be taken over")),
        }
    }
}

fn empty_body() -> ApiError {
    ApiError::invalid("invalid JSON: got EOF while reading request body")
}

pub(crate) fn bad_json(error: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(format!("invalid JSON: {error}"))
}
