//! Giving disk back while everybody goes on writing.
//!
//! Two steps. A blob leaves a repository when no manifest there needs it and nobody asked for it within the grace: whoever relies on a blob (an upload
//! that ends, a HEAD, a mount, a manifest that is pushed) touches the file first, and the last look at that time and at new manifests is taken under the
//! repository's lock, which a push of a manifest holds, too. A blob's bytes are deleted when the file has one name left, the one among all blobs: the kernel counts.
//! A mount or upload that links it in that very moment keeps the bytes by its link, and only stops sharing them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shipway_model::Digest;

use super::layout::{Layout, absent_is_none, digests_in, failed, idle_for, names_in};
use super::{FolderStorage, engine, keep_first, listing, manifests};
use crate::server::names::RepositoryName;
use crate::server::storage::{Collected, StorageError};

/// Halves of small files that a crash left are deleted after so long.
const HALVES: Duration = Duration::from_secs(3600);

/// One collection.
pub(super) fn run(storage: &FolderStorage, grace: Duration, idle: Duration) -> Result<Collected, StorageError> {
    let mut collected = Collected { uploads: expire_uploads(&storage.layout, idle)?, ..Collected::default() };
    for name in listing::all_repositories(&storage.layout, "_blobs")? {
        let Ok(repository) = RepositoryName::parse(&name) else { continue };
        collected.links += unlink_unneeded(storage, &repository, grace)?;
    }
    collected.shared = share_with_engine(storage)?;
    sweep_blobs(storage, grace, &mut collected)?;
    sweep_halves(&storage.layout)?;
    Ok(collected)
}

/// Takes blobs out of a repository that no manifest there needs.
fn unlink_unneeded(storage: &FolderStorage, repository: &RepositoryName, grace: Duration) -> Result<u64, StorageError> {
    match Look::at(storage, repository, grace)? {
        Some(look) => look.unlink(storage, repository, grace),
        None => Ok(0),
    }
}

/// What a repository looked like while others went on writing to it.
struct Look {
    /// Blobs that nobody relied on lately.
    old: Vec<Digest>,
    /// Manifests that were read.
    read: HashSet<Digest>,
    /// What they need.
    needed: HashSet<Digest>,
}

impl Look {
    /// None when there is nothing to take away, or nobody can tell what is needed.
    fn at(storage: &FolderStorage, repository: &RepositoryName, grace: Duration) -> Result<Option<Self>, StorageError> {
        let layout = &storage.layout;
        let folder = layout.repository(repository).join("_blobs");
        let old: Vec<Digest> = digests_in(&folder)?.into_iter().filter(|digest| is_old(&layout.link(repository, digest), grace)).collect();
        let mut look = Self { old, read: HashSet::new(), needed: HashSet::new() };
        Ok((!look.old.is_empty() && look.read_new(layout, repository)?).then_some(look))
    }

    /// Reads the manifests that came since; false when one cannot be read.
    fn read_new(&mut self, layout: &Layout, repository: &RepositoryName) -> Result<bool, StorageError> {
        for digest in manifests::all(layout, repository)? {
            if !self.read.insert(digest) {
                continue;
            }
            let Some(manifest) = manifests::read(layout, repository, &digest)? else { continue };
            let Some(needs) = manifests::needs(&manifest) else {
                tracing::warn!(%repository, %digest, "a manifest cannot be read: nothing of its repository is collected");
                return Ok(false);
            };
            self.needed.extend(needs);
        }
        Ok(true)
    }

    /// Takes away what is not needed, as long as nobody can push a manifest.
    fn unlink(mut self, storage: &FolderStorage, repository: &RepositoryName, grace: Duration) -> Result<u64, StorageError> {
        let layout = &storage.layout;
        let _alone = storage.lock(repository);
        // A manifest that came since the look has touched what it needs, but that says nothing where the grace is short.
        if !self.read_new(layout, repository)? {
            return Ok(0);
        }
        let mut unlinked = 0;
        for digest in self.old.iter().filter(|digest| !self.needed.contains(digest)) {
            let path = layout.link(repository, digest);
            if is_old(&path, grace) && absent_is_none(fs::remove_file(&path)).map_err(|error| failed("remove", &path, error))?.is_some() {
                unlinked += 1;
            }
        }
        Ok(unlinked)
    }
}

fn is_old(path: &Path, grace: Duration) -> bool {
    fs::metadata(path).is_ok_and(|metadata| idle_for(&metadata) >= grace)
}

/// Makes copies of what the engine got since links to the engine's files.
fn share_with_engine(storage: &FolderStorage) -> Result<u64, StorageError> {
    let layout = &storage.layout;
    if layout.engine.is_none() {
        return Ok(0);
    }
    let mut shared = 0;
    for name in listing::all_repositories(layout, "_blobs")? {
        let Ok(repository) = RepositoryName::parse(&name) else { continue };
        for digest in digests_in(&layout.repository(&repository).join("_blobs"))? {
            // Nobody removes it from the repository meanwhile.
            let _alone = storage.lock(&repository);
            shared += u64::from(engine::share(layout, &layout.link(&repository, &digest), &digest)?);
        }
    }
    for digest in all_blobs(layout)? {
        // Only the collector removes these names, one collection at a time.
        shared += u64::from(engine::share(layout, &layout.blob(&digest), &digest)?);
    }
    Ok(shared)
}

