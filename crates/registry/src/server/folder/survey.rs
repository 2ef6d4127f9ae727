//! What the engine tells of the registry's folder in its data root: how much disk it takes, and whether it is sound. Reads only, while a registry may be
//! serving it; so only what is wrong at a second look counts. What is wrong is mended by `repair`.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use shipway_model::Digest;
use shipway_store::SharedBlobs;

use super::engine::{blobs_of, names_of_engine};
use super::layout::{Layout, absent_is_none, digest_of_tag, digests_in, failed, names_in};
use super::{MARK, collect, listing, manifests};
use crate::hash::hash_file;
use crate::server::names::{RepositoryName, Tag};
use crate::server::storage::{StorageError, StoredManifest};

/// The folder of a registry that shares the blobs of an engine.
pub struct EngineFolder {
    pub(super) layout: Layout,
}

/// The disk it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FolderUsage {
    /// Blobs of its repositories, each once.
    pub blobs: u64,
    /// Those of them that the engine has too.
    pub shared_blobs: u64,
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Bytes of blobs that only the registry has.
    pub own_bytes: u64,
}

/// Something wrong in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderProblem {
    /// Path below the data root.
    pub place: String,
    pub what: String,
    pub(super) wrong: Wrong,
}

/// Which thing is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A tag that holds no digest, or that of a manifest that is not there.
    Tag(RepositoryName, Tag),
    /// A manifest that is not what it is called.
    Manifest(RepositoryName, Digest),
    /// A blob that is not what it is called, by its device and number: it may have many names.
    Blob(u64, u64),
}

impl EngineFolder {
    /// The one in the data root `root`, which this process or another one on this machine has open; none where no registry ever was.
    ///
    /// # Errors
    /// When the data root cannot be read.
    pub fn of(root: &Path) -> Result<Option<Self>, StorageError> {
        let engine: SharedBlobs = blobs_of(root)?;
        let layout = Layout { root: engine.registry_folder(), engine: Some(engine) };
        Ok(layout.root.join(MARK).exists().then_some(Self { layout }))
    }

    /// Measures it.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn usage(&self) -> Result<FolderUsage, StorageError> {
        let mut usage = FolderUsage::default();
        let mut seen = HashSet::new();
        self.each_link(|_, path| {
            let Some(found) = absent_is_none(fs::metadata(path)).map_err(|error| failed("look at", path, error))? else { return Ok(()) };
            if seen.insert((found.dev(), found.ino())) {
                let shared = names_of_engine(&self.layout, path, &found) > 0;
                usage.blobs += 1;
                usage.shared_blobs += u64::from(shared);
                usage.bytes += found.len();
                usage.own_bytes += if shared { 0 } else { found.len() };
            }
            Ok(())
        })?;
        Ok(usage)
    }

    /// Looks for tags that lead nowhere, manifests that are not what they are called, and, when `strict`, blobs that are not what they are called. Blobs
    /// that the engine shares are the engine's to check.
    ///
    /// # Errors
    /// When a folder cannot be read; what is wrong with what is in it is the answer.
    pub fn check(&self, strict: bool) -> Result<Vec<FolderProblem>, StorageError> {
        let mut problems = self.look_at_manifests()?;
        if strict {
            problems.extend(self.look_at_blobs()?);
        }
        Ok(problems)
    }

    fn look_at_manifests(&self) -> Result<Vec<FolderProblem>, StorageError> {
        let layout = &self.layout;
        let mut problems = Vec::new();
        for name in listing::all_repositories(layout, "_manifests")? {
            let Ok(repository) = RepositoryName::parse(&name) else { continue };
            for digest in manifests::all(layout, &repository)? {
                let path = layout.manifest(&repository, &digest);
                let wrong = || Wrong::Manifest(repository.clone(), digest);
                match manifests::read(layout, &repository, &digest) {
                    Ok(None) => {}
                    Ok(Some(manifest)) if is_sound(&manifest) => {}
                    Ok(Some(_)) => problems.push(self.problem(&path, "its bytes have another digest", wrong())),
                    Err(error) => problems.push(self.problem(&path, error, wrong())),
                }
            }
            for tag in names_in(&layout.tags(&repository))?.unwrap_or_default().iter().filter_map(|tag| Tag::parse(tag)) {
                let path = layout.tag(&repository, &tag);
                let wrong = || Wrong::Tag(repository.clone(), tag.clone());
                match (self.leads_nowhere(&repository, &path), self.leads_nowhere(&repository, &path)) {
                    (Ok(true), Ok(true)) => problems.push(self.problem(&path, "its manifest is missing", wrong())),
                    (Err(error), Err(_)) => problems.push(self.problem(&path, error, wrong())),
                    _ => {}
                }
            }
        }
        Ok(problems)
    }

    /// Whether the tag in the file `path` points at a manifest that is not there. The tag is read first: who removes a manifest removes its tags before.
    pub(super) fn leads_nowhere(&self, repository: &RepositoryName, path: &Path) -> Result<bool, StorageError> {
        let digest = digest_of_tag(path)?;
        Ok(digest.is_some_and(|digest| !self.layout.manifest(repository, &digest).exists()))
    }

    fn look_at_blobs(&self) -> Result<Vec<FolderProblem>, StorageError> {
        let mut problems = Vec::new();
        let mut seen = HashSet::new();
        self.each_link(|digest, path| {
            let Some(file) = absent_is_none(File::open(path)).map_err(|error| failed("open", path, error))? else { return Ok(()) };
            let found = file.metadata().map_err(|error| failed("look at", path, error))?;
            if !seen.insert((found.dev(), found.ino())) || names_of_engine(&self.layout, path, &found) > 0 {
                return Ok(());
            }
            match hash_file(file, digest.algorithm()) {
                Ok(actual) if actual == *digest => {}
                Ok(actual) => {
                    let wrong = Wrong::Blob(found.dev(), found.ino());
                    problems.push(self.problem(path, format!("its bytes have the digest {actual}"), wrong));
                }
                Err(error) => problems.push(self.problem(path, error, Wrong::Blob(found.dev(), found.ino()))),
            }
            Ok(())
        })?;
        Ok(problems)
    }

    /// Visits every name of every blob.
    pub(super) fn each_link(&self, mut visit: impl FnMut(&Digest, &Path) -> Result<(), StorageError>) -> Result<(), StorageError> {
        for name in listing::all_repositories(&self.layout, "_blobs")? {
            let Ok(repository) = RepositoryName::parse(&name) else { continue };
            for digest in digests_in(&self.layout.repository(&repository).join("_blobs"))? {
                visit(&digest, &self.layout.link(&repository, &digest))?;
            }
        }
        for digest in collect::all_blobs(&self.layout)? {
            visit(&digest, &self.layout.blob(&digest))?;
        }
        Ok(())
    }

    fn problem(&self, path: &Path, what: impl ToString, wrong: Wrong) -> FolderProblem {
        let root = self.layout.root.parent().unwrap_or(Path::new("/"));
        FolderProblem { place: path.strip_prefix(root).unwrap_or(path).display().to_string(), what: what.to_string(), wrong }
    }
}

/// Whether a manifest is what it is called.
pub(super) fn is_sound(manifest: &StoredManifest) -> bool {
    Digest::of(manifest.digest.algorithm(), &manifest.bytes) == manifest.digest
}
