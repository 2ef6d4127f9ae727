//! Somebody else's layer tar becomes a layer: unpacked, hashed and described in one pass, visible only when its digest is the promised one.
//!
//! ```text
//! reader thread:  stream -> hash of the stored bytes -> decompress -> hash of the tar -> channel
//! this thread:    channel -> recipe tap -> archive::unpack_layer -> tmp/<n>/diff
//! ```
//!
//! SHA-256 is the slowest part, so it has a thread of its own. Both digests are of everything up to the end of the stream, also of what follows the
//! archive's own end.

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use shipway_archive::unpack::{Lower, NoLower, Options, unpack_layer};
use shipway_archive::{Limits, compress};
use shipway_model::{DiffId, Digest, LayerId, Sha256Hasher, Timestamp};
use shipway_sys::durable::fault;
use shipway_sys::path::Root;

use crate::error::Doing as _;
use crate::layers::{Layer, LayerOrigin, chain_of};
use crate::layout::create_dir;
use crate::leases::Lease;
use crate::open::Store;
use crate::portable::recipe::{Draft, RecipeTap};
use crate::snapshots::{install, random};
use crate::{Error, Result};

/// Bytes handed from thread to thread at once, and how many such pieces may wait.
const PIECE: usize = 256 << 10;
const PIECES: usize = 8;

/// How a layer tar is to be taken in.
#[derive(Debug, Clone)]
pub struct UnpackRequest {
    /// The digest its uncompressed bytes must have; where it is not known yet, the caller compares the result.
    pub expected: Option<DiffId>,
    /// Where it comes from.
    pub origin: LayerOrigin,
    /// The time to write down for it.
    pub created: Timestamp,
    /// The layers under it, bottom first, where they are known: folders it does not mention and hard links to files below are taken from them.
    pub lower: Vec<LayerId>,
    /// Lease that keeps it until an image does.
    pub lease: Option<Lease>,
}

/// A layer taken in.
#[derive(Debug, Clone)]
pub struct UnpackedLayer {
    /// The layer; an equal one that was here before, if there was one.
    pub layer: Arc<Layer>,
    /// Digest of the bytes as they came, compressed or not.
    pub stored: Digest,
    /// Number of those bytes.
    pub stored_size: u64,
}

/// What the reader thread found.
struct Hashed {
    stored: Digest,
    stored_size: u64,
    diff_id: DiffId,
    tar_size: u64,
}

impl Store {
    /// Takes in a layer tar, compressed or not; visible at once, pending until the next publish.
    ///
    /// # Errors
    /// `Corrupt` when its digest is not the expected one, `Archive` when it cannot be unpacked; nothing of it is kept in either case.
    ///
    /// # Cost
    /// One pass at the speed of SHA-256 or of creating the files, whichever is slower.
    pub fn unpack_layer(&self, stream: impl Read + Send, request: &UnpackRequest) -> Result<UnpackedLayer> {
        let shared = self.shared();
        let folder = shared.layout.fresh_tmp();
        create_dir(&folder, 0o700)?;
        let unpacked = self.unpack_into(&folder, stream, request);
        if unpacked.is_err() {
            shared.trash.take_or_log(&folder);
        }
        unpacked
    }

