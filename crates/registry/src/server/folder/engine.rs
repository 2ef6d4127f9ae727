//! What the engine on this machine has in its store: linked here instead of copied, and counted right.
//!
//! A blob in a repository is a link to a file ([`super::layout`]), and a blob of the engine's store is a file by the same kind of name: one more link, and
//! the bytes are in both, for as long as either has a name for them. What must stay true: nothing here writes to a file of the engine's (its times
//! are ours to touch, nobody else looks at them); a link is in a repository only after the bytes are on disk, which for the engine may come later;
//! where no link can be (another file system, too many links) the bytes come as in any other registry.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD};
use shipway_model::Digest;
use shipway_store::SharedBlobs;

use super::layout::{Layout, Linked, absent_is_none, failed, link_with, now_for_both, sync_parent};
use crate::server::names::RepositoryName;
use crate::server::storage::StorageError;

/// Names of links on their way, in this process.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// The blobs of the engine whose data root is `root`.
pub(super) fn blobs_of(root: &Path) -> Result<SharedBlobs, StorageError> {
    use shipway_model::{Classified as _, ErrorKind};
    SharedBlobs::of(root).map_err(|error| match &error {
        shipway_store::Error::Sys { source, .. } if source.errno == rustix::io::Errno::ACCESS => {
            StorageError::Forbidden { root: root.display().to_string() }
        }
        _ if error.kind() == ErrorKind::NotFound => StorageError::NoEngine { root: root.display().to_string() },
        _ => StorageError::new("cannot share the engine's blobs", io::Error::other(error)),
    })
}

/// Makes a blob that the engine has one of `repository`, unless it has more bytes than `room`; its size, or none when it stays away.
pub(super) fn adopt(
    layout: &Layout,
    usage: &AtomicU64,
    repository: &RepositoryName,
    digest: &Digest,
    room: u64,
) -> Result<Option<u64>, StorageError> {
    let Some((file, found)) = open(layout, digest)?.filter(|(_, found)| found.len() <= room) else { return Ok(None) };
    settle(&file, layout, digest)?;
    // The repository's own link comes first, as after an upload.
    if link_open(&file, &layout.link(repository, digest))? == Linked::CannotBe {
        return Ok(None);
    }
    if link_open(&file, &layout.blob(digest))? == Linked::Made {
        usage.fetch_add(found.len(), Ordering::Relaxed);
    }
    Ok(Some(found.len()))
}

/// Makes `path`, a copy of a blob that the engine has got since, a link to the engine's file. Whoever reads the copy goes on reading it. The caller
/// sees to it that nobody removes `path` meanwhile: it would come back.
pub(super) fn share(layout: &Layout, path: &Path, digest: &Digest) -> Result<bool, StorageError> {
    let Some((file, theirs)) = open(layout, digest)? else { return Ok(false) };
    let Some(ours) = absent_is_none(fs::symlink_metadata(path)).map_err(|error| failed("look at", path, error))? else { return Ok(false) };
    if is_same(&ours, &theirs) || ours.dev() != theirs.dev() || ours.len() != theirs.len() {
        return Ok(false);
    }
    settle(&file, layout, digest)?;
    // A crash leaves it to the next start, which deletes what is no upload.
    let beside = layout.uploads().join(format!("link-{}", SERIAL.fetch_add(1, Ordering::Relaxed)));
    absent_is_none(fs::remove_file(&beside)).map_err(|error| failed("remove", &beside, error))?;
    if link_open(&file, &beside)? != Linked::Made {
        return Ok(false);
    }
    fs::rename(&beside, path).map_err(|error| failed("replace", path, error))?;
    sync_parent(path).map(|()| true)
}

/// How many of the names of a blob of ours are the engine's: one, or none.
pub(super) fn names_of_engine(layout: &Layout, path: &Path, ours: &Metadata) -> u64 {
    let digest = path.file_name().and_then(|name| format!("sha256:{}", name.to_str()?).parse::<Digest>().ok());
    // What cannot be told counts as a name of ours: then the blob stays.
    digest.and_then(|digest| open(layout, &digest).ok()?).map_or(0, |(_, theirs)| u64::from(is_same(ours, &theirs)))
}

/// The engine's file of a blob.
fn open(layout: &Layout, digest: &Digest) -> Result<Option<(File, Metadata)>, StorageError> {
    let Some(engine) = &layout.engine else { return Ok(None) };
    let trouble = |error: &dyn std::fmt::Display| {
        StorageError::new(format!("cannot open the engine's blob {digest}"), io::Error::other(error.to_string()))
    };
    let Some(file) = engine.open(digest).map_err(|error| trouble(&error))? else { return Ok(None) };
    let found = file.metadata().map_err(|error| trouble(&error))?;
    Ok(found.is_file().then_some((file, found)))
}

/// Safe on disk, and safe from collection here for a while.
fn settle(file: &File, layout: &Layout, digest: &Digest) -> Result<(), StorageError> {
    let named = layout.blob(digest);
    rustix::fs::futimens(file, &now_for_both()).map_err(|errno| failed("touch the engine's", &named, errno))?;
    shipway_sys::durable::sync_file(file).map_err(|error| failed("sync the engine's", &named, error))
}

/// Links exactly the file that is open, which may be losing its name at the engine's at this moment (linkat(2), the form with `/proc/self/fd`).
fn link_open(file: &File, link: &Path) -> Result<Linked, StorageError> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    let has_name = || file.metadata().is_ok_and(|found| found.nlink() > 0);
    link_with(link, has_name, || rustix::fs::linkat(CWD, &open, CWD, link, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from))
}

pub(super) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
