//! Bodies of answers: bytes that are there, or a part of a file that is read while it is sent.
//!
//! What must stay true: a file's body holds a bounded piece of it in memory, and none on a connection that can send files.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::at_hand;
use super::wire::Outbox;
use crate::codes::Refusal;

/// Bytes of a file read at once.
const READ: u64 = 128 * 1024;

/// An answer.
pub(super) type Reply = Response<ReplyBody>;

/// The body of an answer.
pub(super) enum ReplyBody {
    /// These bytes.
    Whole(Bytes),
    /// A part of a file.
    Part(Part),
}

/// A part of a file on its way out.
pub(super) struct Part {
    file: Arc<File>,
    offset: u64,
    left: u64,
    /// Where the connection can send files.
    outbox: Option<Arc<Outbox>>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl ReplyBody {
    pub(super) fn empty() -> Self {
        Self::Whole(Bytes::new())
    }

    pub(super) fn part(file: File, offset: u64, length: u64, outbox: Option<Arc<Outbox>>) -> Self {
        if let Some(bytes) = at_hand::part(&file, offset, length) {
            // It goes out with the head, in one write.
            return Self::Whole(bytes.into());
        }
        // Worth a call only where the kernel reads ahead in several steps.
        if length > READ {
            // Advice: what cannot follow it changes nothing but speed.
            let _ = rustix::fs::fadvise(&file, offset, std::num::NonZeroU64::new(length), rustix::fs::Advice::Sequential);
        }
        Self::Part(Part { file: Arc::new(file), offset, left: length, outbox, reading: None })
    }
}

/// An answer with a status and nothing else yet.
pub(super) fn status(status: http::StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = status;
    reply
}

/// A refusal as an answer.
pub(super) fn refusal(refusal: Refusal) -> Reply {
    let mut reply = refusal.into_response().map(|body| ReplyBody::Whole(Bytes::from(body)));
    let length = HeaderValue::from(reply.body().size_hint().lower());
    reply.headers_mut().insert(CONTENT_LENGTH, length);
    reply
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Part(part) => part.poll_piece(context).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Part(part) => part.left,
        })
    }
}

impl Part {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(outbox) = &self.outbox {
            let piece = outbox.piece(&self.file, self.offset, self.left);
            self.advance(piece.len() as u64);
            return Poll::Ready(Some(Ok(piece)));
        }
        let (file, offset, length) = (Arc::clone(&self.file), self.offset, self.left.min(READ));
        let reading = self.reading.get_or_insert_with(|| tokio::task::spawn_blocking(move || read(&file, offset, length)));
        let outcome = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let piece = outcome.unwrap_or_else(|error| Err(io::Error::other(error)))?;
        self.advance(piece.len() as u64);
        Poll::Ready(Some(Ok(piece)))
    }

    fn advance(&mut self, count: u64) {
        self.offset += count;
        self.left -= count;
    }
}

fn read(file: &File, offset: u64, length: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(Bytes::from(buffer))
}
