//! The remembered digests of build contexts (`contexts/<name>`, one file per folder that was built from): counted and forgotten.
//!
//! Losing one costs hashing that folder's files once more. A file's time says when it was last of use: it is written when the folder changed, and
//! moved up, once a day at most, when the folder did not - a build that finds everything done writes nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use shipway_model::Timestamp;

use crate::{Engine, Error, Result, clock};

/// A folder nobody built from for so long has most likely gone.
const UNUSED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Folders remembered; the longest unused go first.
const KEPT: usize = 500;
/// How stale a file's time may be.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is remembered of one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextIndexUsage {
    /// The file's name.
    pub name: String,
    pub bytes: u64,
    /// When it was last of use, to a day.
    pub last_used: Timestamp,
}

impl ContextIndexUsage {
    /// What the API calls such an entry of the build cache; BuildKit's word for a context.
    pub const KIND: &str = "source.local";
    /// What it is, in words.
    pub const DESCRIPTION: &str = "digests of the files of a build context";
}

impl Engine {
    pub(super) fn contexts_dir(&self) -> PathBuf {
        self.inner.config.data_root.join("contexts")
    }

    /// What is remembered of build contexts, the longest unused first.
    pub(crate) fn context_indexes(&self) -> Result<Vec<ContextIndexUsage>> {
        let folder = self.contexts_dir();
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::Io { doing: format!("read {}", folder.display()), source }),
        };
        // A file that goes away meanwhile is none.
        let usage = |entry: std::fs::DirEntry| {
            let metadata = entry.metadata().ok()?;
            let last_used = Timestamp::from_system(metadata.modified().ok()?);
            Some(ContextIndexUsage { name: entry.file_name().to_string_lossy().into_owned(), bytes: metadata.len(), last_used })
        };
        let mut found: Vec<ContextIndexUsage> = entries.filter_map(|entry| usage(entry.ok()?)).collect();
        found.sort_by(|one, other| (one.last_used, &one.name).cmp(&(other.last_used, &other.name)));
        Ok(found)
    }

    /// Forgets those that `wanted` names; gives the names and the bytes.
    pub(super) fn forget_context_indexes(&self, wanted: impl Fn(&ContextIndexUsage) -> bool) -> Result<(Vec<String>, u64)> {
        let found = self.context_indexes()?;
        Ok(self.delete_indexes(found.into_iter().filter(wanted)))
    }

    /// Forgets what is old or too much.
    pub(crate) fn forget_stale_context_indexes(&self) -> Result<()> {
        let found = self.context_indexes()?;
        let oldest = clock::now() - UNUSED_FOR;
        let surplus = found.len().saturating_sub(KEPT);
        let stale = found.into_iter().enumerate().filter(|(place, index)| *place < surplus || index.last_used < oldest);
        let (names, bytes) = self.delete_indexes(stale.map(|(_, index)| index));
        if !names.is_empty() {
            tracing::debug!(count = names.len(), bytes, "forgot the digests of build contexts that nobody uses");
        }
        Ok(())
    }

    fn delete_indexes(&self, indexes: impl Iterator<Item = ContextIndexUsage>) -> (Vec<String>, u64) {
        let folder = self.contexts_dir();
        let (mut names, mut bytes) = (Vec::new(), 0);
        for index in indexes {
            match std::fs::remove_file(folder.join(&index.name)) {
                Ok(()) => {
                    bytes += index.bytes;
                    names.push(index.name);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(%error, name = index.name, "cannot forget the digests of a build context"),
            }
        }
        (names, bytes)
    }
}

/// Notes that a file was of use, unless that was noted today.
pub(super) fn touch(file: &Path) {
    let now = SystemTime::from(clock::now());
    let is_stale = |modified: SystemTime| now.duration_since(modified).is_ok_and(|age| age > DAY);
    let Ok(modified) = std::fs::metadata(file).and_then(|metadata| metadata.modified()) else { return };
    if is_stale(modified)
        && let Err(error) = std::fs::File::options().write(true).open(file).and_then(|file| file.set_modified(now))
    {
        tracing::debug!(%error, ?file, "cannot note the use of a build context's digests");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_noted_once_a_day_and_not_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        std::fs::write(&path, b"x").unwrap();
        let now = SystemTime::from(clock::now());
        for (age, moves) in [(Duration::from_secs(3600), false), (Duration::from_secs(25 * 3600), true)] {
            let before = now - age;
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
            touch(&path);
            let after = std::fs::metadata(&path).unwrap().modified().unwrap();
            assert_eq!(after > before + Duration::from_secs(60), moves, "{age:?}");
        }
        touch(&folder.path().join("nothing"));
    }
}
