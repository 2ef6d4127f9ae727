//! Checking the store against itself, and repairing what can be repaired.
//!
//! The fast check compares rows, folders and references; the strict one also reads every byte: layers are scanned again and compared with their index
//! and, where our own writer made the tar, with their diff id; recipes are replayed; blobs are hashed; SQLite checks its file.
//! Repairing never touches what is sound: it removes rows whose bytes are gone, bytes that have no row, and what pointed at either.

mod bytes;
mod repair;
mod rows;

use std::time::Duration;

use crate::Result;
use crate::open::Store;

/// What to check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FsckOptions {
    /// Read and hash every byte.
    pub strict: bool,
    /// Repair what is found.
    pub repair: bool,
}

/// How often, and how far apart, folders without rows are looked at before they are called orphans.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// What was checked and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Everything wrong, in the order it was found.
    pub findings: Vec<Finding>,
    /// Layers looked at.
    pub layers: usize,
    /// Blobs looked at.
    pub blobs: usize,
    /// Images looked at.
    pub images: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// What is wrong, in words.
    pub what: String,
    /// Which thing: an id, a digest, a name or a path below the data root.
    pub place: String,
    /// True when it was repaired.
    pub fixed: bool,
}

/// Kinds of findings; each has one way to repair it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FindingKind {
    /// A row that cannot be read. Repair: none, it may belong to a newer version.
    Record,
    /// A layer whose bytes are missing or wrong. Repair: the layer goes.
    Layer,
    /// A blob whose bytes are missing or wrong. Repair: the blob goes.
    Blob,
    /// An image whose layers or config are missing or wrong. Repair: the image and its names go.
    Image,
    /// A name of an image that is not here. Repair: the name goes.
    Name,
    /// A note about the stored form of a layer that is not here. Repair: the note goes.
    Representation,
    /// A cache record whose layer is not here. Repair: the record goes.
    Cache,
    /// An owner that holds a layer that is not here. Repair: none, the owner must go.
    Hold,
    /// A container's snapshot without its folder or its layers. Repair: none, the container must go.
    Snapshot,
    /// A volume without its folder. Repair: an empty folder is made.
    Volume,
    /// A folder of a volume without a record. Repair: a record is made, since the bytes are the user's.
    VolumeFolder,
    /// Bytes without a row. Repair: they go to the trash.
    Orphan,
    /// A damaged database. Repair: none.
    Database,
}

impl FsckReport {
    /// True when nothing is wrong, or all of it was repaired.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.fixed)
    }

    fn add(&mut self, kind: FindingKind, place: impl ToString, what: impl ToString) {
        self.findings.push(Finding { kind, what: what.to_string(), place: place.to_string(), fixed: false });
    }
}

impl Store {
    /// Checks the store. Safe while it is used; what is unpublished is not looked at.
    ///
    /// # Errors
    /// Only when checking itself is impossible; what is wrong with the store is in the report.
    pub fn fsck(&self, options: FsckOptions) -> Result<FsckReport> {
        let mut report = FsckReport::default();
        // What is pending has no rows yet and would look like leftovers.
        if self.degraded().is_none() {
            self.publish(|_| Ok(()))?;
        }
        rows::check(self, &mut report)?;
        self.look_again(&mut report);
        if options.strict {
            bytes::check(self, &mut report)?;
        }
        if options.repair && !report.findings.is_empty() {
            repair::repair(self, &mut report)?;
        }
        Ok(report)
    }

    /// What is being removed right now loses its row first and its folder a moment later; only what stays is an orphan.
    fn look_again(&self, report: &mut FsckReport) {
        let goes = |finding: &Finding| finding.kind == FindingKind::Orphan && !self.root().join(&finding.place).exists();
        for _ in 0..LOOKS {
            if !report.findings.iter().any(|finding| finding.kind == FindingKind::Orphan) {
                return;
            }
            std::thread::sleep(BETWEEN_LOOKS);
            report.findings.retain(|finding| !goes(finding));
        }
    }
}
