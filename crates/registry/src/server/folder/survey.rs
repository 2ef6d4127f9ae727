//! What the engine tells of the registry's folder in its data root: how much disk it takes, and whether it is sound. Reads only, while a registry may be
//! serving it; so only what is wrong at a second look counts.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use shipway_model::Digest;
use shipway_store::SharedBlobs;

use super::engine::{blobs_of, names_of_engine};
use super::layout::{Layout, absent_is_none, digests_in, failed, names_in};
use super::{MARK, collect, listing, manifests};
use crate::hash::hash_file;
use crate::server::names::{ManifestReference, RepositoryName, Tag};
use crate::server::storage::StorageError;

/// The folder of a registry that shares the blobs of an engine.
pub struct EngineFolder {
    layout: Layout,
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
                match manifests::read(layout, &repository, &digest) {
                    Ok(None) => {}
                    Ok(Some(manifest)) if Digest::of(digest.algorithm(), &manifest.bytes) == digest => {}
                    Ok(Some(_)) => problems.push(self.problem(&path, "its bytes have another digest")),
                    Err(error) => problems.push(self.problem(&path, error)),
                }
            }
            for tag in names_in(&layout.tags(&repository))?.unwrap_or_default().iter().filter_map(|tag| Tag::parse(tag)) {
                // The tag is read last: who removes a manifest removes its tags first.
                let leads_nowhere = || -> Result<bool, StorageError> {
                    let digest = layout.resolve(&repository, &ManifestReference::Tag(tag.clone()))?;
                    Ok(digest.is_some_and(|digest| !layout.manifest(&repository, &digest).exists()))
                };
                if leads_nowhere()? && leads_nowhere()? {
                    problems.push(self.problem(&layout.tag(&repository, &tag), "its manifest is missing"));
                }
            }
        }
        Ok(problems)
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
                Ok(actual) => problems.push(self.problem(path, format!("its bytes have the digest {actual}"))),
                Err(error) => problems.push(self.problem(path, error)),
            }
            Ok(())
        })?;
        Ok(problems)
    }

    /// Visits every name of every blob.
    fn each_link(&self, mut visit: impl FnMut(&Digest, &Path) -> Result<(), StorageError>) -> Result<(), StorageError> {
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

    fn problem(&self, path: &Path, what: impl ToString) -> FolderProblem {
        let root = self.layout.root.parent().unwrap_or(Path::new("/"));
        FolderProblem { place: path.strip_prefix(root).unwrap_or(path).display().to_string(), what: what.to_string() }
    }
}
