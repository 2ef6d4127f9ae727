//! Lists: tags, repositories, referrers. Sorted, in pages, read from the names of files.

use std::fs;
use std::path::Path;

use shipway_model::{Descriptor, Digest};

use super::layout::{Layout, absent_is_none, failed, names_in, unflat};
use crate::server::names::{RepositoryName, Tag};
use crate::server::storage::{Page, StorageError};

/// Folders below a folder at most: a name has 255 characters, so it has no more components than half of that.
const DEPTH: usize = 128;

/// Tags of a repository.
pub(super) fn tags(layout: &Layout, repository: &RepositoryName, page: Page<'_>) -> Result<Option<(Vec<String>, bool)>, StorageError> {
    if !layout.manifests(repository).is_dir() {
        return Ok(None);
    }
    let mut names = names_in(&layout.tags(repository))?.unwrap_or_default();
    if let Some(after) = page.after {
        names.retain(|name| Tag::sort_key(name) > Tag::sort_key(after));
    }
    names.sort_by_cached_key(|name| (name.to_ascii_lowercase(), name.clone()));
    Ok(Some(cut(names, page.limit)))
}

/// Repositories that hold or held a manifest.
pub(super) fn repositories(layout: &Layout, page: Page<'_>) -> Result<(Vec<String>, bool), StorageError> {
    let mut names = all_repositories(layout, "_manifests")?;
    if let Some(after) = page.after {
        names.retain(|name| name.as_str() > after);
    }
    Ok(cut(names, page.limit))
}

/// Names of the repositories that have the room `room`, sorted.
pub(super) fn all_repositories(layout: &Layout, room: &str) -> Result<Vec<String>, StorageError> {
    let mut found = Vec::new();
    walk(&layout.repositories(), "", room, DEPTH, &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(folder: &Path, prefix: &str, room: &str, depth: usize, found: &mut Vec<String>) -> Result<(), StorageError> {
    if depth == 0 {
        return Ok(());
    }
    let names = names_in(folder)?.unwrap_or_default();
    if !prefix.is_empty() && names.iter().any(|name| name == room) {
        found.push(prefix.to_owned());
    }
    for name in names.iter().filter(|name| !name.starts_with('_')) {
        let below = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        walk(&folder.join(name), &below, room, depth - 1, found)?;
    }
    Ok(())
}

/// Manifests that speak about `subject`.
pub(super) fn referrers(
    layout: &Layout,
    repository: &RepositoryName,
    subject: &Digest,
    artifact_type: Option<&str>,
    page: Page<'_>,
    bytes: usize,
) -> Result<(Vec<Descriptor>, Option<String>), StorageError> {
    let folder = layout.referrers(repository, subject);
    let mut names = names_in(&folder)?.unwrap_or_default();
    if let Some(after) = page.after {
        names.retain(|name| name.as_str() > after);
    }
    names.sort();
    let (mut found, mut weight, mut last) = (Vec::new(), 0, None);
    for name in names {
        // A record without its manifest is what a crash left between the two.
        let Some(digest) = unflat(&name).filter(|digest| layout.manifest(repository, digest).exists()) else { continue };
        let path = folder.join(&name);
        let Some(text) = absent_is_none(fs::read(&path)).map_err(|error| failed("read", &path, error))? else { continue };
        let descriptor: Descriptor = serde_json::from_slice(&text).map_err(|error| failed("read", &path, error))?;
        if descriptor.digest != digest || artifact_type.is_some_and(|wanted| descriptor.artifact_type.as_deref() != Some(wanted)) {
            continue;
        }
        weight += text.len();
        if found.len() == page.limit || (weight > bytes && !found.is_empty()) {
            return Ok((found, last));
        }
        found.push(descriptor);
        last = Some(name);
    }
    Ok((found, None))
}

fn cut(mut names: Vec<String>, limit: usize) -> (Vec<String>, bool) {
    let more = names.len() > limit;
    names.truncate(limit);
    (names, more)
}
