//! Deleting in the background: a thing is renamed into `trash/` (one rename, whatever its size) and its bytes go later.
//!
//! What is in `trash/` belongs to nobody; a crash in the middle is finished by the next start, which deletes whatever lies there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::io::Errno;
use shipway_sys::path::remove_tree_at;

use crate::Result;
use crate::error::Doing as _;
use crate::layout::{Layout, names_in};
use crate::worker::Worker;

enum Message {
    /// Something lies in the trash.
    Look,
    /// Answer when everything before this message is deleted.
    Tell(Sender<()>),
}

/// The trash of one store.
pub(crate) struct Trash {
    layout: Layout,
    stop: Arc<AtomicBool>,
    worker: Worker<Message>,
}

impl Trash {
    /// Starts the deleting thread; it begins with what an earlier run left.
    pub(crate) fn open(layout: Layout) -> Result<Self> {
        let folder = layout.trash();
        let handle = File::open(&folder).doing(|| format!("open {folder:?}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let worker = Worker::start("store-trash", move |queue| serve(&queue, &folder, &handle, &stopped))?;
        worker.send(Message::Look);
        Ok(Self { layout, stop, worker })
    }

    /// Moves `path` into the trash; nothing happens when it is not there.
    pub(crate) fn take(&self, path: &Path) -> Result<()> {
        let target: PathBuf = self.layout.fresh_trash();
        match rustix::fs::rename(path, &target) {
            Ok(()) => {
                self.worker.send(Message::Look);
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).doing(|| format!("rename({path:?}, {target:?})")),
        }
    }

    /// As [`Trash::take`] where nobody is left to hear of a failure: it is logged, and the next start finds the thing without a row.
    pub(crate) fn take_or_log(&self, path: &Path) {
        if let Err(error) = self.take(path) {
            tracing::warn!(%error, "could not be moved to the trash");
        }
    }

    /// Returns when everything taken before is deleted.
    pub(crate) fn wait(&self) {
        let (sender, receiver) = channel();
        self.worker.send(Message::Tell(sender));
        let _ = receiver.recv();
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn serve(queue: &Receiver<Message>, folder: &Path, handle: &File, stop: &AtomicBool) {
    while let Ok(message) = queue.recv() {
        match message {
            Message::Look => empty(folder, handle, stop),
            Message::Tell(sender) => drop(sender.send(())),
        }
    }
}

fn empty(folder: &Path, handle: &File, stop: &AtomicBool) {
    let names = match names_in(folder) {
        Ok(names) => names,
        Err(error) => return tracing::warn!(%error, "the trash cannot be read"),
    };
    for name in names {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = remove_tree_at(handle, name.as_ref()) {
            tracing::warn!(%error, name, "could not be deleted from the trash; tried again at the next start");
        }
    }
}
