//! Mending the registry's folder in the engine's data root: what is damaged goes, so that the next push brings it whole.
//!
//! What stays would never get well: a push asks whether a blob is there and does not send it again. What must stay true: a registry may be serving the
//! folder and know nothing of this, so a file is taken aside first, looked at where nobody else can change it, and put back when it is sound after all
//! (a push came by) and its place is still empty. Whoever reads a blob at that moment goes on reading.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::layout::{absent_is_none, failed, names_in, sync_parent};
use super::manifests;
use super::survey::{EngineFolder, FolderProblem, Wrong, is_sound};
use crate::server::names::{RepositoryName, Tag};
use crate::server::storage::StorageError;

/// Names of files taken aside, in this process.
static SERIAL: AtomicU64 = AtomicU64::new(0);

impl EngineFolder {
    /// Takes away what `problem` is about: a tag that leads nowhere, a damaged manifest with the tags that led to it, a damaged blob under all its names.
    ///
    /// # Errors
    /// When a folder cannot be read or written.
    pub fn repair(&self, problem: &FolderProblem) -> Result<(), StorageError> {
        match &problem.wrong {
            Wrong::Tag(repository, tag) => self.drop_tag(repository, tag),
            Wrong::Manifest(repository, digest) => {
                let is_damaged = |path: &Path| !matches!(manifests::read_file(path, digest), Ok(Some(manifest)) if is_sound(&manifest));
                self.drop_file(&self.layout.manifest(repository, digest), is_damaged)?;
                for name in names_in(&self.layout.tags(repository))?.unwrap_or_default() {
                    let Some(tag) = Tag::parse(&name) else { continue };
                    if self.leads_nowhere(repository, &self.layout.tag(repository, &tag)).unwrap_or(false) {
                        self.drop_tag(repository, &tag)?;
                    }
                }
                Ok(())
            }
            Wrong::Blob(device, number) => self.each_link(|_, path| {
                let is_it = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (*device, *number));
                if is_it(path) { self.drop_file(path, is_it) } else { Ok(()) }
            }),
        }
    }

    fn drop_tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<(), StorageError> {
        let path = self.layout.tag(repository, tag);
        self.drop_file(&path, |aside| self.leads_nowhere(repository, aside).unwrap_or(true))
    }

    /// Removes the file `path`, durably, unless it is not damaged when nobody else can reach it.
    fn drop_file(&self, path: &Path, is_damaged: impl FnOnce(&Path) -> bool) -> Result<(), StorageError> {
        // What a crash leaves of it there, the registry's next start deletes.
        let aside = self.layout.uploads().join(format!("fsck-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed)));
        if absent_is_none(fs::rename(path, &aside)).map_err(|error| failed("take away", path, error))?.is_none() {
            return Ok(());
        }
        if !is_damaged(&aside) {
            match rustix::fs::renameat_with(CWD, &aside, CWD, path, RenameFlags::NOREPLACE) {
                // A newer one has come.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed("put back", path, errno)),
            }
        }
        absent_is_none(fs::remove_file(&aside)).map_err(|error| failed("remove", &aside, error))?;
        sync_parent(path)
    }
}
