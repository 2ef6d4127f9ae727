//! What requests carry: nothing, bytes, or a stream; and waiting for an answer while they are carried.
//!
//! What must stay true: waiting has an end even when a server neither reads nor answers; a large upload that moves on is never given up.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::Error;
use crate::error::Stage;

/// The body of a request.
#[derive(Default)]
pub enum Upload {
    #[default]
    Empty,
    /// Bytes in memory; they can be sent again.
    Bytes(Bytes),
    /// Bytes as they come, and their number where it is known; they are sent once.
    Stream(BoxStream<'static, io::Result<Bytes>>, Option<u64>),
}

impl Upload {
    /// A copy to send, where that is possible.
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Bytes(bytes) => Some(Self::Bytes(bytes.clone())),
            Self::Stream(..) => None,
        }
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => out.write_str("Empty"),
            Self::Bytes(bytes) => write!(out, "{} bytes", bytes.len()),
            Self::Stream(_, size) => write!(out, "a stream of {size:?} bytes"),
        }
    }
}

/// An upload as hyper takes it.
pub(super) struct RequestBody {
    upload: Upload,
    left: Option<u64>,
    moved: Moved,
}

/// When the body last moved on, in milliseconds since the first question; shared with who waits for the answer.
#[derive(Clone, Default)]
struct Moved(Arc<AtomicU64>);

impl Moved {
    fn now() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn touch(&self) {
        self.0.store(Self::now(), Ordering::Relaxed);
    }

    fn rests_for(&self) -> Duration {
        Duration::from_millis(Self::now().saturating_sub(self.0.load(Ordering::Relaxed)))
    }
}

/// The other half of a body: waits for the answer to the request that carries it.
pub(super) struct Sending(Moved);

impl Sending {
    pub(super) fn start(upload: Upload) -> (RequestBody, Self) {
        let moved = Moved::default();
        moved.touch();
        let left = match &upload {
            Upload::Empty => Some(0),
            Upload::Bytes(bytes) => Some(bytes.len() as u64),
            Upload::Stream(_, size) => *size,
        };
        (RequestBody { upload, left, moved: moved.clone() }, Self(moved))
    }

    /// Waits for `answer`, at most `limit` after the body last moved.
    pub(super) async fn answered<T>(
        self,
        limit: Duration,
        stage: Stage,
        host: &str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut answer = std::pin::pin!(answer);
        loop {
            let wait = limit.saturating_sub(self.0.rests_for());
            if wait.is_zero() {
                return Err(Error::TimedOut { stage, host: host.to_owned(), limit });
            }
            if let Ok(result) = tokio::time::timeout(wait, &mut answer).await {
                return result;
            }
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let next = match &mut this.upload {
            Upload::Empty => None,
            Upload::Bytes(bytes) => {
                Some(Ok(std::mem::take(bytes))).filter(|piece| piece.as_ref().is_ok_and(|piece: &Bytes| !piece.is_empty()))
            }
            Upload::Stream(stream, _) => match stream.poll_next_unpin(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(piece) => piece,
            },
        };
        this.moved.touch();
        if let (Some(Ok(piece)), Some(left)) = (&next, &mut this.left) {
            *left = left.saturating_sub(piece.len() as u64);
        }
        if next.is_none() {
            this.upload = Upload::Empty;
        }
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.upload {
            Upload::Empty => true,
            Upload::Bytes(bytes) => bytes.is_empty(),
            Upload::Stream(..) => self.left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}
