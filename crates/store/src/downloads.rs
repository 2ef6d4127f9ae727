//! Blobs on their way from a registry: written to `partial/<hex>` as they come, read by the unpacker at the same time, kept when the way breaks.
//!
//! The name is the digest of the finished bytes, so whatever lies there, from whichever registry, is either their beginning or wrong, and the hash over
//! everything tells at the end. Nothing here is synced or promised; a file that nobody came back for goes after some days.

use std::collections::hash_map::Entry;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use shipway_model::{Algorithm, Digest, Timestamp};
use shipway_sys::durable::fault;

use crate::error::Doing as _;
use crate::layout::{Layout, names_in};
use crate::leases::Lease;
use crate::memory::{PendingItem, Shared};
use crate::open::Store;
use crate::trash::Trash;
use crate::{Error, Result};

/// How long the beginning of a blob is kept for somebody who comes back.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// A blob being downloaded. Dropped before its end it leaves what came for the next one.
pub struct Download {
    shared: Arc<Shared>,
    digest: Digest,
    size: u64,
    path: PathBuf,
    file: Arc<File>,
    arrival: Arc<Arrival>,
    /// Let go last, when the file has been dealt with.
    _claim: Claim,
}

/// The right to write to the file of one blob. A session that hung may still have one when the next has taken its work over.
struct Claim {
    shared: Arc<Shared>,
    digest: Digest,
}

impl Claim {
    fn on(shared: &Arc<Shared>, digest: &Digest) -> Self {
        *shared.downloading.lock().unwrap_or_else(PoisonError::into_inner).entry(*digest).or_default() += 1;
        Self { shared: Arc::clone(shared), digest: *digest }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut downloading = self.shared.downloading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut claims) = downloading.entry(self.digest) {
            *claims.get_mut() -= 1;
            if *claims.get() == 0 {
                claims.remove();
            }
        }
    }
}

/// Reads a download while it arrives; waits where nothing has come yet.
pub struct DownloadReader {
    file: Arc<File>,
    arrival: Arc<Arrival>,
    at: u64,
}

/// How far a download is.
struct Arrival {
    state: Mutex<State>,
    changed: Condvar,
    size: u64,
}

#[derive(Default)]
struct State {
    received: u64,
    /// Nothing more comes.
    ended: bool,
    /// How far the reader is.
    read: u64,
}

impl Store {
    /// Begins, or goes on with, the download of the blob `digest` of `size` bytes. One at a time: who calls it must know that nobody else does.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn download(&self, digest: &Digest, size: u64) -> Result<Download> {
        let path = self.shared().layout.partial(digest);
        let claim = Claim::on(self.shared(), digest);
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = open().doing(|| format!("open {path:?}"))?;
        let found = file.metadata().doing(|| format!("stat {path:?}"))?;
        let mut received = found.len();
        if received != size && found.nlink() > 1 {
            // It came whole once and was not published; a registry beside us has linked it (see `shared_blobs`). Whoever announces another size now gets
            // a file of its own to be wrong in.
            std::fs::remove_file(&path).doing(|| format!("remove {path:?}"))?;
            file = open().doing(|| format!("open {path:?}"))?;
            received = 0;
        } else if received > size {
            file.set_len(0).doing(|| format!("truncate {path:?}"))?;
            received = 0;
        }
        let state = State { received, ended: received == size, read: 0 };
        let arrival = Arc::new(Arrival { state: Mutex::new(state), changed: Condvar::new(), size });
        Ok(Download { shared: Arc::clone(self.shared()), digest: *digest, size, path, file: Arc::new(file), arrival, _claim: claim })
    }

    /// Throws away what broken downloads left and nobody is going on with; the bytes that come back.
    ///
    /// # Errors
    /// When the folder cannot be read; what was thrown away until then is gone.
    pub fn forget_broken_downloads(&self) -> Result<u64> {
        let shared = self.shared();
        // Held all the while: nobody may begin to go on with what is being thrown away.
        let downloading = shared.downloading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut freed = 0;
        for name in names_in(&shared.layout.partials())? {
            if named(&name).is_some_and(|digest| downloading.contains_key(&digest)) {
                continue;
            }
            let path = shared.layout.partials().join(&name);
            freed += std::fs::metadata(&path).map_or(0, |found| found.len());
            shared.trash.take(&path)?;
        }
        Ok(freed)
    }
}

impl Download {
    /// Bytes that are here.
    pub fn received(&self) -> u64 {
        self.arrival.lock().received
    }

