//! The one crossing from async code to synchronous floors, bounded, and the pipes that carry streams across it.

use std::io;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use crate::Error;

/// File work waits for the disk rather than computing: more of it than cores may run.
static FILES: Semaphore = Semaphore::const_new(32);

/// Runs synchronous file work `job` on a thread where it may block.
pub async fn files<T, F>(job: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    let _permit = FILES.acquire().await.map_err(|_| Error::internal("the file pool was closed"))?;
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(format!("a file task ended abnormally: {error}"))),
    }
}

/// The writing end of a byte stream whose reader is async: a synchronous writer that waits when the reader is slow.
#[derive(Debug)]
pub struct ChannelWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

/// Bytes gathered before they are handed over: few wake-ups, bounded memory.
const CHUNK: usize = 256 * 1024;

/// A byte stream from synchronous to asynchronous code.
pub fn stream_out() -> (ChannelWriter, mpsc::Receiver<io::Result<Bytes>>) {
    let (sender, receiver) = mpsc::channel(4);
    (ChannelWriter { sender, buffer: Vec::with_capacity(CHUNK) }, receiver)
}

impl ChannelWriter {
    fn hand_over(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(Ok(Bytes::from(full))).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the reader went away"))
    }

    /// Ends the stream with an error that the reader sees.
    pub fn fail(mut self, error: io::Error) {
        let _ = self.hand_over();
        let _ = self.sender.blocking_send(Err(error));
    }

    /// Hands over what is left; dropping without it loses the tail.
    pub fn finish(mut self) -> io::Result<()> {
        self.hand_over()
    }
}

impl io::Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK - self.buffer.len();
        let taken = bytes.len().min(room);
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK {
            self.hand_over()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_over()
    }
}

/// The reading end of a byte stream whose writer is async (a request body): a synchronous reader.
#[derive(Debug)]
pub struct ChannelReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

/// A byte stream from asynchronous to synchronous code.
pub fn stream_in() -> (mpsc::Sender<io::Result<Bytes>>, ChannelReader) {
    let (sender, receiver) = mpsc::channel(8);
    (sender, ChannelReader { receiver, current: Bytes::new() })
}

impl io::Read for ChannelReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(error)) => return Err(error),
                None => return Ok(0),
            }
        }
        let taken = self.current.len().min(out.len());
        out[..taken].copy_from_slice(&self.current.split_to(taken));
        Ok(taken)
    }
}
