//! The blobs of a data root for a process that does not own it: our registry beside the daemon, which links them instead of copying them.
//!
//! What the owner promises, and what must stay true here for it: a file that has a name in `blobs/` was hashed under that name, in this boot of the machine
//! or before it was published; its bytes never change, and a download never goes on with a file that has a second name (`downloads`). Whoever links such
//! a file has it for good, whatever the owner collects, and the owner keeps it whatever the other one removes: the kernel counts. It may be pending:
//! whoever promises it to others syncs it first. Nothing here writes.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use shipway_model::{Algorithm, Digest};

use crate::error::Doing as _;
use crate::layout::Layout;
use crate::{Error, Result};

/// The blobs of a data root that another process (or another part of this one) has open.
#[derive(Debug, Clone)]
pub struct SharedBlobs {
    layout: Layout,
}

impl SharedBlobs {
    /// Those of `root`, whose owner runs on this machine.
    ///
    /// # Errors
    /// `NotFound` when nobody here has that root open: its owner then lives on another machine, or what is in `blobs/` was not looked through since the
    /// machine started. `Sys` with `EACCES` when this user may not look.
    pub fn of(root: &Path) -> Result<Self> {
        let layout = Layout::new(root.to_owned(), String::new());
        let nobody = || Error::not_found("running daemon with the data root", root.display());
        let path = layout.lock();
        let lock = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(nobody()),
            other => other.doing(|| format!("open {path:?}"))?,
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Ok(Self { layout }),
            // A daemon that starts in this moment waits longer than this handle lives.
            Ok(()) => Err(nobody()),
            Err(errno) => Err(errno).doing(|| format!("flock({path:?})")),
        }
    }

    /// Opens the file of a blob; none when the store does not have it as a file. Blobs go by SHA-256.
    ///
    /// # Errors
    /// `Sys` for everything but its absence.
    pub fn open(&self, digest: &Digest) -> Result<Option<File>> {
        if digest.algorithm() != Algorithm::Sha256 {
            return Ok(None);
        }
        let path = self.layout.blob(digest);
        match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some).doing(|| format!("open {path:?}")),
        }
    }

    /// The folder of the registry that shares them.
    pub fn registry_folder(&self) -> PathBuf {
        self.layout.registry()
    }
}
