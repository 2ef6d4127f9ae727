//! The drawing of the storage folder, and the few file operations everything else is made of.
//!
//! ```text
//! FOLDER/
//!   registry.json                              {"version":1}; locked by the process that serves it
//!   blobs/sha256/ab/<hex>                      every blob once; hard-linked into each repository that has it
//!   repositories/<name>/_blobs/sha256/<hex>    the same file: its count of links is its count of users
//!   repositories/<name>/_manifests/sha256/<hex>   first line: media type; then the manifest, byte by byte
//!   repositories/<name>/_tags/<tag>            the digest it points at
//!   repositories/<name>/_referrers/<digest>/<digest>   how the second is listed as one that speaks about the first
//!   uploads/<id>, uploads/<id>.json            bytes so far, and for whom; those of another boot are rubbish
//! ```
//!
//! A component of a repository's name begins with a letter or digit, so `_blobs` and its siblings can never be part of one.
//! Whether a repository has a blob, and the blob itself, are one name: there is nothing to get out of step, and no cache that could serve the deleted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};
use shipway_model::Digest;
use shipway_store::SharedBlobs;

use crate::server::names::{ManifestReference, RepositoryName, Tag};
use crate::server::storage::StorageError;

/// Paths below the storage folder.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
    /// The engine's store, where this folder lies in its data root; see `engine`.
    pub(super) engine: Option<SharedBlobs>,
}

impl Layout {
    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.blobs().join(digest.algorithm().name()).join(&hex[..2]).join(hex)
    }

    pub(super) fn repositories(&self) -> PathBuf {
        self.root.join("repositories")
    }

    pub(super) fn repository(&self, name: &RepositoryName) -> PathBuf {
        self.repositories().join(name.as_str())
    }

    pub(super) fn link(&self, name: &RepositoryName, digest: &Digest) -> PathBuf {
        self.repository(name).join("_blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    pub(super) fn manifests(&self, name: &RepositoryName) -> PathBuf {
        self.repository(name).join("_manifests")
    }

    pub(super) fn manifest(&self, name: &RepositoryName, digest: &Digest) -> PathBuf {
        self.manifests(name).join(digest.algorithm().name()).join(digest.hex())
    }

    pub(super) fn tags(&self, name: &RepositoryName) -> PathBuf {
        self.repository(name).join("_tags")
    }

    pub(super) fn tag(&self, name: &RepositoryName, tag: &Tag) -> PathBuf {
        self.tags(name).join(tag.as_str())
    }

    pub(super) fn referrers(&self, name: &RepositoryName, subject: &Digest) -> PathBuf {
        self.repository(name).join("_referrers").join(flat(subject))
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// The digest that a reference means now.
    pub(super) fn resolve(&self, name: &RepositoryName, reference: &ManifestReference) -> Result<Option<Digest>, StorageError> {
        let tag = match reference {
            ManifestReference::Digest(digest) => return Ok(Some(*digest)),
            ManifestReference::Tag(tag) => tag,
        };
        digest_of_tag(&self.tag(name, tag))
    }
}

/// The digest that the tag in the file `path` points at.
pub(super) fn digest_of_tag(path: &Path) -> Result<Option<Digest>, StorageError> {
    let Some(bytes) = absent_is_none(fs::read(path)).map_err(|error| failed("read", path, error))? else { return Ok(None) };
    match digest_in(&bytes) {
        Some(digest) => Ok(Some(digest)),
        None => Err(failed("read", path, io::Error::new(io::ErrorKind::InvalidData, "this tag holds no digest"))),
    }
}

/// The digest in the text of a tag.
pub(super) fn digest_in(text: &[u8]) -> Option<Digest> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// A digest as one plain name.
pub(super) fn flat(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

/// What [`flat`] wrote.
pub(super) fn unflat(name: &str) -> Option<Digest> {
    name.replacen('-', ":", 1).parse().ok()
}

/// The error of a file operation; the path is for the log, answers never show it.
pub(super) fn failed(doing: &str, path: &Path, error: impl Into<io::Error>) -> StorageError {
    StorageError::new(format!("cannot {doing} \"{}\"", path.display()), error)
}

/// What is not there is no error.
pub(super) fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes `folder` and its parents, each durable before the next.
pub(super) fn create_folder(folder: &Path) -> Result<(), StorageError> {
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = folder.parent().ok_or_else(|| failed("create", folder, error))?;
            create_folder(parent)?;
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("create", folder, error)),
                _ => {}
            }
        }
        Err(error) => return Err(failed("create", folder, error)),
    }
    sync_parent(folder)
}

