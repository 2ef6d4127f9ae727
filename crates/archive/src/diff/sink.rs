//! Where the tar bytes of a scan go: to SHA-256, and to the output as they pass.
//!
//! What must stay true: small layers never start a thread; large ones hash on one of their own, with a bounded number of buffers between.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use shipway_model::digest::{Digest, Sha256Hasher};

use crate::Error;

/// Bytes handed over at once: small enough to be still in the cache when the other thread takes them.
const BUFFER: usize = 256 * 1024;

/// Full buffers hashed here before a thread is worth its start: 1 MiB.
const HASHED_HERE: u32 = 4;

/// Buffers under way; more would only use memory, since the hash is the slower side.
const BUFFERS: usize = 8;

/// The sink.
pub(super) struct HashingSink<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
    hashing: Hashing,
}

enum Hashing {
    /// On the caller's thread; `done` buffers so far.
    Here {
        hasher: Sha256Hasher,
        done: u32,
    },
    There {
        full: SyncSender<Vec<u8>>,
        empty: Receiver<Vec<u8>>,
        thread: JoinHandle<Option<Digest>>,
    },
    Over,
}

impl<'a> HashingSink<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        HashingSink { out, buffer: Vec::with_capacity(BUFFER), hashing: Hashing::Here { hasher: Sha256Hasher::new(), done: 0 } }
    }

    /// The digest of everything written.
    pub(super) fn finish(mut self) -> Result<Digest, Error> {
        self.out.write_all(&self.buffer).map_err(Error::Write)?;
        self.out.flush().map_err(Error::Write)?;
        match std::mem::replace(&mut self.hashing, Hashing::Over) {
            Hashing::Here { mut hasher, .. } => {
                hasher.update(&self.buffer);
                Ok(hasher.finish())
            }
            Hashing::There { full, thread, .. } => {
                full.send(std::mem::take(&mut self.buffer)).map_err(|_| gone())?;
                drop(full);
                thread.join().ok().flatten().ok_or_else(gone)
            }
            Hashing::Over => Err(gone()),
        }
    }

    fn hand_over(&mut self) -> Result<(), Error> {
        self.out.write_all(&self.buffer).map_err(Error::Write)?;
        if let Hashing::Here { done: HASHED_HERE, .. } = self.hashing {
            self.hashing = start(std::mem::replace(&mut self.hashing, Hashing::Over));
        }
        match &mut self.hashing {
            Hashing::There { full, empty, .. } => {
                let fresh = empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(BUFFER));
                full.send(std::mem::replace(&mut self.buffer, fresh)).map_err(|_| gone())
            }
            Hashing::Here { hasher, done } => {
                hasher.update(&self.buffer);
                *done += 1;
                self.buffer.clear();
                Ok(())
            }
            Hashing::Over => Err(gone()),
        }
    }
}

/// Moves the hashing to a thread; where none is to be had it stays here.
fn start(hashing: Hashing) -> Hashing {
    let Hashing::Here { hasher, done } = hashing else { return hashing };
    // The state follows the thread through a channel, because a thread that fails to start would take it along.
    let (state, taken) = sync_channel::<Sha256Hasher>(1);
    let (full, incoming) = sync_channel::<Vec<u8>>(BUFFERS);
    let (outgoing, empty) = sync_channel::<Vec<u8>>(BUFFERS + 2);
    let work = move || {
        let mut hasher = taken.recv().ok()?;
        while let Ok(mut buffer) = incoming.recv() {
            hasher.update(&buffer);
            buffer.clear();
            // When nobody takes it back the buffer is simply freed.
            let _ = outgoing.try_send(buffer);
        }
        Some(hasher.finish())
    };
    match std::thread::Builder::new().name("layer-sha256".to_owned()).spawn(work) {
        Ok(thread) => match state.send(hasher) {
            Ok(()) => Hashing::There { full, empty, thread },
            Err(_) => Hashing::Over,
        },
        Err(_) => Hashing::Here { hasher, done: done + 1 },
    }
}

fn gone() -> Error {
    Error::Write(io::Error::other("the hashing thread is gone"))
}

impl Write for HashingSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == BUFFER {
            self.hand_over().map_err(Error::into_io)?;
        }
        let count = bytes.len().min(BUFFER - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
