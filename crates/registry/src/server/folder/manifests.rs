//! Manifests and tags: small files whose appearance is the moment a push is seen.
//!
//! What must stay true: the order is referrer, manifest, tag, and a removal goes the other way, so that at every moment what can be reached is whole.
//! The caller holds the repository's lock for everything but reading.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use shipway_model::{Digest, ManifestDocument, MediaType};

use super::layout::{Layout, absent_is_none, digests_in, failed, flat, names_in, remove_file, touch, write_small};
use crate::server::names::{ManifestReference, RepositoryName, Tag};
use crate::server::storage::{Kept, NewManifest, StorageError, StoredManifest};

/// Reads a manifest by its digest.
pub(super) fn read(layout: &Layout, repository: &RepositoryName, digest: &Digest) -> Result<Option<StoredManifest>, StorageError> {
    read_file(&layout.manifest(repository, digest), digest)
}

/// Reads the file `path` as the manifest `digest`.
pub(super) fn read_file(path: &Path, digest: &Digest) -> Result<Option<StoredManifest>, StorageError> {
    let Some(whole) = absent_is_none(fs::read(path)).map_err(|error| failed("read", path, error))? else { return Ok(None) };
    let broken = || failed("read", path, std::io::Error::from(std::io::ErrorKind::InvalidData));
    of_file(whole, digest).map(Some).ok_or_else(broken)
}

/// The manifest in the bytes of its file.
pub(super) fn of_file(whole: Vec<u8>, digest: &Digest) -> Option<StoredManifest> {
    let end = whole.iter().position(|byte| *byte == b'\n')?;
    let media_type = MediaType::parse(&String::from_utf8_lossy(&whole[..end]));
    Some(StoredManifest { digest: *digest, media_type, bytes: Bytes::from(whole).slice(end + 1..) })
}

/// Keeps a manifest when everything it needs is in the repository.
pub(super) fn keep(layout: &Layout, repository: &RepositoryName, new: &NewManifest) -> Result<Kept, StorageError> {
    let mut missing = Vec::new();
    for blob in &new.blobs {
        // The lease holds until the manifest itself holds the blob.
        if !touch(&layout.link(repository, blob))? {
            missing.push(*blob);
        }
    }
    for child in &new.children {
        if !touch(&layout.manifest(repository, child))? {
            missing.push(*child);
        }
    }
    if !missing.is_empty() {
        return Ok(Kept::Missing(missing));
    }
    let manifest = &new.manifest;
    if let Some((subject, descriptor)) = &new.refers_to {
        let path = layout.referrers(repository, subject).join(flat(&manifest.digest));
        let text = serde_json::to_vec(descriptor).map_err(|error| failed("describe", &path, error))?;
        write_small(&path, &text)?;
    }
    if read(layout, repository, &manifest.digest)?.as_ref() != Some(manifest) {
        let mut whole = format!("{}\n", manifest.media_type).into_bytes();
        whole.extend_from_slice(&manifest.bytes);
        write_small(&layout.manifest(repository, &manifest.digest), &whole)?;
    }
    if let Some(tag) = &new.tag
        && layout.resolve(repository, &ManifestReference::Tag(tag.clone()))? != Some(manifest.digest)
    {
        write_small(&layout.tag(repository, tag), manifest.digest.to_string().as_bytes())?;
    }
    Ok(Kept::Done)
}

/// Removes a manifest, its tags first.
pub(super) fn remove(layout: &Layout, repository: &RepositoryName, digest: &Digest) -> Result<bool, StorageError> {
    let Some(manifest) = read(layout, repository, digest)? else { return Ok(false) };
    for name in names_in(&layout.tags(repository))?.unwrap_or_default() {
        let Some(tag) = Tag::parse(&name) else { continue };
        if layout.resolve(repository, &ManifestReference::Tag(tag.clone()))? == Some(*digest) {
            remove_file(&layout.tag(repository, &tag))?;
        }
    }
    remove_file(&layout.manifest(repository, digest))?;
    if let Some(subject) = subject_of(&manifest) {
        remove_file(&layout.referrers(repository, &subject).join(flat(digest)))?;
    }
    Ok(true)
}

fn subject_of(manifest: &StoredManifest) -> Option<Digest> {
    match ManifestDocument::parse(&manifest.bytes, None).ok()? {
        ManifestDocument::Manifest(document) => document.subject,
        ManifestDocument::Index(document) => document.subject,
    }
    .map(|subject| subject.digest)
}

/// Every manifest of a repository.
pub(super) fn all(layout: &Layout, repository: &RepositoryName) -> Result<Vec<Digest>, StorageError> {
    digests_in(&layout.manifests(repository))
}

/// Everything a manifest needs to be whole; `None` when we cannot tell.
pub(super) fn needs(manifest: &StoredManifest) -> Option<Vec<Digest>> {
    Some(match ManifestDocument::parse(&manifest.bytes, None).ok()? {
        ManifestDocument::Manifest(document) => {
            std::iter::once(document.config.digest).chain(document.layers.iter().map(|layer| layer.digest)).collect()
        }
        ManifestDocument::Index(document) => document.manifests.iter().map(|child| child.digest).collect(),
    })
}