    /// Bytes the reader took.
    pub fn read(&self) -> u64 {
        self.arrival.lock().read
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    /// `Corrupt` when they are more than were announced: nothing of these is kept. `NoSpace`.
    pub fn append(&self, bytes: &[u8]) -> Result<()> {
        let at = self.received();
        let after = at + bytes.len() as u64;
        if after > self.size {
            return Err(Error::corrupt(format!("blob {}", self.digest), format!("more than its {} bytes came", self.size)));
        }
        self.file.write_all_at(bytes, at).doing(|| format!("write {:?}", self.path))?;
        fault::point("store.download.appended");
        let mut state = self.arrival.lock();
        state.received = after;
        state.ended = after == self.size;
        drop(state);
        self.arrival.changed.notify_all();
        Ok(())
    }

    /// A reader from the first byte on. It ends early, with an error, when this handle is dropped before the last byte came.
    pub fn reader(&self) -> DownloadReader {
        DownloadReader { file: Arc::clone(&self.file), arrival: Arc::clone(&self.arrival), at: 0 }
    }

    /// Nothing more comes: a reader that waits is told so.
    pub fn give_up(&self) {
        self.arrival.lock().ended = true;
        self.arrival.changed.notify_all();
    }

    /// Makes the finished, checked bytes a blob kept by `lease`; visible at once, pending until the next publish. Blobs go by SHA-256, `stored`, whatever
    /// digest they were asked for by.
    ///
    /// # Errors
    /// `Invalid` when bytes are missing; `Unsupported` when `stored` is of another algorithm. That the digest is right is the caller's word, who has
    /// just hashed the bytes.
    pub fn commit(&self, lease: &Lease, stored: &Digest) -> Result<()> {
        if stored.algorithm() != Algorithm::Sha256 {
            return Err(Error::Unsupported { what: format!("storing blobs under {}", stored.algorithm()) });
        }
        if self.received() != self.size {
            return Err(Error::invalid(format!("blob {}", self.digest), "it has not come whole"));
        }
        fault::point("store.download.complete");
        let target = self.shared.layout.blob(stored);
        // The name and the memory of it change under one lock: the collector moves files away under the same one.
        let mut memory = self.shared.write();
        if let Entry::Vacant(place) = memory.blobs.entry(*stored) {
            rustix::fs::rename(&self.path, &target).doing(|| format!("rename blob {}", self.digest))?;
            fault::point("store.download.renamed");
            self.shared.mark_dirty();
            place.insert(self.size);
            memory.pending.push(PendingItem::Blob(*stored, self.size));
        } else {
            self.shared.trash.take_or_log(&self.path);
        }
        memory.leases.entry(lease.number()).or_default().blobs.insert(*stored);
        Ok(())
    }

    /// Throws away what came: it is wrong, or not worth keeping.
    pub fn discard(&self) {
        self.give_up();
        self.shared.trash.take_or_log(&self.path);
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.give_up();
        if self.received() == 0 {
            // Nothing came: there is nothing to come back for. What was committed or thrown away is not there any more.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

impl Arrival {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for DownloadReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.arrival.size || buffer.is_empty() {
            return Ok(0);
        }
        let mut state = self.arrival.lock();
        state.read = self.at;
        while state.received <= self.at {
            if state.ended {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the download was given up"));
            }
            state = self.arrival.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let here = state.received - self.at;
        drop(state);
        let most = buffer.len().min(usize::try_from(here).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file of a download was cut"));
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl std::fmt::Debug for Download {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Download").field("digest", &self.digest).field("received", &self.received()).finish_non_exhaustive()
    }
}

/// The digest that a file of ours is called by; the algorithm shows in its length.
fn named(name: &str) -> Option<Digest> {
    [Algorithm::Sha256, Algorithm::Sha512].iter().find_map(|algorithm| format!("{}:{name}", algorithm.name()).parse().ok())
}

/// Makes downloads again of the blobs that are not `known`: they came whole and were not published before their process died. Whether their bytes are
/// right after a power cut is found out when they are used.
pub(crate) fn take_back(layout: &Layout, known: impl Fn(&str) -> bool) -> Result<()> {
    for name in names_in(&layout.blobs())? {
        let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else { continue };
        let path = layout.blob(&digest);
        // A folder by that name is nobody's blob.
        if known(&name) || !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        rustix::fs::rename(&path, layout.partial(&digest)).doing(|| format!("rename blob {digest}"))?;
    }
    Ok(())
}

/// Moves beginnings of blobs to the trash that nobody came back for, and what is none.
pub(crate) fn sweep(layout: &Layout, trash: &Trash, now: Timestamp) -> Result<()> {
    for name in names_in(&layout.partials())? {
        let path = layout.partials().join(&name);
        let is_one = named(&name).is_some();
        // A time that cannot be told counts as old: what is there can always be fetched again.
        let age = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).map(|then| now.since(Timestamp::from_system(then)));
        if !is_one || age.map_or(true, |age| age > KEPT) {
            trash.take(&path)?;
        }
    }
    Ok(())
}