/// Makes the names beside `path` durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), StorageError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let folder = File::open(parent).map_err(|error| failed("open", parent, error))?;
    shipway_sys::durable::sync_dir(&folder).map_err(|error| failed("sync", parent, error))
}

/// Writes a small file, whole or not at all, durably; its folder is made when it is not there.
pub(super) fn write_small(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(failed("write", path, io::Error::from(io::ErrorKind::InvalidInput)));
    };
    create_folder(parent)?;
    let folder = File::open(parent).map_err(|error| failed("open", parent, error))?;
    shipway_sys::durable::write_file(&folder, name, bytes).map_err(|error| failed("write", path, error))
}

/// Removes a file durably; false when it was not there.
pub(super) fn remove_file(path: &Path) -> Result<bool, StorageError> {
    match absent_is_none(fs::remove_file(path)).map_err(|error| failed("remove", path, error))? {
        Some(()) => sync_parent(path).map(|()| true),
        None => Ok(false),
    }
}

/// What came of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Linked {
    Made,
    /// A link that is there already is as good.
    WasThere,
    /// There is nothing to link, or it has as many links as it can have, or lies on another file system.
    CannotBe,
}

/// Links `path` as `link`, too, durably; false when that cannot be.
pub(super) fn link_file(path: &Path, link: &Path) -> Result<bool, StorageError> {
    Ok(link_with(link, || path.exists(), || fs::hard_link(path, link))? != Linked::CannotBe)
}

/// Makes `link` by `attempt`, durably, and its folder when it is not there; `has_source` tells the one missing thing from the other.
pub(super) fn link_with(link: &Path, has_source: impl Fn() -> bool, attempt: impl Fn() -> io::Result<()>) -> Result<Linked, StorageError> {
    let mut made = attempt();
    if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) && has_source() {
        create_folder(link.parent().unwrap_or(Path::new(".")))?;
        made = attempt();
    }
    let linked = match made {
        Ok(()) => Linked::Made,
        // Whoever made it may not have synced yet.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Linked::WasThere,
        Err(error) if is_no_place_for_links(&error) => return Ok(Linked::CannotBe),
        Err(error) => return Err(failed("link", link, error)),
    };
    sync_parent(link).map(|()| linked)
}

fn is_no_place_for_links(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::TooManyLinks | io::ErrorKind::CrossesDevices)
}

/// Says that somebody relies on this file now: collection leaves it alone for a while. False when it is not there.
pub(super) fn touch(path: &Path) -> Result<bool, StorageError> {
    let touched = rustix::fs::utimensat(CWD, path, &now_for_both(), AtFlags::empty()).map_err(io::Error::from);
    Ok(absent_is_none(touched).map_err(|error| failed("touch", path, error))?.is_some())
}

/// Both times of a file, by the kernel's clock.
pub(super) fn now_for_both() -> Timestamps {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Timestamps { last_access: now, last_modification: now }
}

/// How long nobody relied on a file; nothing for one whose time lies ahead.
pub(super) fn idle_for(metadata: &fs::Metadata) -> Duration {
    metadata.modified().ok().and_then(|time| crate::server::clock::now().duration_since(time).ok()).unwrap_or_default()
}

/// Names in a folder, without those of files being written; none when there is no folder.
pub(super) fn names_in(folder: &Path) -> Result<Option<Vec<String>>, StorageError> {
    let Some(entries) = absent_is_none(fs::read_dir(folder)).map_err(|error| failed("read", folder, error))? else { return Ok(None) };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed("read", folder, error))?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    Ok(Some(names))
}

/// Digests that are names in `folder/<algorithm>/`.
pub(super) fn digests_in(folder: &Path) -> Result<Vec<Digest>, StorageError> {
    let mut digests = Vec::new();
    for algorithm in names_in(folder)?.unwrap_or_default() {
        let names = names_in(&folder.join(&algorithm))?.unwrap_or_default();
        digests.extend(names.iter().filter_map(|hex| format!("{algorithm}:{hex}").parse::<Digest>().ok()));
    }
    Ok(digests)
}
