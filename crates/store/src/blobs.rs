//! Blobs: immutable bytes named by their SHA-256, written once through an ingest, deleted only by the collector.
//!
//! An ingest writes to `tmp/` and hashes on the way; commit renames the file to its digest. Committing the same bytes twice keeps the first file.

use std::fs::File;
use std::io::{Read as _, Write};
use std::path::PathBuf;
use std::sync::Arc;

use shipway_model::{Digest, Sha256Hasher};
use shipway_state::Table;
use shipway_sys::durable::fault;

use crate::error::Doing as _;
use crate::leases::Lease;
use crate::memory::{PendingItem, Shared};
use crate::open::Store;
use crate::{Error, Result};

/// Digest to size.
pub(crate) const BLOBS: Table<Digest, u64> = Table::new("blobs");

/// The blobs of a store.
#[derive(Clone, Copy)]
pub struct Blobs<'a> {
    shared: &'a Arc<Shared>,
}

/// Bytes on their way to becoming a blob. Dropped before its commit it leaves nothing.
pub struct Ingest {
    shared: Arc<Shared>,
    file: Option<File>,
    path: PathBuf,
    hasher: Sha256Hasher,
    size: u64,
    lease: Option<Lease>,
}

impl Store {
    /// The blobs of this store.
    pub fn blobs(&self) -> Blobs<'_> {
        Blobs { shared: self.shared() }
    }
}

impl Blobs<'_> {
    /// True when the blob is here.
    pub fn has(&self, digest: &Digest) -> bool {
        self.shared.read().blobs.contains_key(digest)
    }

    /// Size in bytes of a blob that is here.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        self.shared.read().blobs.get(digest).copied()
    }

    /// Opens a blob for reading. Its bytes are not checked on this path; whoever sends them on hashes them.
    pub fn open(&self, digest: &Digest) -> Result<File> {
        if !self.has(digest) {
            return Err(Error::not_found("blob", digest));
        }
        let path = self.shared.layout.blob(digest);
        match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::corrupt(format!("blob {digest}"), "its file is missing"))
            }
            other => other.doing(|| format!("open {path:?}")),
        }
    }

    /// Reads a small blob and checks that its bytes are what its name says.
    ///
    /// # Errors
    /// `Invalid` when it is larger than `limit` bytes; `Corrupt` when the bytes have another digest.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(digest)?.take(limit.saturating_add(1)).read_to_end(&mut bytes).doing(|| format!("read blob {digest}"))?;
        if bytes.len() as u64 > limit {
            return Err(Error::invalid(format!("blob {digest}"), format!("it is larger than {limit} bytes")));
        }
        let found = Digest::sha256_of(&bytes);
        if found != *digest {
            return Err(Error::corrupt(format!("blob {digest}"), format!("its bytes have the digest {found}")));
        }
        Ok(bytes)
    }

    /// Starts an ingest.
    pub fn ingest(&self) -> Result<Ingest> {
        let path = self.shared.layout.fresh_tmp();
        let file = File::options().write(true).create_new(true).open(&path).doing(|| format!("create {path:?}"))?;
        Ok(Ingest { shared: Arc::clone(self.shared), file: Some(file), path, hasher: Sha256Hasher::new(), size: 0, lease: None })
    }

    /// Stores `bytes`; pending until the next publish.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256_of(bytes);
        if self.has(&digest) {
            return Ok(digest);
        }
        self.ingest()?.take(bytes, Some(digest))
    }

    /// Stores `bytes`, which must have the digest `expected` where one is given, and has `lease` keep them; pending until the next publish.
    ///
    /// # Errors
    /// As [`Ingest::commit`].
    ///
    /// # Cost
    /// Bytes that are here are hashed and compared by that; no file is touched for them.
    pub fn put_kept(&self, bytes: &[u8], expected: Option<Digest>, lease: &Lease) -> Result<Digest> {
        let digest = Digest::sha256_of(bytes);
        if expected.is_none_or(|expected| expected == digest) && lease.add_blob(&digest) {
            return Ok(digest);
        }
        self.ingest()?.keep_in(lease).take(bytes, expected)
    }

    /// Every blob with its size, in no order.
    pub fn list(&self) -> Vec<(Digest, u64)> {
        self.shared.read().blobs.iter().map(|(digest, size)| (*digest, *size)).collect()
    }
}

impl Ingest {
    /// Puts the finished blob into `lease` in the same step that makes it visible.
    #[must_use]
    pub fn keep_in(mut self, lease: &Lease) -> Self {
        self.lease = Some(lease.clone());
        self
    }

    /// All of a blob at once.
    fn take(mut self, bytes: &[u8], expected: Option<Digest>) -> Result<Digest> {
        self.write_all(bytes).doing(|| format!("write {:?}", self.path))?;
        self.commit(expected).map(|(digest, _)| digest)
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Ends the ingest: the bytes become a blob, visible at once and pending until the next publish.
    ///
    /// # Errors
    /// `Corrupt` when they do not have the expected digest; nothing is kept then. `Unsupported` when another algorithm than SHA-256 is expected.
    pub fn commit(mut self, expected: Option<Digest>) -> Result<(Digest, u64)> {
        let digest = std::mem::take(&mut self.hasher).finish();
        if let Some(expected) = expected
            && expected != digest
        {
            if expected.algorithm() != digest.algorithm() {
                return Err(Error::Unsupported { what: format!("storing blobs under {}", expected.algorithm()) });
            }
            return Err(Error::corrupt(format!("blob {expected}"), format!("the bytes received have the digest {digest}")));
        }
        fault::point("store.blob.written");
        let target = self.shared.layout.blob(&digest);
        // The name and the memory of it change under one lock: the collector moves files away under the same one.
        let shared = Arc::clone(&self.shared);
        let mut memory = shared.write();
        if let std::collections::hash_map::Entry::Vacant(place) = memory.blobs.entry(digest) {
            // A file already there has no row: a leftover whose bytes nobody vouches for. Ours replace it.
            rustix::fs::rename(&self.path, &target).doing(|| format!("rename blob {digest}"))?;
            self.file = None;
            fault::point("store.blob.renamed");
            shared.mark_dirty();
            place.insert(self.size);
            memory.pending.push(PendingItem::Blob(digest, self.size));
        }
        if let Some(lease) = &self.lease {
            memory.leases.entry(lease.number()).or_default().blobs.insert(digest);
        }
        Ok((digest, self.size))
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let Some(file) = &mut self.file else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
        let count = file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if self.file.is_some() {
            // A leftover in tmp/ is swept at the next start.
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

impl std::fmt::Debug for Blobs<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Blobs")
    }
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Ingest").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}
