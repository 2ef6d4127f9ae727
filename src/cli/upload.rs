//! Bytes between files here and bodies of requests and answers: tars made while they are sent, answers saved under a name of their own.
//!
//! What must stay true: a file that is being saved appears under its name only when it is whole; a body is never held in memory.

use super::client::{Answer, broken};
use super::exit::{Failure, Outcome, words};
use super::output;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use std::io::{self, Read as _, Write};
use std::path::Path;
use tokio::sync::mpsc;

/// Pieces of this size travel.
const PIECE: usize = 256 << 10;
/// Pieces on their way at most.
const IN_FLIGHT: usize = 8;

/// A body under way.
pub(crate) type Chunks = mpsc::Receiver<io::Result<Bytes>>;

/// Refuses to pour a tar onto a terminal.
pub(crate) fn refuse_terminal(path: Option<&str>) -> Outcome {
    if path.is_none() && output::is_terminal() {
        return Err(Failure::new("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    Ok(())
}

/// Writes an answer's body to a file, or to standard output.
pub(crate) async fn save(answer: Answer, path: Option<&str>) -> Outcome {
    let mut body = answer.into_body();
    let Some(path) = path else {
        while let Some(frame) = body.frame().await {
            if let Ok(piece) = frame.map_err(broken)?.into_data() {
                output::bytes(&piece)?;
            }
        }
        return Ok(());
    };
    let target = Path::new(path);
    if target.is_dir() {
        return Err(
            Failure::new(format!("\"{path}\" is a directory")).hint(format!("name a file: {}/image.tar", path.trim_end_matches('/')))
        );
    }
    let staged = target.with_file_name(format!(".{}.{}", target.file_name().unwrap_or_default().to_string_lossy(), std::process::id()));
    let outcome = save_staged(&mut body, &staged, target).await;
    if outcome.is_err() {
        // What is left of a failed save is nobody's file.
        let _ = std::fs::remove_file(&staged);
    }
    outcome
}

async fn save_staged(body: &mut hyper::body::Incoming, staged: &Path, target: &Path) -> Outcome {
    let mut file =
        std::fs::File::create(staged).map_err(|error| Failure::new(format!("cannot write \"{}\": {error}", target.display())))?;
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(broken)?.into_data() {
            file.write_all(&piece)?;
        }
    }
    std::fs::rename(staged, target).map_err(|error| Failure::new(format!("cannot write \"{}\": {error}", target.display())))
}

/// Standard input as a body.
pub(crate) fn standard_input() -> Chunks {
    made_by("standard-input", |out| {
        let mut input = io::stdin().lock();
        let mut buffer = vec![0; PIECE];
        loop {
            match input.read(&mut buffer)? {
                0 => return Ok(()),
                length => out.write_all(&buffer[..length])?,
            }
        }
    })
}

/// A file as a body.
pub(crate) fn file(path: &str) -> Outcome<Chunks> {
    let mut source = std::fs::File::open(path).map_err(|error| Failure::new(format!("open {path}: {}", words(&error))))?;
    if source.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Failure::new(format!("\"{path}\" is a directory, not a file")));
    }
    Ok(made_by("file-reader", move |out| {
        let mut buffer = vec![0; PIECE];
        loop {
            match source.read(&mut buffer)? {
                0 => return Ok(()),
                length => out.write_all(&buffer[..length])?,
            }
        }
    }))
}

/// A body some work on a thread of its own writes; a failure there ends the request.
pub(crate) fn made_by(name: &str, work: impl FnOnce(&mut ChunkWriter) -> io::Result<()> + Send + 'static) -> Chunks {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let failed = sender.clone();
    let run = move || {
        let mut out = ChunkWriter { sender, held: Vec::with_capacity(PIECE) };
        let outcome = work(&mut out).and_then(|()| out.flush());
        if let Err(error) = outcome {
            // The other side is gone when this fails, and then nobody waits for the news.
            let _ = out.sender.blocking_send(Err(error));
        }
    };
    if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(run) {
        let _ = failed.try_send(Err(error));
    }
    receiver
}

/// Gathers small writes into pieces.
pub(crate) struct ChunkWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    held: Vec<u8>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.held, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(Bytes::from(piece))).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// An answer's body as something to read on another thread.
pub(crate) struct BodyReader {
    receiver: mpsc::Receiver<Bytes>,
    held: Bytes,
}

impl io::Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.held = piece,
                None => return Ok(0),
            }
        }
        let length = self.held.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.held.split_to(length));
        Ok(length)
    }
}

/// Runs blocking work over an answer's body.
pub(crate) async fn read_on_thread<T: Send + 'static>(
    answer: Answer,
    work: impl FnOnce(BodyReader) -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let working = tokio::task::spawn_blocking(move || work(BodyReader { receiver, held: Bytes::new() }));
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(broken)?.into_data()
            && !piece.is_empty()
            && sender.send(piece).await.is_err()
        {
            break;
        }
    }
    drop(sender);
    working.await.map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?
}
