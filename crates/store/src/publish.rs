//! The acknowledge point: what `publish` returned from survives a power cut.
//!
//! Order, and where a crash leaves us:
//!
//! ```text
//! files written, renamed into place     crash: folders without rows, moved to the trash at the next start
//!   `store.publish.begin`
//! one syncfs, shared by all publishers  crash: the same
//!   `store.publish.synced`
//! one transaction: rows of everything   crash: all of it or nothing of it
//! pending at entry, and the caller's
//!   `store.publish.committed`           crash: everything is there, the caller just was not told
//! ```
//!
//! Nothing is taken off the pending list before its row is durable, so two publishers may write the same row twice; the rows are the same.
//! When the sync fails for lack of space the kernel may have dropped pages of any pending file, so all of them are discarded.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use shipway_model::LayerId;
use shipway_state::WriteTxn;
use shipway_sys::durable::fault;

use crate::blobs::BLOBS;
use crate::layers::LAYERS;
use crate::memory::{PendingItem, Shared};
use crate::open::{Inner, Store};
use crate::snapshots::{KEPT, KeptRecord, KeptSnapshot};
use crate::{Error, Result};

/// Background publishes come this long after the first request for one: the publish that ends a build nearly always comes first, and then there is
/// nothing left to sync beside the steps of the build.
const SOON: Duration = Duration::from_secs(2);

impl Store {
    /// Makes everything written so far durable, then runs `f` in the transaction that says so; after it returns all of that survives a power cut.
    ///
    /// # Errors
    /// `f`'s own (pending work stays pending); `NoSpace` (pending work is discarded when it was the sync that failed); `Degraded` after an I/O error.
    ///
    /// # Cost
    /// One syncfs when files were written since the last one, one fsync of the log when rows change; both shared among concurrent callers, both
    /// absent when there is nothing to do.
    pub fn publish<T: Send + 'static>(&self, f: impl FnOnce(&mut WriteTxn<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        let shared = self.shared();
        let newest = shared.read().pending.newest();
        fault::point("store.publish.begin");
        self.sync(newest)?;
        fault::point("store.publish.synced");
        let rows = Arc::clone(shared);
        let value = self.db().write(move |txn| {
            write_pending(&rows, txn, newest)?;
            f(txn)
        })?;
        fault::point("store.publish.committed");
        Ok(value)
    }

    /// Runs `f` in a transaction that outlives this process but not a power cut, and writes the rows of the snapshots `kept` with it: for what ends with
    /// the machine anyway, a container that removes itself.
    ///
    /// After a power cut the rows may be there without the folders; whoever reads them at boot removes them.
    ///
    /// # Cost
    /// No sync.
    pub fn publish_until_reboot<T: Send + 'static>(
        &self,
        kept: &KeptSnapshot,
        f: impl FnOnce(&mut WriteTxn<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(self.shared());
        let (id, record) = (kept.id.clone(), KeptRecord { parents: kept.parents.clone() });
        self.db().write_lazy(move |txn| {
            txn.put(&KEPT, &id, &record)?;
            txn.on_commit(move || {
                let mut memory = shared.write();
                memory.pending.items.retain(|_, item| !matches!(item, PendingItem::Kept(name, _) if *name == id));
            });
            f(txn)
        })
    }

    /// Publishes what is pending in the background, two seconds from now. For work that is worth keeping but was promised to nobody.
    pub fn publish_soon(&self) {
        self.inner.publisher.send(());
    }

    /// Tells that files below the data root were written which the next publish must make durable; for folders the engine fills itself.
    pub fn mark_dirty(&self) {
        self.shared().mark_dirty();
    }

    fn sync(&self, newest: u64) -> Result<()> {
        let shared = self.shared();
        let Some(mark) = shared.unsynced() else { return Ok(()) };
        match self.inner.barrier.wait() {
            Ok(()) => {
                shared.mark_synced(mark);
                Ok(())
            }
            Err(error) if error.is_no_space() => {
                discard_pending(shared, newest);
                Err(Error::NoSpace { needed: None })
            }
            Err(error) => {
                self.db().degrade(error.to_string());
                Err(Error::Degraded { cause: error.to_string() })
            }
        }
    }
}

/// Writes the rows of everything that was pending at `newest` and still is.
fn write_pending(shared: &Arc<Shared>, txn: &mut WriteTxn<'_>, newest: u64) -> Result<()> {
    let items = shared.read().pending.up_to(newest);
    if items.is_empty() {
        return Ok(());
    }
    let mut numbers = Vec::with_capacity(items.len());
    for (number, item) in items {
        numbers.push(number);
        match item {
            PendingItem::Layer(layer) => txn.put(&LAYERS, &layer.id, &layer.to_record())?,
            PendingItem::Blob(digest, size) => txn.put(&BLOBS, &digest, &size)?,
            PendingItem::Cache(record) => crate::cache::put_row(txn, &record)?,
            PendingItem::Kept(id, kept) => {
                txn.put(&KEPT, &id, &kept)?;
            }
            PendingItem::Filled(volume) => crate::volumes::filled(shared, txn, &volume)?,
        }
    }
    // A commit that syncs anyway takes the hits noted since the last one along; for themselves they are not worth a sync.
    crate::cache::put_touches(shared, txn)?;
    let shared = Arc::clone(shared);
    txn.on_commit(move || {
        let mut memory = shared.write();
        for number in numbers {
            memory.pending.items.remove(&number);
        }
    });
    Ok(())
}

/// Forgets unpublished layers, blobs and cache records whose bytes may not have reached the disk.
fn discard_pending(shared: &Shared, newest: u64) {
    let mut memory = shared.write();
    for (number, item) in memory.pending.up_to(newest) {
        match item {
            PendingItem::Layer(layer) => {
                memory.remove_layer(&layer.id);
                shared.trash.take_or_log(&shared.layout.layer(&layer.id));
            }
            PendingItem::Blob(digest, _) => {
                memory.blobs.remove(&digest);
                shared.trash.take_or_log(&shared.layout.blob(&digest));
            }
            PendingItem::Cache(record) => memory.cache.remove(&record.key),
            // The snapshot of a container being created: its creator hears of the failure and discards it.
            // The note stays open; the next start looks again.
            PendingItem::Kept(..) | PendingItem::Filled(_) => {}
        }
        memory.pending.items.remove(&number);
    }
    // A patch made since then on a layer that is gone now.
    let orphans: Vec<LayerId> = memory
        .layers
        .values()
        .filter(|layer| layer.base.is_some_and(|base| !memory.layers.contains_key(&base)))
        .map(|layer| layer.id)
        .collect();
    for id in orphans {
        memory.remove_layer(&id);
        memory.pending.items.retain(|_, item| !matches!(item, PendingItem::Layer(layer) if layer.id == id));
        shared.trash.take_or_log(&shared.layout.layer(&id));
    }
}

/// The publishing thread: waits for a request, then for its time, and publishes.
pub(crate) fn serve(queue: &Receiver<()>, store: &Weak<Inner>) {
    while queue.recv().is_ok() {
        let due = Instant::now() + SOON;
        loop {
            match queue.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        let Some(inner) = store.upgrade() else { return };
        let store = Store { inner };
        let nothing = { store.shared().read().pending.items.is_empty() && store.shared().unsynced().is_none() };
        if nothing {
            continue;
        }
        if let Err(error) = store.publish(|_| Ok(())) {
            tracing::warn!(%error, "finished work could not be made durable in the background");
        }
    }
}
