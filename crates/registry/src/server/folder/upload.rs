//! Uploads: a file that grows, hashed as it grows, and becomes a blob when its digest is right.
//!
//! What must stay true: a blob's name appears only after its bytes are on disk; bytes are added only where the upload is, so that a request that was
//! given up cannot write behind its successor's back; an upload begun before a power cut is not continued, since its bytes may not have reached the disk.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shipway_model::{Algorithm, Digest};

use super::engine;
use super::layout::{Layout, absent_is_none, create_folder, failed, link_file, names_in, sync_parent, touch};
use crate::hash::{Hasher, hash_file};
use crate::server::names::RepositoryName;
use crate::server::storage::{Committed, StorageError, Upload};

/// For whom an upload is, beside its bytes.
#[derive(Serialize, Deserialize)]
struct About {
    repository: String,
    /// The boot of the machine it was begun in.
    boot: String,
}

/// An upload in a folder.
pub(super) struct FolderUpload {
    layout: Layout,
    usage: Arc<AtomicU64>,
    repository: RepositoryName,
    path: PathBuf,
    file: File,
    received: u64,
    /// Has seen all bytes so far; none when the upload was begun by another process.
    hasher: Option<Hasher>,
}

impl FolderUpload {
    pub(super) fn begin(layout: Layout, usage: Arc<AtomicU64>, repository: &RepositoryName, id: &str) -> Result<Self, StorageError> {
        let path = layout.uploads().join(id);
        let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(|error| failed("create", &path, error))?;
        let about = About { repository: repository.to_string(), boot: boot() };
        let text = serde_json::to_vec(&about).map_err(|error| failed("describe", &path, error))?;
        let beside = about_path(&path);
        fs::write(&beside, text).map_err(|error| failed("write", &beside, error))?;
        let hasher = Some(Hasher::new(Algorithm::Sha256));
        Ok(Self { layout, usage, repository: repository.clone(), path, file, received: 0, hasher })
    }

    pub(super) fn find(layout: Layout, usage: Arc<AtomicU64>, repository: &RepositoryName, id: &str) -> Result<Option<Self>, StorageError> {
        let path = layout.uploads().join(id);
        let Some(about) = read_about(&path) else { return Ok(None) };
        if about.repository != repository.as_str() || about.boot != boot() {
            return Ok(None);
        }
        let opened = absent_is_none(File::options().read(true).append(true).open(&path));
        let Some(file) = opened.map_err(|error| failed("open", &path, error))? else { return Ok(None) };
        let received = file.metadata().map_err(|error| failed("look at", &path, error))?.len();
        Ok(Some(Self { layout, usage, repository: repository.clone(), path, file, received, hasher: None }))
    }

    /// The digest of all bytes, by `algorithm`.
    fn digest(&mut self, algorithm: Algorithm) -> Result<Digest, StorageError> {
        match self.hasher.take() {
            Some(hasher) if hasher.algorithm() == algorithm => Ok(hasher.finish()),
            _ => {
                let file = File::open(&self.path).map_err(|error| failed("open", &self.path, error))?;
                hash_file(file, algorithm).map_err(|error| failed("read", &self.path, error))
            }
        }
    }

    /// Gives the file its place among the blobs and in the repository.
    fn publish(&self, digest: &Digest) -> Result<(), StorageError> {
        let (blob, link) = (self.layout.blob(digest), self.layout.link(&self.repository, digest));
        // Somebody brought these bytes before: theirs serve us, too.
        if touch(&blob)? && link_file(&blob, &link)? {
            return Ok(());
        }
        // The engine got them meanwhile: one file is enough.
        if engine::adopt(&self.layout, &self.usage, &self.repository, digest, u64::MAX)?.is_some() {
            return Ok(());
        }
        shipway_sys::durable::sync_file(&self.file).map_err(|error| failed("sync", &self.path, error))?;
        touch(&self.path)?;
        // The repository's own link comes first: once it is there, no collection can take the bytes away.
        if !link_file(&self.path, &link)? {
            return Err(StorageError::Gone);
        }
        create_folder(blob.parent().unwrap_or(Path::new(".")))?;
        match fs::hard_link(&self.path, &blob) {
            Ok(()) => {
                self.usage.fetch_add(self.received, Ordering::Relaxed);
                sync_parent(&blob)
            }
            // Another upload of the same bytes was quicker. Ours live on in this repository; they are only not shared.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(failed("link", &blob, error)),
        }
    }
}

impl Upload for FolderUpload {
    fn received(&self) -> u64 {
        self.received
    }

    fn append(&mut self, offset: u64, pieces: &[Bytes]) -> Result<(), StorageError> {
        if offset != self.received {
            return Err(StorageError::Elsewhere { received: self.received, asked: offset });
        }
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match self.file.write_vectored(rest) {
                Ok(0) => return Err(self.cut_back(io::Error::from(io::ErrorKind::WriteZero))),
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut_back(error)),
            }
        }
        for piece in pieces {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(piece);
            }
            self.received += piece.len() as u64;
        }
        Ok(())
    }

    fn commit(&mut self, digest: &Digest) -> Result<Committed, StorageError> {
        let actual = self.digest(digest.algorithm())?;
        if actual != *digest {
            self.discard()?;
            return Ok(Committed::Mismatch { actual });
        }
        self.publish(digest)?;
        self.discard()?;
        Ok(Committed::Done)
    }

    fn discard(&mut self) -> Result<(), StorageError> {
        for path in [&self.path, &about_path(&self.path)] {
            absent_is_none(fs::remove_file(path)).map_err(|error| failed("remove", path, error))?;
        }
        Ok(())
    }
}

impl FolderUpload {
    /// Takes a half-written piece back, so that the file ends where the hasher is.
    fn cut_back(&mut self, error: io::Error) -> StorageError {
        use std::io::{Seek, SeekFrom};
        if let Err(second) = self.file.set_len(self.received).and_then(|()| self.file.seek(SeekFrom::Start(self.received))) {
            // Its length is no longer known for sure: without a hasher the whole file is judged at the end.
            tracing::warn!(error = %second, "an upload cannot be cut back");
            self.hasher = None;
        }
        failed("write", &self.path, error)
    }
}

fn about_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

fn read_about(path: &Path) -> Option<About> {
    serde_json::from_slice(&fs::read(about_path(path)).ok()?).ok()
}

/// What names this boot of the machine; without it no upload outlives the process.
fn boot() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Deletes uploads of another boot, and halves.
pub(super) fn recover(layout: &Layout) -> Result<(), StorageError> {
    let boot = boot();
    let folder = layout.uploads();
    for name in names_in(&folder)?.unwrap_or_default() {
        let path = folder.join(&name);
        let data = path.with_extension("");
        let is_whole = data.exists() && read_about(&data).is_some_and(|about| about.boot == boot && !boot.is_empty());
        if !is_whole {
            absent_is_none(fs::remove_file(&path)).map_err(|error| failed("remove", &path, error))?;
        }
    }
    Ok(())
}
