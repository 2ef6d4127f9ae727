//! One connection from its first byte to its last.
//!
//! What must stay true: heads are bounded in size and time; a panic ends its request, not the server; a server that stops lets requests finish.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use http::Request;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::Registry;
use super::reply::{self, Reply};
use super::wire::Outbox;
use crate::codes::Refusal;

/// Head of a request at most. Also how much of a body hyper reads at once.
const HEAD_LIMIT: usize = 64 * 1024;
/// Headers of a request at most.
const HEADER_COUNT: usize = 64;
/// How long a head may take, and how long a connection may rest between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves `stream` until it ends or `stop` is cancelled.
pub(super) async fn run<S>(registry: Arc<Registry>, stream: S, outbox: Option<Arc<Outbox>>, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    registry.metrics.connections.fetch_add(1, Ordering::Relaxed);
    let service = {
        let registry = Arc::clone(&registry);
        service_fn(move |request: Request<Incoming>| {
            let (registry, outbox) = (Arc::clone(&registry), outbox.clone());
            // Boxed: the service must be Unpin, and the future of all questions is large.
            Box::pin(async move { Ok::<Reply, Infallible>(guarded(&registry, request, outbox).await) })
        })
    };
    let connection = http1::Builder::new()
        .keep_alive(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADER_COUNT)
        .max_buf_size(HEAD_LIMIT)
        // Files are sent by the address of what hyper is given (see `wire`), so it must not gather small pieces.
        .writev(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended badly");
    }
    registry.metrics.connections.fetch_sub(1, Ordering::Relaxed);
}

/// Answers one request; a panic in it becomes a 500.
async fn guarded(registry: &Registry, request: Request<Incoming>, outbox: Option<Arc<Outbox>>) -> Reply {
    let line = format!("{} {}", request.method(), request.uri().path());
    match AssertUnwindSafe(registry.answer(request, outbox)).catch_unwind().await {
        Ok(reply) => reply,
        Err(_) => {
            let mut reply = reply::refusal(Refusal::internal("answering", &format!("{line} panicked")));
            // Whatever the request left behind on this connection is not trusted.
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            reply
        }
    }
}
