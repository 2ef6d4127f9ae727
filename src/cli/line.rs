//! The line between two engines that exchange images: bytes between the daemon here and a program or a pipe that leads to the other side.
//!
//! What must stay true: both directions move by themselves, so that neither side waits for the other in vain; the end of one is passed on.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;
use shipway_wire::stream::{Channel, FrameDecoder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::client::Upgraded;
use super::exit::{Failure, Outcome};
use super::json_stream::failure_in;

/// Pieces on their way at most, and their size.
const IN_FLIGHT: usize = 4;
const PIECE: usize = 256 << 10;

/// How an exchange ended.
pub(crate) struct Ended {
    /// The daemon's last word, or its failure.
    pub(crate) outcome: Outcome<Value>,
    /// Bytes that came from the other side.
    pub(crate) came: u64,
}

/// Carries bytes until the daemon has ended; `show` gets what it tells meanwhile.
pub(crate) async fn carry(
    upgraded: Upgraded,
    mut from_other: mpsc::Receiver<Vec<u8>>,
    to_other: mpsc::Sender<Vec<u8>>,
    mut show: impl FnMut(&Value) -> Outcome,
) -> Ended {
    let (mut from_daemon, mut to_daemon) = tokio::io::split(upgraded.wire);
    let came = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&came);
    let upward = tokio::spawn(async move {
        while let Some(piece) = from_other.recv().await {
            counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
            if to_daemon.write_all(&piece).await.is_err() {
                break;
            }
        }
        // The daemon may have gone already; then there is nobody to tell.
        let _ = to_daemon.shutdown().await;
    });
    let mut sorter = Sorter { decoder: FrameDecoder::new(), bytes: Vec::new(), words: Vec::new(), last: None };
    let mut to_other = Some(to_other);
    let mut buffer = vec![0; PIECE];
    let mut read = upgraded.already_read.to_vec();
    let outcome = loop {
        let sorted = sorter.sort(&read, &mut show);
        let piece = std::mem::take(&mut sorter.bytes);
        if let Some(sender) = &to_other
            && !piece.is_empty()
            && sender.send(piece).await.is_err()
        {
            // The other side is gone; the daemon hears of it by the end of what comes from there.
            to_other = None;
        }
        if let Err(failure) = sorted {
            break Err(failure);
        }
        match from_daemon.read(&mut buffer).await {
            Ok(0) => break sorter.last.take().ok_or_else(|| Failure::new("the daemon ended the exchange without a word")),
            Ok(length) => read = buffer[..length].to_vec(),
            Err(error) => break Err(Failure::new(format!("the connection to the daemon broke: {error}"))),
        }
    };
    upward.abort();
    Ended { outcome, came: came.load(Ordering::Relaxed) }
}

/// Sorts what the daemon sends into bytes for the other side and words for us.
struct Sorter {
    decoder: FrameDecoder,
    bytes: Vec<u8>,
    words: Vec<u8>,
    last: Option<Value>,
}

impl Sorter {
    fn sort(&mut self, read: &[u8], show: &mut impl FnMut(&Value) -> Outcome) -> Outcome {
        let (bytes, words) = (&mut self.bytes, &mut self.words);
        let sorted = self.decoder.feed(read, |channel, piece| match channel {
            Channel::Output => bytes.extend_from_slice(piece),
            Channel::Error => words.extend_from_slice(piece),
            Channel::Input | Channel::System => {}
        });
        sorted.map_err(|error| Failure::new(format!("cannot understand the daemon's stream: {error}")))?;
        while let Some(end) = self.words.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.words.drain(..=end).collect();
            let value: Value =
                serde_json::from_slice(&line).map_err(|error| Failure::new(format!("cannot understand the daemon's stream: {error}")))?;
            if let Some(failure) = failure_in(&value) {
                return Err(failure);
            }
            match value.get("aux") {
                Some(last) => self.last = Some(last.clone()),
                None => show(&value)?,
            }
        }
        Ok(())
    }
}

/// What comes out of `input`, read by a thread of its own; the channel closes at its end.
pub(crate) fn reader(mut input: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let work = move || {
        let mut buffer = vec![0; PIECE];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) if sender.blocking_send(buffer[..length].to_vec()).is_ok() => {}
                Ok(_) => return,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    };
    // Without the thread the channel is closed at once, and the exchange ends as if the other side had left.
    drop(std::thread::Builder::new().name("line-reader".to_owned()).spawn(work));
    receiver
}

/// A way into `output`, written by a thread of its own, which ends when the sender is dropped.
pub(crate) fn writer(mut output: impl Write + Send + 'static) -> (mpsc::Sender<Vec<u8>>, Option<JoinHandle<()>>) {
    let (sender, mut receiver) = mpsc::channel::<Vec<u8>>(IN_FLIGHT);
    let work = move || {
        while let Some(piece) = receiver.blocking_recv() {
            if output.write_all(&piece).and_then(|()| output.flush()).is_err() {
                return;
            }
        }
    };
    (sender, std::thread::Builder::new().name("line-writer".to_owned()).spawn(work).ok())
}
