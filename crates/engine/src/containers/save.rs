//! How the record of a container that exists gets into the database.
//!
//! What must stay true: what is stored is the record as it is in memory when the transaction runs, so that a save that comes late puts nothing older over
//! what is there; and a container whose removal was stored is never stored again.

use std::sync::Arc;

use shipway_state::WriteTxn;

use super::{CONTAINERS, Container};
use crate::{Engine, Result, blocking};

impl Engine {
    /// Stores the container's record durably.
    pub(crate) async fn save(&self, container: &Arc<Container>) -> Result<()> {
        let (store, container) = (self.inner.store.clone(), Arc::clone(container));
        blocking::files(move || store.db().write(move |txn| put(txn, &container))).await
    }

    /// Stores the container's record so that it survives the daemon; a power cut may lose it, which only costs a state that the kernel lost too.
    pub(crate) fn save_lazily(&self, container: &Arc<Container>) {
        let (id, container) = (container.id, Arc::clone(container));
        if let Err(error) = self.inner.store.db().write_lazy(move |txn| put(txn, &container)) {
            tracing::error!(container = %id, %error, "cannot store the state of a container; going on with the one in memory");
        }
    }
}

fn put(txn: &mut WriteTxn<'_>, container: &Container) -> Result<()> {
    if txn.contains(&CONTAINERS, &container.id)? {
        txn.put(&CONTAINERS, &container.id, &container.record())?;
    }
    Ok(())
}
