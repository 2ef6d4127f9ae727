//! A storage in a folder of its own: plain files, renamed and hard-linked into place. `layout` draws it.
//!
//! What must stay true: no step needs another process to be absent except the one lock on the folder; every step may be repeated; what a crash leaves
//! behind is found and deleted by `open` or by the next collection, never by a person.

mod collect;
mod engine;
mod layout;
mod listing;
mod manifests;
mod repair;
mod survey;
mod upload;

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shipway_model::{Descriptor, Digest};
use shipway_store::SharedBlobs;

pub use self::survey::{EngineFolder, FolderProblem, FolderUsage};

use self::layout::{Layout, absent_is_none, create_folder, failed, link_file, remove_file, touch, write_small};
use super::at_hand;
use super::names::{ManifestReference, RepositoryName};
use super::storage::{Collected, Kept, NewManifest, Page, Storage, StorageError, StoredBlob, StoredManifest, Upload};

/// Repositories are locked in so many groups.
const LOCKS: usize = 256;
/// The file that makes a folder a storage.
const MARK: &str = "registry.json";
const MARK_TEXT: &[u8] = b"{\"version\":1}\n";

/// A storage in a folder.
pub struct FolderStorage {
    layout: Layout,
    /// One writer of manifests, tags and removals a repository.
    locks: Vec<Mutex<()>>,
    usage: Arc<AtomicU64>,
    /// Holds the lock on the folder.
    _mark: File,
}

impl FolderStorage {
    /// Opens the storage in `folder`, or makes an empty one there, and puts right what a crash left.
    ///
    /// # Errors
    /// `Unusable` when another process serves it, when it is of another version, or when its file system has no hard links.
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        Self::with(folder, None)
    }

    /// Opens, or makes, the storage that lies in the data root of the engine on this machine and shares the files of its blobs.
    ///
    /// # Errors
    /// As `open`; `NoEngine` when nobody here has that root open, `Forbidden` when it is another user's.
    pub fn open_in_engine(root: &Path) -> Result<Self, StorageError> {
        let engine = engine::blobs_of(root)?;
        let folder = engine.registry_folder();
        let storage = Self::with(&folder, Some(engine))?;
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).map_err(|error| failed("look at", path, error));
        if device(root)? != device(&folder)? {
            tracing::warn!(folder = %folder.display(), "it is on another file system than the engine's store: no blob can be shared");
        }
        Ok(storage)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.layout.root
    }

    fn with(folder: &Path, engine: Option<SharedBlobs>) -> Result<Self, StorageError> {
        create_folder(folder)?;
        let root = fs::canonicalize(folder).map_err(|error| failed("open", folder, error))?;
        let mark = mark(&root)?;
        let layout = Layout { root, engine };
        for needed in [layout.blobs(), layout.repositories(), layout.uploads()] {
            create_folder(&needed)?;
        }
        check_links(&layout)?;
        upload::recover(&layout)?;
        let usage = Arc::new(AtomicU64::new(collect::measure(&layout)?));
        Ok(Self { layout, locks: (0..LOCKS).map(|_| Mutex::new(())).collect(), usage, _mark: mark })
    }

    fn lock(&self, repository: &RepositoryName) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        repository.hash(&mut hasher);
        let group = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or_default();
        self.locks[group].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds or writes the mark, and locks it.
fn mark(root: &Path) -> Result<File, StorageError> {
    let path = root.join(MARK);
    let unusable = |reason: &str| StorageError::Unusable { folder: root.display().to_string(), reason: reason.to_owned() };
    match absent_is_none(fs::read(&path)).map_err(|error| failed("read", &path, error))? {
        Some(text) if text == MARK_TEXT => {}
        Some(_) => return Err(unusable("it was written by another version of this program")),
        None => {
            let mut entries = fs::read_dir(root).map_err(|error| failed("read", root, error))?;
            if entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lost+found")) {
                return Err(unusable("it is not empty and holds no storage of ours"));
            }
            write_small(&path, MARK_TEXT)?;
        }
    }
    let mark = File::open(&path).map_err(|error| failed("open", &path, error))?;
    match rustix::fs::flock(&mark, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(mark),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(unusable("another process serves it")),
        Err(errno) => Err(failed("lock", &path, errno)),
    }
}

/// Everything here rests on hard links.
fn check_links(layout: &Layout) -> Result<(), StorageError> {
    let (one, other) = (layout.uploads().join(".probe"), layout.uploads().join(".probe-link"));
    for path in [&one, &other] {
        absent_is_none(fs::remove_file(path)).map_err(|error| failed("remove", path, error))?;
    }
    fs::write(&one, b"").map_err(|error| failed("write", &one, error))?;
    let linked = fs::hard_link(&one, &other);
    for path in [&one, &other] {
        absent_is_none(fs::remove_file(path)).map_err(|error| failed("remove", path, error))?;
    }
    linked.map_err(|error| StorageError::Unusable {
        folder: layout.root.display().to_string(),
        reason: format!("its file system cannot link one file under two names ({error})"),
    })
}

impl Storage for FolderStorage {
    fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<StoredBlob>, StorageError> {
        let path = self.layout.link(repository, digest);
        let Some(file) = absent_is_none(File::open(&path)).map_err(|error| failed("open", &path, error))? else { return Ok(None) };
        let size = file.metadata().map_err(|error| failed("look at", &path, error))?.len();
        Ok(Some(StoredBlob { file, size }))
    }

    fn blob_at_hand(&self, repository: &RepositoryName, digest: &Digest) -> Option<StoredBlob> {
        let file = at_hand::open(&self.layout.link(repository, digest))?;
        let size = file.metadata().ok()?.len();
        Some(StoredBlob { file, size })
    }

