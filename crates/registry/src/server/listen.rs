//! Accepting: sockets, TLS handshakes, one task per connection, and patience when the machine is out of descriptors.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Registry;
use super::connection;
use super::tls::Identity;
use super::wire::Wire;
use crate::codes::{Code, Refusal};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How much is read of a request that came without TLS.
const REQUEST: u64 = 64 * 1024;
/// Pause after an accept that failed for lack of resources.
const PAUSE: Duration = Duration::from_millis(100);
/// How long connections may finish what they are doing after the order to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Why a registry cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: {source}")]
    Bind { address: String, source: io::Error },
}

/// A socket that a registry is served on.
pub struct Listening {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    /// Serves numbers instead of the registry.
    is_metrics: bool,
}

impl Listening {
    /// Binds `address` (`host:port`), secured when there is an identity.
    ///
    /// # Errors
    /// `Bind`.
    pub async fn bind(address: &str, identity: Option<&Identity>) -> Result<Self, ServeError> {
        // Many programs take a port alone for every address of the machine.
        let everywhere = address.strip_prefix(':').map(|port| format!("0.0.0.0:{port}"));
        let listener = TcpListener::bind(everywhere.as_deref().unwrap_or(address)).await;
        let listener = listener.map_err(|source| ServeError::Bind { address: address.to_owned(), source })?;
        Ok(Self { listener, acceptor: identity.map(Identity::acceptor), is_metrics: false })
    }

    /// Binds `address` for the registry's numbers.
    ///
    /// # Errors
    /// `Bind`.
    pub async fn bind_metrics(address: &str) -> Result<Self, ServeError> {
        Ok(Self { is_metrics: true, ..Self::bind(address, None).await? })
    }

    /// Where it listens; the port is known now.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }
}

/// Serves `registry` on all sockets until `stop` is cancelled, then lets connections finish, for a while.
pub async fn serve(registry: Arc<Registry>, sockets: Vec<Listening>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    // Gone with this future, so that nobody accepts for a server that was given up.
    let mut acceptors = JoinSet::new();
    for socket in sockets {
        acceptors.spawn(accept_all(Arc::clone(&registry), socket, Arc::clone(&places), connections.clone(), stop.clone()));
    }
    while acceptors.join_next().await.is_some() {}
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections did not end in time; closing them");
    }
}

async fn accept_all(registry: Arc<Registry>, socket: Listening, places: Arc<Semaphore>, connections: TaskTracker, stop: CancellationToken) {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone at once");
            continue;
        }
        let (registry, acceptor, stop) = (Arc::clone(&registry), socket.acceptor.clone(), stop.clone());
        let is_metrics = socket.is_metrics;
        connections.spawn(async move {
            match acceptor {
                _ if is_metrics => serve_metrics(&registry, stream, stop).await,
                None => {
                    let wire = Wire::new(stream);
                    let outbox = wire.outbox();
                    connection::run(registry, wire, Some(outbox), stop).await;
                }
                Some(acceptor) => secured(registry, acceptor, stream, stop).await,
            }
            drop(place);
        });
    }
}

async fn secured(registry: Arc<Registry>, acceptor: TlsAcceptor, stream: TcpStream, stop: CancellationToken) {
    let handshake = async {
        let mut first = [0];
        // A handshake begins with the byte 22 (RFC 8446, section 5.1), a request without one with a letter.
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic() {
            return tell_of_tls(stream).await.map(|()| None);
        }
        acceptor.accept(stream).await.map(Some)
    };
    match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(Ok(Some(stream))) => connection::run(registry, stream, None, stop).await,
        Ok(Ok(None)) => tracing::debug!("a request came without TLS"),
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_) => tracing::debug!("a handshake took too long"),
    }
}

/// Answers a request that came without TLS: clients that are told nothing show their users nothing.
async fn tell_of_tls(mut stream: TcpStream) -> io::Result<()> {
    let refusal = Refusal::new(Code::Unsupported, "this registry speaks https, and a request came by http").status(StatusCode::BAD_REQUEST);
    let response = refusal.into_response();
    let (status, body) = (response.status(), response.into_body());
    let head =
        format!("HTTP/1.0 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await?;
    // Closing with the request unread would reset the connection before the answer is read.
    tokio::io::copy(&mut stream.take(REQUEST), &mut tokio::io::sink()).await.map(drop)
}

/// Numbers for whoever may reach this socket, whatever the address.
async fn serve_metrics(registry: &Arc<Registry>, stream: TcpStream, stop: CancellationToken) {
    let service = service_fn(|_request| {
        let mut response = http::Response::new(Full::new(bytes::Bytes::from(registry.metrics())));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE).serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        outcome = connection => {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a connection for metrics ended badly");
            }
        }
        () = stop.cancelled() => {}
    }
}
