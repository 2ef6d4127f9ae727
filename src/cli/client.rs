//! HTTP to the daemon: a connection that is kept while it is idle, JSON in and out, and upgraded connections for attach and exec.
//!
//! Paths carry no version unless `DOCKER_API_VERSION` asks for one: every daemon answers unversioned paths with its newest version, and this
//! client reads answers leniently. That saves the `/_ping` other clients begin with.
//! What must stay true: an answer with an error status never reaches a caller as success, and the daemon's message is kept word for word.

use super::connect::{Host, Target, Wire};
use super::exit::{Failure, Outcome};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Error answers longer than this are cut: they are sentences, not pages.
const LONGEST_ERROR: usize = 1 << 20;

/// A request under construction.
pub(crate) struct Call {
    method: Method,
    path: String,
    query: String,
    body: Body,
    headers: Vec<(&'static str, String)>,
}

/// What a request carries.
pub(crate) enum Body {
    None,
    Json(Value),
    /// Chunks made elsewhere; a failure ends the request.
    Stream {
        content_type: &'static str,
        chunks: tokio::sync::mpsc::Receiver<io::Result<Bytes>>,
    },
}

impl Call {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: String::new(), body: Body::None, headers: Vec::new() }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn head(path: impl Into<String>) -> Self {
        Self::new(Method::HEAD, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds a query key.
    pub(crate) fn query(mut self, key: &str, value: impl AsRef<str>) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(key);
        self.query.push('=');
        self.query.push_str(&query_escape(value.as_ref()));
        self
    }

    /// Adds a query key when there is a value.
    pub(crate) fn query_if(self, key: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }

    /// Adds `key=1` when `wanted`.
    pub(crate) fn flag(self, key: &str, wanted: bool) -> Self {
        if wanted { self.query(key, "1") } else { self }
    }

    pub(crate) fn json(mut self, body: Value) -> Self {
        self.body = Body::Json(body);
        self
    }