    fn lease_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, StorageError> {
        let path = self.layout.link(repository, digest);
        // The lease first: what is there after it stays there.
        if !touch(&path)? {
            return Ok(None);
        }
        let found = absent_is_none(fs::metadata(&path)).map_err(|error| failed("look at", &path, error))?;
        Ok(found.map(|metadata| metadata.len()))
    }

    fn mount_blob(&self, from: &RepositoryName, into: &RepositoryName, digest: &Digest) -> Result<bool, StorageError> {
        let source = self.layout.link(from, digest);
        if !touch(&source)? {
            return Ok(false);
        }
        link_file(&source, &self.layout.link(into, digest))
    }

    fn adopt_blob(&self, repository: &RepositoryName, digest: &Digest, room: u64) -> Result<Option<u64>, StorageError> {
        engine::adopt(&self.layout, &self.usage, repository, digest, room)
    }

    fn remove_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StorageError> {
        let _alone = self.lock(repository);
        remove_file(&self.layout.link(repository, digest))
    }

    fn begin_upload(&self, repository: &RepositoryName, id: &str) -> Result<Box<dyn Upload>, StorageError> {
        let upload = upload::FolderUpload::begin(self.layout.clone(), Arc::clone(&self.usage), repository, id)?;
        Ok(Box::new(upload))
    }

    fn find_upload(&self, repository: &RepositoryName, id: &str) -> Result<Option<Box<dyn Upload>>, StorageError> {
        let found = upload::FolderUpload::find(self.layout.clone(), Arc::clone(&self.usage), repository, id)?;
        Ok(found.map(|upload| Box::new(upload) as Box<dyn Upload>))
    }

    fn manifest(&self, repository: &RepositoryName, reference: &ManifestReference) -> Result<Option<StoredManifest>, StorageError> {
        let Some(digest) = self.layout.resolve(repository, reference)? else { return Ok(None) };
        manifests::read(&self.layout, repository, &digest)
    }

    fn manifest_at_hand(&self, repository: &RepositoryName, reference: &ManifestReference) -> Option<StoredManifest> {
        let digest = match reference {
            ManifestReference::Digest(digest) => *digest,
            ManifestReference::Tag(tag) => layout::digest_in(&at_hand::whole(&self.layout.tag(repository, tag))?)?,
        };
        manifests::of_file(at_hand::whole(&self.layout.manifest(repository, &digest))?, &digest)
    }

    fn keep_manifest(&self, repository: &RepositoryName, new: &NewManifest) -> Result<Kept, StorageError> {
        let _alone = self.lock(repository);
        manifests::keep(&self.layout, repository, new)
    }

    fn remove_manifest(&self, repository: &RepositoryName, reference: &ManifestReference) -> Result<bool, StorageError> {
        let _alone = self.lock(repository);
        match reference {
            ManifestReference::Tag(tag) => remove_file(&self.layout.tag(repository, tag)),
            ManifestReference::Digest(digest) => manifests::remove(&self.layout, repository, digest),
        }
    }

    fn tags(&self, repository: &RepositoryName, page: Page<'_>) -> Result<Option<(Vec<String>, bool)>, StorageError> {
        listing::tags(&self.layout, repository, page)
    }

    fn repositories(&self, page: Page<'_>) -> Result<(Vec<String>, bool), StorageError> {
        listing::repositories(&self.layout, page)
    }

    fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: Page<'_>,
        bytes: usize,
    ) -> Result<(Vec<Descriptor>, Option<String>), StorageError> {
        listing::referrers(&self.layout, repository, subject, artifact_type, page, bytes)
    }

    fn collect(&self, grace: Duration, idle: Duration) -> Result<Collected, StorageError> {
        collect::run(self, grace, idle)
    }

    fn usage(&self) -> u64 {
        self.usage.load(Ordering::Relaxed)
    }
}

/// Adds up what an I/O loop meets; the first error is told at the end.
fn keep_first(first: &mut Option<io::Error>, error: io::Error) {
    first.get_or_insert(error);
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_was_read_a_moment_ago_is_at_hand_and_nothing_else_is() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let storage = FolderStorage::open(folder.path()).unwrap();
        let (repository, other) = (RepositoryName::parse("a").unwrap(), RepositoryName::parse("b").unwrap());
        let digest = Digest::sha256_of(b"bytes");
        assert!(storage.blob_at_hand(&repository, &digest).is_none());
        let mut upload = storage.begin_upload(&repository, "1").unwrap();
        upload.append(0, &[bytes::Bytes::from_static(b"bytes")]).unwrap();
        upload.commit(&digest).unwrap();
        assert_eq!(storage.blob(&repository, &digest).unwrap().unwrap().size, 5);
        let mut blob = storage.blob_at_hand(&repository, &digest).expect("it is in memory");
        let mut text = String::new();
        blob.file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), blob.size), ("bytes", 5));
        assert!(storage.blob_at_hand(&other, &digest).is_none());

        let manifest =
            StoredManifest { digest: Digest::sha256_of(b"{}"), media_type: shipway_model::MediaType::OciManifest, bytes: "{}".into() };
        let tag = crate::server::names::Tag::parse("v1").unwrap();
        let new =
            NewManifest { manifest: manifest.clone(), tag: Some(tag.clone()), blobs: Vec::new(), children: Vec::new(), refers_to: None };
        storage.keep_manifest(&repository, &new).unwrap();
        for reference in [ManifestReference::Digest(manifest.digest), ManifestReference::Tag(tag)] {
            assert_eq!(storage.manifest(&repository, &reference).unwrap(), Some(manifest.clone()));
            // File systems that cannot say what is in memory answer nothing.
            assert!(storage.manifest_at_hand(&repository, &reference).is_none_or(|found| found == manifest));
            assert!(storage.manifest_at_hand(&other, &reference).is_none());
        }
    }
}
