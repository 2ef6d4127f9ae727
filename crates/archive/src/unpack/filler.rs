//! A thread that fills small files while the next ones are being made: writing, hashing, metadata and closing cost as much as making them.
//!
//! What must stay true: files are made in the order of the archive, by one thread, so that names mean what they should; only what is in a file is
//! written here, through its own handle. Results are collected before anything is removed or linked, and at the end.

use std::fs::File;
use std::io::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use shipway_sys::path::{Time, set_mode, set_owner, set_times};

use crate::Error;
use crate::index::{IndexEntry, Node};
use crate::tar::Entry;

/// Larger files are written where they are made, piece by piece.
pub(super) const SMALL: u64 = 64 * 1024;
/// An archive with fewer small files is not worth a thread.
const WORTH_IT: u32 = 64;
/// Files handed over at once, up to so many bytes: waking a thread costs as much as making a file.
const BATCH: usize = 32;
const BATCH_BYTES: usize = 256 * 1024;
/// Batches under way at most; together with [`BATCH_BYTES`] this bounds the memory.
const BATCHES: usize = 4;

/// A file that was made and is empty.
pub(super) struct Job {
    /// What it will be, but for the digest of its content.
    pub(super) entry: IndexEntry,
    pub(super) file: File,
    pub(super) content: Vec<u8>,
    /// Owner to set, where it is not so already.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mode: Option<u32>,
    pub(super) mtime: Time,
}

/// The thread and what is on its way to it.
#[derive(Default)]
pub(super) struct Filler {
    seen: u32,
    batch: Vec<Job>,
    bytes: usize,
    under_way: usize,
    thread: Option<Thread>,
}

struct Thread {
    jobs: Option<SyncSender<Vec<Job>>>,
    results: Receiver<Result<Vec<IndexEntry>, Error>>,
    handle: Option<JoinHandle<()>>,
}

impl Filler {
    /// Whether a file is for this thread; it is started by the first one that is.
    pub(super) fn takes(&mut self, entry: &Entry) -> bool {
        if entry.size > SMALL || !entry.xattrs.is_empty() || !entry.sparse.is_empty() {
            return false;
        }
        self.seen = self.seen.saturating_add(1);
        if self.thread.is_none() && self.seen == WORTH_IT {
            // Without a thread to be had everything is written where it is made.
            self.thread = Thread::start();
        }
        self.thread.is_some()
    }

    /// Hands a file over; what was finished meanwhile.
    ///
    /// # Errors
    /// Of any file handed over before.
    pub(super) fn fill(&mut self, job: Job) -> Result<Vec<IndexEntry>, Error> {
        self.bytes += job.content.len();
        self.batch.push(job);
        if self.batch.len() < BATCH && self.bytes < BATCH_BYTES {
            return Ok(Vec::new());
        }
        self.send()?;
        if self.under_way > BATCHES { self.receive() } else { Ok(Vec::new()) }
    }

    /// Waits for everything handed over.
    ///
    /// # Errors
    /// As [`Filler::fill`].
    pub(super) fn settle(&mut self) -> Result<Vec<IndexEntry>, Error> {
        self.send()?;
        let mut filled = Vec::new();
        while self.under_way > 0 {
            filled.append(&mut self.receive()?);
        }
        Ok(filled)
    }

    fn send(&mut self) -> Result<(), Error> {
        let Some(thread) = self.thread.as_ref().filter(|_| !self.batch.is_empty()) else { return Ok(()) };
        self.bytes = 0;
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let sent = thread.jobs.as_ref().map(|jobs| jobs.send(batch));
        if !matches!(sent, Some(Ok(()))) {
            return Err(gone());
        }
        self.under_way += 1;
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<IndexEntry>, Error> {
        self.under_way -= 1;
        let thread = self.thread.as_ref().ok_or_else(gone)?;
        thread.results.recv().map_err(|_| gone())?
    }
}

impl Thread {
    fn start() -> Option<Self> {
        let (jobs, waiting) = sync_channel::<Vec<Job>>(BATCHES);
        // Never full: no more batches are under way than the maker has counted.
        let (finished, results) = sync_channel(BATCHES + 2);
        let work = move || {
            while let Ok(batch) = waiting.recv() {
                let filled = batch.into_iter().map(fill).collect();
                if finished.send(filled).is_err() {
                    return;
                }
            }
        };
        let handle = std::thread::Builder::new().name("archive-fill".to_owned()).spawn(work).ok()?;
        Some(Self { jobs: Some(jobs), results, handle: Some(handle) })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(handle) = self.handle.take() {
            // Its panic has been met as a missing result.
            drop(handle.join());
        }
    }
}

fn fill(mut job: Job) -> Result<IndexEntry, Error> {
    let failed = |error: std::io::Error| shipway_sys::Error::from_io(format!("write({:?})", crate::error::show(&job.entry.path)), &error);
    job.file.write_all(&job.content).map_err(failed)?;
    if let Node::File { content, .. } = &mut job.entry.node {
        *content = *blake3::hash(&job.content).as_bytes();
    }
    if let Some((uid, gid)) = job.owner {
        set_owner(&job.file, uid, gid)?;
    }
    if let Some(mode) = job.mode {
        set_mode(&job.file, mode)?;
    }
    set_times(&job.file, job.mtime)?;
    Ok(job.entry)
}

fn gone() -> Error {
    Error::Read(std::io::Error::other("the thread that fills files is gone"))
}
