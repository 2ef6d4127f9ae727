//! Where the tar bytes of a scan go: to SHA-256, and to the output as they pass.
//!
//! What must stay true: small layers never start a thread; large ones hash on one of their own, with a bounded number of buffers between.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use shipway_model::digest::{Digest, Sha256Hasher};

use crate::Error;

/// Bytes handed over at once, and the size up to which no thread is started.
const BUFFER: usize = 1 << 20;

/// Buffers under way; more would only use memory, since the hash is the slower side.
const BUFFERS: usize = 4;

/// The sink.
pub(super) struct HashingSink<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
    hashing: Hashing,
}

enum Hashing {
    /// The first buffer is not full yet.
    Undecided,
    Here(Sha256Hasher),
    There { full: SyncSender<Vec<u8>>, empty: Receiver<Vec<u8>>, thread: JoinHandle<Digest> },
    Over,
}

impl<'a> HashingSink<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        HashingSink { out, buffer: Vec::with_capacity(BUFFER), hashing: Hashing::Undecided }
    }

    /// The digest of everything written.
    pub(super) fn finish(mut self) -> Result<Digest, Error> {
        self.out.write_all(&self.buffer).map_err(Error::Write)?;
        self.out.flush().map_err(Error::Write)?;
        match std::mem::replace(&mut self.hashing, Hashing::Over) {
            Hashing::Undecided => Ok(Digest::sha256_of(&self.buffer)),
            Hashing::Here(mut hasher) => {
                hasher.update(&self.buffer);
                Ok(hasher.finish())
            }
            Hashing::There { full, thread, .. } => {
                full.send(std::mem::take(&mut self.buffer)).map_err(|_| gone())?;
                drop(full);
                thread.join().map_err(|_| gone())
            }
            Hashing::Over => Err(gone()),
        }
    }

    fn hand_over(&mut self) -> Result<(), Error> {
        self.out.write_all(&self.buffer).map_err(Error::Write)?;
        if matches!(self.hashing, Hashing::Undecided) {
            self.hashing = start();
        }
        match &mut self.hashing {
            Hashing::There { full, empty, .. } => {
                let fresh = empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(BUFFER));
                full.send(std::mem::replace(&mut self.buffer, fresh)).map_err(|_| gone())
            }
            Hashing::Here(hasher) => {
                hasher.update(&self.buffer);
                self.buffer.clear();
                Ok(())
            }
            Hashing::Undecided | Hashing::Over => Err(gone()),
        }
    }
}

/// Puts the hashing on a thread; where none is to be had it stays here.
fn start() -> Hashing {
    let (full, incoming) = sync_channel::<Vec<u8>>(BUFFERS);
    let (outgoing, empty) = sync_channel::<Vec<u8>>(BUFFERS + 2);
    let work = move || {
        let mut hasher = Sha256Hasher::new();
        while let Ok(mut buffer) = incoming.recv() {
            hasher.update(&buffer);
            buffer.clear();
            // When nobody takes it back the buffer is simply freed.
            let _ = outgoing.try_send(buffer);
        }
        hasher.finish()
    };
    match std::thread::Builder::new().name("layer-sha256".to_owned()).spawn(work) {
        Ok(thread) => Hashing::There { full, empty, thread },
        Err(_) => Hashing::Here(Sha256Hasher::new()),
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