    pub(crate) fn stream(mut self, content_type: &'static str, chunks: tokio::sync::mpsc::Receiver<io::Result<Bytes>>) -> Self {
        self.body = Body::Stream { content_type, chunks };
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// An answer whose status was good.
pub(crate) type Answer = Response<Incoming>;

/// A daemon.
pub(crate) struct Client {
    target: Target,
    version: Option<String>,
    /// The connection used last. Most commands ask two or three things one after the other.
    idle: Mutex<Option<Sender>>,
}

type RequestBody = BoxBody<Bytes, io::Error>;
type Sender = SendRequest<RequestBody>;

impl Client {
    /// A client of the daemon at `target`; nothing is dialled yet.
    pub(crate) fn new(target: Target, version: Option<String>) -> Self {
        Self { target, version, idle: Mutex::default() }
    }

    /// Its address.
    pub(crate) fn host(&self) -> &Host {
        &self.target.host
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// `Unreachable`, or `Daemon` for a status of 400 and above.
    pub(crate) async fn send(&self, call: Call) -> Outcome<Answer> {
        let answer = self.exchange(call).await?;
        if answer.status().is_client_error() || answer.status().is_server_error() {
            return Err(refusal(answer).await);
        }
        Ok(answer)
    }

    /// Sends a request and parses the JSON answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call) -> Outcome<T> {
        let path = call.path.clone();
        let bytes = self.bytes(call).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(format!("cannot understand the daemon's answer to \"{path}\": {error}")))
    }

    /// Sends a request and gathers the answer.
    pub(crate) async fn bytes(&self, call: Call) -> Outcome<Bytes> {
        let answer = self.send(call).await?;
        answer.into_body().collect().await.map(http_body_util::Collected::to_bytes).map_err(broken)
    }

    /// Sends a request whose answer is of no interest.
    pub(crate) async fn done(&self, call: Call) -> Outcome<StatusCode> {
        let answer = self.send(call).await?;
        let status = answer.status();
        answer.into_body().collect().await.map_err(broken)?;
        Ok(status)
    }

    /// Sends a request and takes the connection over for a two-way stream.
    pub(crate) async fn upgrade(&self, call: Call) -> Outcome<Upgraded> {
        let answer = self.exchange(call.header("connection", "Upgrade").header("upgrade", "tcp")).await?;
        if answer.status().is_client_error() || answer.status().is_server_error() {
            return Err(refusal(answer).await);
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(broken)?;
        let parts = upgraded.downcast::<TokioIo<Wire>>().map_err(|_| Failure::new("the connection is of an unexpected kind"))?;
        Ok(Upgraded { wire: parts.io.into_inner(), already_read: parts.read_buf })
    }

    async fn exchange(&self, call: Call) -> Outcome<Answer> {
        let mut request = self.request(call)?;
        if let Some(mut sender) = self.take_idle().await {
            match sender.try_send_request(request).await {
                Ok(answer) => return Ok(self.keep(sender, answer)),
                Err(mut error) => match error.take_message() {
                    // The daemon has closed it meanwhile, and nothing was sent.
                    Some(unsent) => request = unsent,
                    None => return Err(broken(error.into_error())),
                },
            }
        }
        let wire = self.target.connect().await?;
        let (mut sender, connection) = handshake(TokioIo::new(wire)).await.map_err(broken)?;
        tokio::spawn(connection.with_upgrades());
        let answer = sender.send_request(request).await.map_err(broken)?;
        Ok(self.keep(sender, answer))
    }

    fn keep(&self, sender: Sender, answer: Answer) -> Answer {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        answer
    }

    /// The kept connection, unless its last answer is still being read or it was taken over.
    async fn take_idle(&self) -> Option<Sender> {
        let sender = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        if !sender.is_ready() {
            // The task of the connection may just not have come to notice the end of the answer.
            tokio::task::yield_now().await;
        }
        sender.is_ready().then_some(sender)
    }

    fn request(&self, call: Call) -> Outcome<Request<RequestBody>> {
        let version = self.version.as_ref().map(|version| format!("/v{}", version.trim_start_matches('v'))).unwrap_or_default();
        let prefix = if call.path.starts_with("/shipway/") || call.path == "/_ping" { "" } else { version.as_str() };
        let mut builder = Request::builder()
            .method(call.method)
            .uri(format!("{prefix}{}{}", call.path, call.query))
            .header(header::HOST, if let Host::Tcp(address) = &self.target.host { address.as_str() } else { "docker" })
            .header(header::USER_AGENT, concat!("shipway/", env!("CARGO_PKG_VERSION"), " (linux)"));
        for (name, value) in call.headers {
            builder = builder.header(name, value);
        }
        let body = match call.body {
            Body::None => Full::new(Bytes::new()).map_err(|never| match never {}).boxed(),
            Body::Json(value) => {
                builder = builder.header(header::CONTENT_TYPE, "application/json");
                Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed()
            }
            Body::Stream { content_type, mut chunks } => {
                builder = builder.header(header::CONTENT_TYPE, content_type);
                let stream = futures_util::stream::poll_fn(move |context| chunks.poll_recv(context)).map(|chunk| chunk.map(Frame::data));
                http_body_util::BodyExt::boxed(StreamBody::new(stream))
            }
        };
        builder.body(body).map_err(|error| Failure::new(format!("cannot form the request: {error}")))
    }
}

/// A connection taken over.
pub(crate) struct Upgraded {
    /// The bare connection.
    pub(crate) wire: Wire,
    /// Bytes that came together with the head of the answer.
    pub(crate) already_read: Bytes,
}

/// Turns a failed answer into the failure it describes.
async fn refusal(answer: Answer) -> Failure {
    let status = answer.status();
    let mut text = Vec::new();
    let mut body = answer.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(piece) = frame.into_data() {
            text.extend_from_slice(&piece);
        }
        if text.len() > LONGEST_ERROR {
            break;
        }
    }
    let parsed: Option<Value> = serde_json::from_slice(&text).ok();
    let field = |name: &str| parsed.as_ref().and_then(|value| value.get(name)).and_then(Value::as_str).map(str::to_owned);
    let message = field("message").unwrap_or_else(|| {
        let raw = String::from_utf8_lossy(&text).trim().to_owned();
        if raw.is_empty() { format!("the request failed with status {status}") } else { raw }
    });
    Failure::daemon(status.as_u16(), message.trim_end(), field("hint"))
}

/// The connection broke in the middle.
pub(crate) fn broken(error: hyper::Error) -> Failure {
    use std::error::Error as _;
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    Failure::new(format!("the connection to the daemon broke: {error}{cause}"))
}

/// Escapes text for a query, as Go's `url.QueryEscape` does.
pub(crate) fn query_escape(text: &str) -> String {
    escape(text, true)
}

/// Escapes one segment of a path; slashes stay, because image names have them.
pub(crate) fn path_escape(text: &str) -> String {
    escape(text, false)
}

fn escape(text: &str, query: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b'/' | b':' | b'@' if !query => out.push(char::from(byte)),
            b' ' if query => out.push('+'),
            byte => {
                out.push('%');
                for nibble in [byte >> 4, byte & 15] {
                    out.push(char::from(if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 }));
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_paths_are_escaped() {
        assert_eq!(query_escape("{\"a\": [1]}"), "%7B%22a%22%3A+%5B1%5D%7D");
        assert_eq!(path_escape("host:5000/a/b@sha256:x?y"), "host:5000/a/b@sha256:x%3Fy");
        assert_eq!(Call::get("/x").query("a", "1 2").flag("b", true).flag("c", false).query, "?a=1+2&b=1");
    }
}
