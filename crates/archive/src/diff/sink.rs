//! Where the tar bytes of a scan go: to SHA-256, and to the output as they pass.
//!
//! What must stay true: small layers never start a thread; large ones hash on one of their own, with a bounded number of buffers between. Bodies are read
//! straight into the buffer that is hashed: between the page cache and the two hashes nothing is copied.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use shipway_model::digest::{Digest, Sha256Hasher};

use crate::Error;

/// Bytes handed over at once: small enough to be still in the cache when the other thread takes them, large enough that waking it costs nothing.
const BUFFER: usize = 512 * 1024;
/// The first buffer: the tar of most steps fits, and memory that is not touched costs nothing.
const FIRST_BUFFER: usize = 32 * 1024;

/// A body that is longer than what is left of a buffer is read in pieces no smaller than this, except its last one.
const SMALLEST_PIECE: usize = 32 * 1024;

/// Full buffers hashed here before a thread is worth its start: 512 KiB.
const HASHED_HERE: u32 = 1;

/// Buffers under way; more would only use memory, since the hash is the slower side.
const BUFFERS: usize = 6;

/// The sink.
pub(super) struct HashingSink<'a> {
    out: &'a mut dyn Write,
    /// The first `filled` bytes are of the tar. The first buffer is short, all others are `BUFFER` long.
    buffer: Vec<u8>,
    filled: usize,
    hashing: Hashing,
}

/// A buffer and how much of it counts.
type Full = (Vec<u8>, usize);

enum Hashing {
    /// On the caller's thread; `done` buffers so far.
    Here {
        hasher: Sha256Hasher,
        done: u32,
    },
    There {
        full: SyncSender<Full>,
        empty: Receiver<Vec<u8>>,
        thread: JoinHandle<Option<Digest>>,
    },
    Over,
}

impl<'a> HashingSink<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        let hashing = Hashing::Here { hasher: Sha256Hasher::new(), done: 0 };
        HashingSink { out, buffer: vec![0; FIRST_BUFFER], filled: 0, hashing }
    }

    /// Where the next bytes of the tar may be put, of which `left` belong together; never empty. Say with [`Self::took`] how many were.
    pub(super) fn room(&mut self, left: u64) -> Result<&mut [u8], Error> {
        let here = self.buffer.len() - self.filled;
        if here == 0 || (here < SMALLEST_PIECE && left > here as u64) {
            self.hand_over()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    /// The first `count` bytes of the room are of the tar now.
    pub(super) fn took(&mut self, count: usize) {
        self.filled = self.buffer.len().min(self.filled + count);
    }

    /// The digest of everything written.
    pub(super) fn finish(mut self) -> Result<Digest, Error> {
        self.out.write_all(&self.buffer[..self.filled]).map_err(Error::Write)?;
        self.out.flush().map_err(Error::Write)?;
        match std::mem::replace(&mut self.hashing, Hashing::Over) {
            Hashing::Here { mut hasher, .. } => {
                hasher.update(&self.buffer[..self.filled]);
                Ok(hasher.finish())
            }
            Hashing::There { full, thread, .. } => {
                full.send((std::mem::take(&mut self.buffer), self.filled)).map_err(|_| gone())?;
                drop(full);
                thread.join().ok().flatten().ok_or_else(gone)
            }
            Hashing::Over => Err(gone()),
        }
    }

    fn hand_over(&mut self) -> Result<(), Error> {
        self.out.write_all(&self.buffer[..self.filled]).map_err(Error::Write)?;
        if let Hashing::Here { done: HASHED_HERE, .. } = self.hashing {
            self.hashing = start(std::mem::replace(&mut self.hashing, Hashing::Over));
        }
        let filled = std::mem::take(&mut self.filled);
        match &mut self.hashing {
            Hashing::There { full, empty, .. } => {
                let fresh = empty.try_recv().unwrap_or_else(|_| vec![0; BUFFER]);
                full.send((std::mem::replace(&mut self.buffer, fresh), filled)).map_err(|_| gone())
            }
            Hashing::Here { hasher, done } => {
                hasher.update(&self.buffer[..filled]);
                if self.buffer.len() < BUFFER {
                    self.buffer = vec![0; BUFFER];
                }
                *done += 1;
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
    let (full, incoming) = sync_channel::<Full>(BUFFERS);
    let (outgoing, empty) = sync_channel::<Vec<u8>>(BUFFERS + 2);
    let work = move || {
        let mut hasher = taken.recv().ok()?;
        while let Ok((buffer, filled)) = incoming.recv() {
            hasher.update(&buffer[..filled]);
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
        let room = self.room(1).map_err(Error::into_io)?;
        let count = bytes.len().min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.took(count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
