//! A named background thread that belongs to the store: takes messages one by one, ends when its owner drops it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::Result;
use crate::error::Doing as _;

/// The owner's side of a background thread.
#[derive(Debug)]
pub(crate) struct Worker<M> {
    queue: Option<Sender<M>>,
    thread: Option<JoinHandle<()>>,
}

impl<M: Send + 'static> Worker<M> {
    /// Starts thread `name`; `serve` must return soon after its receiver says that the owner is gone.
    pub(crate) fn start(name: &str, serve: impl FnOnce(Receiver<M>) + Send + 'static) -> Result<Self> {
        let (queue, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || serve(receiver))
            .doing(|| format!("start thread \"{name}\""))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Hands a message over; it is lost only when the thread died, which its panic has already told.
    pub(crate) fn send(&self, message: M) {
        if let Some(queue) = &self.queue {
            drop(queue.send(message));
        }
    }
}

impl<M> Drop for Worker<M> {
    fn drop(&mut self) {
        self.queue.take();
        // The last handle of a store may be dropped by one of its own threads, which cannot wait for its own end.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            drop(thread.join());
        }
    }
}