    fn unpack_into(&self, folder: &std::path::Path, stream: impl Read + Send, request: &UnpackRequest) -> Result<UnpackedLayer> {
        let tree = folder.join("diff");
        create_dir(&tree, 0o755)?;
        let root = Root::open(&tree).doing(|| format!("open {tree:?}"))?;
        let (tree_below, below) = if request.lower.is_empty() {
            (None, None)
        } else {
            let layers = request.lower.iter().map(|id| self.need_layer(id)).collect::<Result<Vec<_>>>()?;
            (Some(self.tree(&request.lower)?), Some(chain_of(layers.iter().map(|layer| layer.diff_id))))
        };
        let lower: &dyn Lower = match &tree_below {
            Some(tree) => tree,
            None => &NoLower,
        };
        let draft = Draft::create(folder)?;
        let (sender, receiver) = sync_channel(PIECES);
        let (hashed, unpacked) = std::thread::scope(|scope| {
            let hashing =
                std::thread::Builder::new().name("store-hash".to_owned()).spawn_scoped(scope, move || hash_stream(stream, &sender));
            let mut tap = RecipeTap::new(Pieces { receiver, current: Vec::new(), at: 0 }, draft);
            let unpacked = unpack_layer(&mut tap, &root, lower, &Options::default());
            // The digest is of the whole stream, so the rest is read even when the archive ended before.
            let drained = if unpacked.is_ok() { std::io::copy(&mut tap, &mut std::io::sink()).map(|_| ()) } else { Ok(()) };
            let recipe = tap.finish();
            let hashed = match hashing {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(error) => Err(error),
            };
            (hashed, unpacked.map(|(_, index)| (index, drained, recipe)))
        });
        // When the stream broke off the unpacker only saw its end; the reader knows why.
        let hashed = match (hashed, &unpacked) {
            (Err(error), Ok(_)) => return Err(Error::io("read layer", &error)),
            (Err(error), Err(_)) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(Error::io("read layer", &error)),
            (Err(_), Err(_)) => None,
            (Ok(hashed), _) => Some(hashed),
        };
        let (index, drained, recipe) = unpacked?;
        drained.doing(|| "read layer".to_owned())?;
        let Some(hashed) = hashed else { return Err(Error::invalid("layer", "its stream broke off")) };
        if let Some(expected) = request.expected
            && expected != hashed.diff_id
        {
            return Err(Error::corrupt(format!("layer {expected}"), format!("its uncompressed bytes have the digest {}", hashed.diff_id)));
        }
        let tar = recipe.settle(&index)?;
        let layer = Layer {
            id: LayerId::from_random(random()),
            diff_id: hashed.diff_id,
            tar_size: hashed.tar_size,
            content_size: index.content_size(),
            tree_digest: index.digest()?,
            created: request.created,
            origin: request.origin,
            tar,
            newest: None,
            index_size: 0,
            base: None,
            below,
        };
        fault::point("store.unpack.unpacked");
        let layer = install(self.shared(), folder, "diff", &index, layer, request.lease.as_ref())?;
        Ok(UnpackedLayer { layer, stored: hashed.stored, stored_size: hashed.stored_size })
    }
}

/// Reads the stream to its end, hashes it before and after decompression, and passes the tar on.
fn hash_stream(stream: impl Read + Send, sender: &SyncSender<Vec<u8>>) -> std::io::Result<Hashed> {
    let (counted, counter) = Counting::new(stream);
    let mut tar_hasher = Sha256Hasher::new();
    let mut tar_size = 0;
    {
        let mut tar = compress::decoder(counted, &Limits::default()).map_err(std::io::Error::other)?.1;
        loop {
            let mut piece = vec![0; PIECE];
            let mut filled = 0;
            while filled < PIECE {
                match tar.read(&mut piece[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if filled == 0 {
                break;
            }
            piece.truncate(filled);
            tar_hasher.update(&piece);
            tar_size += filled as u64;
            if sender.send(piece).is_err() {
                // The unpacker gave up; its error is the one to tell.
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
        }
    }
    let (stored, stored_size) = counter.finish()?;
    Ok(Hashed { stored, stored_size, diff_id: DiffId(tar_hasher.finish()), tar_size })
}

/// A reader that hashes what passes; the hash is read through the second handle when the decoder has been dropped.
struct Counting<R> {
    inner: R,
    state: Arc<std::sync::Mutex<(Sha256Hasher, u64)>>,
}

struct Counter<R> {
    state: Arc<std::sync::Mutex<(Sha256Hasher, u64)>>,
    marker: std::marker::PhantomData<R>,
}

impl<R: Read> Counting<R> {
    fn new(inner: R) -> (Self, Counter<R>) {
        let state = Arc::new(std::sync::Mutex::new((Sha256Hasher::new(), 0)));
        (Self { inner, state: Arc::clone(&state) }, Counter { state, marker: std::marker::PhantomData })
    }
}

impl<R> Counter<R> {
    fn finish(self) -> std::io::Result<(Digest, u64)> {
        let state = Arc::into_inner(self.state).ok_or_else(|| std::io::Error::other("the stream is still being read"))?;
        let (hasher, size) = state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok((hasher.finish(), size))
    }
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.0.update(&buffer[..count]);
        state.1 += count as u64;
        Ok(count)
    }
}

/// The pieces of the channel as one stream.
struct Pieces {
    receiver: Receiver<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.current.len() {
            match self.receiver.recv() {
                Ok(piece) => (self.current, self.at) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
