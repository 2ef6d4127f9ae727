//! Has large files of new layers written to the disk while they are hashed, so that the sync of the publish finds little left to do.
//!
//! What must stay true: nothing depends on it. It promises nothing, it may be behind or leave files out, and a commit never waits for it.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shipway_sys::durable;

use crate::Result;
use crate::worker::Worker;

/// Files waiting at most; each holds a descriptor, and a disk that is this far behind is busy anyway.
const WAITING: usize = 64;

/// The thread that asks for the writing; the call may block while the queue of the disk is full.
pub(crate) struct Writeback {
    waiting: Arc<AtomicUsize>,
    worker: Worker<File>,
}

impl Writeback {
    pub(crate) fn start() -> Result<Self> {
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        let worker = Worker::start("store-writeback", move |queue| {
            while let Ok(file) = queue.recv() {
                // The publish meets the same disk and reports what is wrong with it.
                drop(durable::start_writing(&file));
                left.fetch_sub(1, Ordering::Relaxed);
            }
        })?;
        Ok(Self { waiting, worker })
    }

    /// Has the pages of `file` written soon, unless much is waiting already.
    pub(crate) fn soon(&self, file: &File) {
        if self.waiting.load(Ordering::Relaxed) >= WAITING {
            return;
        }
        if let Ok(file) = file.try_clone() {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            self.worker.send(file);
        }
    }
}
