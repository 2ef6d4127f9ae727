//! What a registry keeps, as one small trait, so that a folder, the engine's own store or a test can be behind the same HTTP.
//!
//! What must stay true of every implementation: an answer means durable; a blob or manifest is visible only after its bytes were found to match its
//! digest; membership is per repository: a blob in one repository is not in another until it is uploaded or mounted there (S-511).
//! All calls may block; the server makes them on threads where that is allowed.

use std::fs::File;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use shipway_model::{Descriptor, Digest, MediaType};

use super::names::{ManifestReference, RepositoryName, Tag};

/// Why a storage could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A call to the kernel failed.
    #[error("{doing}: {source}")]
    Failed { doing: String, source: io::Error },
    /// The folder cannot be a storage.
    #[error("\"{folder}\" cannot be the storage of a registry: {reason}")]
    Unusable { folder: String, reason: String },
    /// The engine whose store was to be shared does not run here.
    #[error("nobody on this machine has the data root \"{root}\" open")]
    NoEngine { root: String },
    /// The engine's store is another user's.
    #[error("this user may not read the engine's data root \"{root}\"")]
    Forbidden { root: String },
    /// Writing came from two sides, or a piece does not continue what is there.
    #[error("the upload is at byte {received}, not {asked}")]
    Elsewhere { received: u64, asked: u64 },
    /// What was begun is gone: expired or cancelled.
    #[error("the upload is gone")]
    Gone,
}

impl StorageError {
    pub(crate) fn new(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Failed { doing: doing.into(), source: source.into() }
    }

    /// True when the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Failed { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// A blob's bytes, open for reading.
#[derive(Debug)]
pub struct StoredBlob {
    pub file: File,
    /// Bytes.
    pub size: u64,
}

/// A manifest as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    pub digest: Digest,
    pub media_type: MediaType,
    pub bytes: Bytes,
}

/// A manifest to be kept, already understood and found to match its digest.
#[derive(Debug)]
pub struct NewManifest {
    pub manifest: StoredManifest,
    /// The name it gets, if any.
    pub tag: Option<Tag>,
    /// Blobs that must be in the repository.
    pub blobs: Vec<Digest>,
    /// Manifests that must be in the repository.
    pub children: Vec<Digest>,
    /// What it speaks about, and how it is to be listed there.
    pub refers_to: Option<(Digest, Descriptor)>,
}

/// How an attempt to keep a manifest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is there, durably.
    Done,
    /// Nothing was changed: these are not in the repository.
    Missing(Vec<Digest>),
}

/// How the end of an upload ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The blob is in the repository, durably.
    Done,
    /// The bytes have another digest. The upload is gone.
    Mismatch { actual: Digest },
}

/// A page of something sorted.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// What the former page ended with.
    pub after: Option<&'a str>,
    /// Entries at most.
    pub limit: usize,
}

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Blobs that left a repository because no manifest there needs them.
    pub links: u64,
    /// Blobs deleted because no repository has them.
    pub blobs: u64,
    /// Bytes given back to the disk.
    pub bytes: u64,
    /// Uploads that nobody came back to.
    pub uploads: u64,
    /// Names of copies that are now names of what the engine has.
    pub shared: u64,
}

/// Where a registry keeps what it is given.
pub trait Storage: Send + Sync + 'static {
    /// Opens a blob of `repository`.
    fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<StoredBlob>, StorageError>;

    /// The same for an async caller: only what can be opened without waiting for a disk. Nothing says nothing.
    fn blob_at_hand(&self, repository: &RepositoryName, digest: &Digest) -> Option<StoredBlob> {
        let _ = (repository, digest);
        None
    }

    /// Size of a blob of `repository` for somebody who may rely on it being there: it is safe from collection for a while.
    fn lease_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, StorageError>;

    /// Makes a blob of `from` one of `into`, too; false when `from` does not have it.
    fn mount_blob(&self, from: &RepositoryName, into: &RepositoryName, digest: &Digest) -> Result<bool, StorageError>;

    /// Makes a blob of at most `room` bytes one of `repository` although nobody brought its bytes, because the machine has them anyway: its size, or none
    /// where that cannot be. Who may push to one repository may do that with every blob of the machine's whose digest they know.
    fn adopt_blob(&self, repository: &RepositoryName, digest: &Digest, room: u64) -> Result<Option<u64>, StorageError>;

    /// Takes a blob out of `repository`; false when it was not there.
    fn remove_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StorageError>;

    /// Begins an upload into `repository`. `id` is one plain name of letters, digits and dashes.
    fn begin_upload(&self, repository: &RepositoryName, id: &str) -> Result<Box<dyn Upload>, StorageError>;

    /// Finds an upload that was begun before this process.
    fn find_upload(&self, repository: &RepositoryName, id: &str) -> Result<Option<Box<dyn Upload>>, StorageError>;

    /// As `manifest`, for an async caller: only what can be read without waiting for a disk. Nothing says nothing.
    fn manifest_at_hand(&self, repository: &RepositoryName, reference: &ManifestReference) -> Option<StoredManifest> {
        let _ = (repository, reference);
        None
    }

    /// Reads a manifest of `repository`.
    fn manifest(&self, repository: &RepositoryName, reference: &ManifestReference) -> Result<Option<StoredManifest>, StorageError>;

    /// Keeps a manifest. All or nothing is visible to others.
    fn keep_manifest(&self, repository: &RepositoryName, new: &NewManifest) -> Result<Kept, StorageError>;

    /// Removes a manifest with its tags, or one tag; false when it was not there.
    fn remove_manifest(&self, repository: &RepositoryName, reference: &ManifestReference) -> Result<bool, StorageError>;

    /// Tags in their order, and whether there are more; `None` for an unknown repository.
    fn tags(&self, repository: &RepositoryName, page: Page<'_>) -> Result<Option<(Vec<String>, bool)>, StorageError>;

    /// Names of repositories in their order, and whether there are more.
    fn repositories(&self, page: Page<'_>) -> Result<(Vec<String>, bool), StorageError>;

    /// Manifests that speak about `subject`, `artifact_type` only when given, and the digest to go on after when there are more.
    /// A page ends early when its descriptors have `bytes` together.
    fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: Page<'_>,
        bytes: usize,
    ) -> Result<(Vec<Descriptor>, Option<String>), StorageError>;

    /// Deletes what nobody needs and nobody asked for within `grace`, and uploads idle for `idle`. Writers go on meanwhile.
    fn collect(&self, grace: Duration, idle: Duration) -> Result<Collected, StorageError>;

    /// Bytes of all blobs, each counted once.
    fn usage(&self) -> u64;
}

/// An upload in progress.
pub trait Upload: Send {
    /// Bytes so far.
    fn received(&self) -> u64;

    /// Adds `pieces` at `offset`, which must be where the upload is.
    fn append(&mut self, offset: u64, pieces: &[Bytes]) -> Result<(), StorageError>;

    /// Ends the upload: a blob with `digest`, or nothing.
    fn commit(&mut self, digest: &Digest) -> Result<Committed, StorageError>;

    /// Forgets the bytes.
    fn discard(&mut self) -> Result<(), StorageError>;
}
