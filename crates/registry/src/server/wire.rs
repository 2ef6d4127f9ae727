//! Files to sockets without a copy: how a blob's bytes go from the page cache to a plain connection by sendfile(2), below hyper.
//!
//! hyper writes what a body gives it, and a body can only give memory. So the body of a file gives pieces of one region of memory that nobody ever
//! reads, the [`window`], and notes in the connection's [`Outbox`] which bytes of which file each piece stands for. The [`Wire`] under hyper knows a
//! piece by its address and sends the file's bytes in its place. hyper's framing, keep-alive and flow of control stay as they are.
//!
//! What must stay true: only bodies made for a connection whose wire is a [`Wire`] give pieces of the window; hyper hands vectored writers the memory
//! it was given and copies none of it (`http1::Builder::writev(true)`); pieces and notes come in the same order, because HTTP/1 answers do.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that one piece stands for at most: enough that the call costs nothing beside the copying, little enough that connections take turns.
const WINDOW: usize = 4 << 20;

/// Zeroed memory that is never touched, so that it has no pages.
fn window() -> &'static [u8] {
    static REGION: LazyLock<&'static [u8]> = LazyLock::new(|| Box::leak(vec![0; WINDOW].into_boxed_slice()));
    *REGION
}

fn is_window(piece: &[u8]) -> bool {
    window().as_ptr_range().contains(&piece.as_ptr())
}

/// What the pieces of the window on their way through one connection stand for.
#[derive(Default)]
pub(super) struct Outbox(Mutex<VecDeque<Segment>>);

struct Segment {
    file: Arc<File>,
    offset: u64,
    left: usize,
}

impl Outbox {
    /// A piece that stands for at most `length` bytes of `file` from `offset`.
    pub(super) fn piece(&self, file: &Arc<File>, offset: u64, length: u64) -> Bytes {
        let length = usize::try_from(length).unwrap_or(WINDOW).min(WINDOW);
        self.lock().push_back(Segment { file: Arc::clone(file), offset, left: length });
        Bytes::from_static(&window()[..length])
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A plain connection that can send files.
pub(super) struct Wire {
    stream: TcpStream,
    outbox: Arc<Outbox>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, outbox: Arc::default() }
    }

    pub(super) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Sends at most `limit` bytes of what is next in the outbox.
    fn poll_send_file(&self, context: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            let mut segments = self.outbox.lock();
            let Some(segment) = segments.front_mut() else {
                return Poll::Ready(Err(io::Error::other("a piece of a file has no note in the outbox")));
            };
            let mut offset = segment.offset;
            let count = limit.min(segment.left);
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                rustix::fs::sendfile(self.stream.as_fd(), &segment.file, Some(&mut offset), count).map_err(io::Error::from)
            });
            match sent {
                // Somebody cut the file: nothing honest can follow the length that was promised.
                Ok(0) => return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof))),
                Ok(sent) => {
                    segment.offset += sent as u64;
                    segment.left -= sent;
                    if segment.left == 0 {
                        segments.pop_front();
                    }
                    return Poll::Ready(Ok(sent));
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        if !piece.is_empty() && is_window(piece) {
            return self.poll_send_file(context, piece.len());
        }
        Pin::new(&mut self.stream).poll_write(context, piece)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Some(first) = pieces.iter().position(|piece| !piece.is_empty()) else { return Poll::Ready(Ok(0)) };
        if is_window(&pieces[first]) {
            return self.poll_send_file(context, pieces[first].len());
        }
        let plain = pieces[first..].iter().take_while(|piece| piece.is_empty() || !is_window(piece)).count();
        Pin::new(&mut self.stream).poll_write_vectored(context, &pieces[first..first + plain])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
