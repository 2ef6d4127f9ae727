//! Has new layers written to the disk before anybody waits for it: while a step still fills them, and large files while they are hashed, so that the sync
//! of the publish finds little left to do.
//!
//! What must stay true: nothing depends on it. It promises nothing, it may be behind or leave files out, and a commit never waits for it.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shipway_sys::durable;

use crate::Result;
use crate::error::Doing as _;
use crate::open::Store;
use crate::worker::Worker;

/// Files waiting at most; each holds a descriptor, and a disk that is this far behind is busy anyway.
const WAITING: usize = 64;

/// How often it is looked how much there is to write while a step runs, and how old a step must be for that.
const LOOK: Duration = Duration::from_millis(100);

/// From so many unwritten bytes on, writing begins: far more than steps leave that are over before a disk could help.
const MUCH: u64 = 128 << 20;

/// The threads that ask for the writing; their calls may block while the queue of the disk is full.
pub(crate) struct Writeback {
    waiting: Arc<AtomicUsize>,
    files: Worker<File>,
    steps: Steps,
    early: Worker<()>,
}

/// The steps that are running now.
#[derive(Debug, Default)]
struct Running {
    /// When each began.
    since: Vec<Instant>,
    /// The thread looks after them; otherwise it has to be woken.
    is_watched: bool,
}

type Steps = Arc<Mutex<Running>>;

/// Says that a step fills a snapshot for as long as it lives, see [`Store::write_early`].
#[derive(Debug)]
pub struct EarlyWriting {
    steps: Steps,
    began: Instant,
}

impl Store {
    /// Has what a step writes go to the disk while it runs, as long as the answer lives and once there is much of it. Without this the kernel collects
    /// up to a tenth of the memory first, and the publish waits for all of that.
    ///
    /// # Durability
    /// None; only the publish makes things durable.
    pub fn write_early(&self) -> EarlyWriting {
        self.shared().writeback.early()
    }
}

impl Writeback {
    /// `root` is the data root. It is opened once more: an open file hears of an error of the disk once, and the publish must hear of each.
    pub(crate) fn start(root: &Path) -> Result<Self> {
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        let files = Worker::start("store-writeback", move |queue| {
            while let Ok(file) = queue.recv() {
                // The publish meets the same disk and reports what is wrong with it.
                drop(durable::start_writing(&file));
                left.fetch_sub(1, Ordering::Relaxed);
            }
        })?;
        let steps = Steps::default();
        let (filesystem, running) = (File::open(root).doing(|| format!("open {root:?}"))?, Arc::clone(&steps));
        let early = Worker::start("store-early", move |queue| write_early(&queue, &filesystem, &running))?;
        Ok(Self { waiting, files, steps, early })
    }

    /// Has the pages of `file` written soon, unless much is waiting already.
    pub(crate) fn soon(&self, file: &File) {
        if self.waiting.load(Ordering::Relaxed) >= WAITING {
            return;
        }
        if let Ok(file) = file.try_clone() {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            self.files.send(file);
        }
    }

    fn early(&self) -> EarlyWriting {
        let began = Instant::now();
        let mut running = lock(&self.steps);
        running.since.push(began);
        if !std::mem::replace(&mut running.is_watched, true) {
            self.early.send(());
        }
        EarlyWriting { steps: Arc::clone(&self.steps), began }
    }
}

impl Drop for EarlyWriting {
    fn drop(&mut self) {
        let since = &mut lock(&self.steps).since;
        if let Some(place) = since.iter().position(|began| *began == self.began) {
            since.swap_remove(place);
        }
    }
}

fn lock(steps: &Steps) -> MutexGuard<'_, Running> {
    steps.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a step, then looks after all of them until none is running. A short one is over before the first look.
fn write_early(queue: &Receiver<()>, filesystem: &File, steps: &Steps) {
    while queue.recv().is_ok() {
        loop {
            if queue.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            let oldest = {
                let mut running = lock(steps);
                running.is_watched = !running.since.is_empty();
                running.since.iter().min().copied()
            };
            let Some(oldest) = oldest else { break };
            if oldest.elapsed() >= LOOK && unwritten().is_some_and(|bytes| bytes >= MUCH) {
                drop(durable::write_all_early(filesystem));
            }
        }
    }
}

/// Bytes the kernel has still to write, of all filesystems (`Dirty` of /proc/meminfo, see proc_meminfo(5)).
fn unwritten() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Dirty:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_tells_how_much_is_unwritten() {
        assert!(super::unwritten().is_some());
    }
}