/// Deletes blobs that have no name but their own, or none beside it but the engine's.
fn sweep_blobs(storage: &FolderStorage, grace: Duration, collected: &mut Collected) -> Result<(), StorageError> {
    let layout = &storage.layout;
    each_blob(layout, |path, metadata| {
        if metadata.nlink() > 2 || idle_for(metadata) < grace || metadata.nlink() > 1 + engine::names_of_engine(layout, path, metadata) {
            return Ok(());
        }
        if absent_is_none(fs::remove_file(path))?.is_some() {
            collected.blobs += 1;
            // The others are the engine's now.
            collected.bytes += if metadata.nlink() == 1 { metadata.len() } else { 0 };
            storage.usage.fetch_sub(metadata.len().min(storage.usage.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
        Ok(())
    })
}

/// Bytes of all blobs.
pub(super) fn measure(layout: &Layout) -> Result<u64, StorageError> {
    let mut total = 0;
    each_blob(layout, |_, metadata| {
        total += metadata.len();
        Ok(())
    })?;
    Ok(total)
}

/// Digests of all blobs.
pub(super) fn all_blobs(layout: &Layout) -> Result<Vec<Digest>, StorageError> {
    let mut digests = Vec::new();
    each_blob(layout, |path, _| {
        let parts: Vec<_> = path.iter().rev().take(3).filter_map(|part| part.to_str()).collect();
        if let [hex, _, algorithm] = parts.as_slice() {
            digests.extend(format!("{algorithm}:{hex}").parse::<Digest>());
        }
        Ok(())
    })?;
    Ok(digests)
}

fn each_blob(layout: &Layout, mut visit: impl FnMut(&Path, &fs::Metadata) -> io::Result<()>) -> Result<(), StorageError> {
    let top = layout.blobs();
    let mut first = None;
    for algorithm in names_in(&top)?.unwrap_or_default() {
        for bucket in names_in(&top.join(&algorithm))?.unwrap_or_default() {
            let folder = top.join(&algorithm).join(&bucket);
            for name in names_in(&folder)?.unwrap_or_default() {
                let path = folder.join(name);
                let visited = fs::symlink_metadata(&path).and_then(|metadata| visit(&path, &metadata));
                if let Err(error) = absent_is_none(visited) {
                    keep_first(&mut first, error);
                }
            }
        }
    }
    first.map_or(Ok(()), |error| Err(failed("collect in", &top, error)))
}

/// Deletes uploads that nobody came back to.
fn expire_uploads(layout: &Layout, idle: Duration) -> Result<u64, StorageError> {
    let folder = layout.uploads();
    let mut expired = 0;
    for name in names_in(&folder)?.unwrap_or_default() {
        let data = folder.join(&name).with_extension("");
        if name.ends_with(".json") || !is_old(&data, idle) {
            continue;
        }
        for path in [&data, &data.with_extension("json")] {
            absent_is_none(fs::remove_file(path)).map_err(|error| failed("remove", path, error))?;
        }
        expired += 1;
    }
    Ok(expired)
}

/// Deletes what `durable::write_file` was writing when the power went.
fn sweep_halves(layout: &Layout) -> Result<(), StorageError> {
    let mut folders = vec![layout.repositories()];
    while let Some(folder) = folders.pop() {
        let Some(entries) = absent_is_none(fs::read_dir(&folder)).map_err(|error| failed("read", &folder, error))? else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                if entry.file_name() != "_blobs" {
                    folders.push(path);
                }
            } else if entry.file_name().to_string_lossy().starts_with('.') && idle_for(&metadata) >= HALVES {
                absent_is_none(fs::remove_file(&path)).map_err(|error| failed("remove", &path, error))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use shipway_model::MediaType;

    use super::*;
    use crate::server::storage::{Kept, NewManifest, Storage as _, StoredManifest};

    /// The order of a day under load: look, push, take away.
    #[test]
    fn a_manifest_that_comes_between_look_and_unlink_keeps_its_blobs() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let storage = FolderStorage::open(folder.path()).unwrap();
        let repository = RepositoryName::parse("a").unwrap();
        let put = |bytes: &'static [u8], id: &str| {
            let digest = Digest::sha256_of(bytes);
            let mut upload = storage.begin_upload(&repository, id).unwrap();
            upload.append(0, &[bytes::Bytes::from_static(bytes)]).unwrap();
            upload.commit(&digest).unwrap();
            digest
        };
        let (config, loose) = (put(b"config", "1"), put(b"loose", "2"));
        let look = Look::at(&storage, &repository, Duration::ZERO).unwrap().expect("two blobs without a manifest");
        let text = format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"x/y","digest":"{config}","size":6}},"layers":[]}}"#);
        let manifest =
            StoredManifest { digest: Digest::sha256_of(text.as_bytes()), media_type: MediaType::OciManifest, bytes: text.into() };
        let new = NewManifest { manifest, tag: None, blobs: vec![config], children: Vec::new(), refers_to: None };
        assert!(matches!(storage.keep_manifest(&repository, &new).unwrap(), Kept::Done));
        assert_eq!(look.unlink(&storage, &repository, Duration::ZERO).unwrap(), 1);
        assert!(storage.blob(&repository, &config).unwrap().is_some());
        assert!(storage.blob(&repository, &loose).unwrap().is_none());
    }
}
