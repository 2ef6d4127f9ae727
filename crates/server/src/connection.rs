//! One connection from its first byte to its last: hyper's HTTP/1 state machine, or, once a handler has taken it over, raw bytes.
//!
//! What must stay true: a request whose client has left runs to its end unless it chose to watch for that (a half-made container is worse than a
//! wasted one); a panic ends the request, not the daemon; when the daemon stops, a connection finishes the request it is in and closes.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use shipway_model::ErrorKind;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::error::ApiError;
use crate::hijack::Hijacked;
use crate::request::{Request, Takeover};
use crate::socket::Socket;

/// Head of a request at most, as in Go's server: build arguments and registry credentials travel there.
const HEAD_LIMIT: usize = 1 << 20;
/// Headers of a request at most.
const HEADER_COUNT: usize = 256;
/// How long a head may take, and how long a connection may idle between requests. Longer than the 30 s after which Docker's clients drop idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);

/// What answers requests.
pub trait Application: Send + Sync + 'static {
    /// Answers one request.
    fn answer(self: Arc<Self>, request: Request) -> BoxFuture<'static, Answer>;
}

/// Serves one connection until it ends or `stop` is cancelled.
pub async fn serve(socket: Socket, application: Arc<dyn Application>, stop: CancellationToken) {
    let (sender, takeover) = oneshot::channel::<Takeover>();
    let slot = Arc::new(Mutex::new(Some(sender)));
    let client = socket.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (parts, body) = request.into_parts();
        let request = Request::new(parts, body, client.clone(), Arc::clone(&slot));
        let application = Arc::clone(&application);
        // Boxed: the service must be Unpin, and the future of a large router is large.
        Box::pin(async move { Ok::<_, Infallible>(guarded(application, request).await) })
    });
    let mut connection = http1::Builder::new()
        .half_close(true)
        .keep_alive(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADER_COUNT)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(socket), service);

    let mut stopping = false;
    tokio::pin!(takeover);
    let taken = loop {
        tokio::select! {
            biased;
            Ok(taken) = &mut takeover => break Some(taken),
            outcome = &mut connection => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a connection ended badly");
                }
                break None;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let Some(taken) = taken else { return };
    let parts = connection.into_parts();
    let session = taken(Hijacked::new(parts.io.into_inner(), parts.read_buf));
    tokio::select! {
        () = session => {}
        () = stop.cancelled() => {}
    }
}

/// Answers one request; a panic in it becomes a 500.
async fn guarded(application: Arc<dyn Application>, request: Request) -> Answer {
    let line = format!("{} {}", request.method, request.path);
    let client = request.client.clone();
    match AssertUnwindSafe(application.answer(request)).catch_unwind().await {
        Ok(answer) => answer,
        Err(payload) => {
            let reason = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(request = line, peer = ?client.peer(), reason, "a request panicked");
            let mut answer = ApiError::new(ErrorKind::Internal, format!("internal error: {line} panicked: {reason}")).into_answer();
            // Whatever the request left behind on this connection is not trusted.
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            answer
        }
    }
}
