//! Answers: a status, headers, and a body that is nothing, a text, or a stream produced while it is sent.
//!
//! What must stay true: a stream's producer is polled by whoever sends the body and dies with it, so no task outlives its connection unseen.

use std::any::Any;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::socket::Socket;

/// What every route gives back.
pub type Answer = Response<AnswerBody>;

/// JSON answers of Docker carry no charset.
pub const JSON: &str = "application/json";

/// How many pieces a producer may be ahead of the socket.
const AHEAD: usize = 16;

/// The body of an answer.
pub struct AnswerBody {
    content: Content,
    /// Lives as long as the body: marks the daemon as busy.
    keep: Option<Box<dyn Any + Send>>,
}

enum Content {
    Empty,
    Full(Bytes),
    Stream(Box<Streaming>),
}

/// A body that is made while it is sent.
struct Streaming {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    producer: Option<BoxFuture<'static, ()>>,
    /// Ends the stream when the client has left though nothing is being written.
    gone: Option<BoxFuture<'static, ()>>,
}

/// Where the producer of a streamed body puts its pieces.
#[derive(Debug, Clone)]
pub struct Sink(mpsc::Sender<io::Result<Bytes>>);

/// The body is not being sent any more.
#[derive(Debug, Clone, Copy)]
pub struct SinkClosed;

impl Sink {
    /// Hands over one piece, waiting while the client is slow.
    pub async fn send(&self, piece: impl Into<Bytes>) -> Result<(), SinkClosed> {
        self.0.send(Ok(piece.into())).await.map_err(|_| SinkClosed)
    }

    /// Breaks the stream off, so that the client sees an unfinished body instead of a short one.
    pub async fn fail(&self, error: io::Error) {
        // Nobody reads any more: then nobody needs to be told.
        let _ = self.0.send(Err(error)).await;
    }
}

impl AnswerBody {
    /// No bytes at all.
    pub fn empty() -> Self {
        Content::Empty.into()
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Content::Full(bytes.into()).into()
    }

    /// What arrives on `pieces`, until the channel closes.
    pub fn channel(pieces: mpsc::Receiver<io::Result<Bytes>>, client: &Socket) -> Self {
        Content::Stream(Box::new(Streaming { pieces, producer: None, gone: Some(until_gone(client)) })).into()
    }

    /// What `producer` puts into its sink. Dropped unfinished when the client leaves.
    pub fn produced<F, P>(client: &Socket, producer: P) -> Self
    where
        P: FnOnce(Sink) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, pieces) = mpsc::channel(AHEAD);
        let producer: BoxFuture<'static, ()> = Box::pin(producer(Sink(sender)));
        Content::Stream(Box::new(Streaming { pieces, producer: Some(producer), gone: Some(until_gone(client)) })).into()
    }

    /// Keeps `value` alive until the body has been sent.
    pub fn keep(mut self, value: impl Any + Send) -> Self {
        self.keep = Some(Box::new(value));
        self
    }
}

impl From<Content> for AnswerBody {
    fn from(content: Content) -> Self {
        Self { content, keep: None }
    }
}

fn until_gone(client: &Socket) -> BoxFuture<'static, ()> {
    let client = client.clone();
    Box::pin(async move { client.gone().await })
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.content {
            Content::Empty => Poll::Ready(None),
            Content::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.content = Content::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Content::Stream(stream) => stream.poll_piece(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Full(bytes) => bytes.is_empty(),
            Content::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

impl Streaming {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(producer) = &mut self.producer
            && producer.as_mut().poll(cx).is_ready()
        {
            // Its sink is dropped with it: the channel closes once it is drained.
            self.producer = None;
        }
        match self.pieces.poll_recv(cx) {
            Poll::Ready(Some(piece)) => return Poll::Ready(Some(piece.map(Frame::data))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if let Some(gone) = &mut self.gone
            && gone.as_mut().poll(cx).is_ready()
        {
            self.gone = None;
            self.producer = None;
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client went away"))));
        }
        Poll::Pending
    }
}

/// An answer without a body.
pub fn status(status: StatusCode) -> Answer {
    with_body(status, AnswerBody::empty())
}

/// A JSON document, with the line end that Docker writes after it.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            typed(status, JSON, AnswerBody::full(text))
        }
        Err(error) => {
            tracing::error!(%error, "an answer has no JSON form");
            with_body(StatusCode::INTERNAL_SERVER_ERROR, AnswerBody::empty())
        }
    }
}

/// A JSON document with status 200.
pub fn ok<T: Serialize>(value: &T) -> Answer {
    json(StatusCode::OK, value)
}

/// A body of a media type.
pub fn typed(status: StatusCode, media_type: &'static str, body: AnswerBody) -> Answer {
    let mut answer = with_body(status, body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

fn with_body(status: StatusCode, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}
