//! Who looks into a container's files from outside, and when the files may be mounted anew.
//!
//! What must stay true: two mounts of one upper folder never exist at the same time (overlayfs.rst calls that undefined). Whoever has the tree open
//! holds the shared half of a lock whose other half every launch and every mount of ours takes first.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use shipway_runtime::{OpenTree, RootFs};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::{Container, ContainerRecord};
use crate::{Engine, Error, Result, blocking};

/// What a container knows about those who look into it.
#[derive(Default)]
pub(crate) struct Roots {
    uses: Arc<RwLock<()>>,
    /// The mount made for a container that does not run, while somebody uses it.
    mounted: Mutex<Weak<OpenRoot>>,
}

/// A container's tree in use.
pub(crate) struct OpenRoot {
    tree: OpenTree,
    _use: OwnedRwLockReadGuard<()>,
}

impl OpenRoot {
    pub(crate) fn root(&self) -> &shipway_sys::path::Root {
        self.tree.root()
    }
}

impl Roots {
    /// Waits until nobody has the tree open any more. The caller holds the container's turn, so nobody opens it meanwhile.
    pub(crate) async fn unused(&self) {
        drop(self.uses.write().await);
    }

    fn mounted(&self) -> Option<Arc<OpenRoot>> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }
}

/// Which tree is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What a process in the container sees: its own tree with volumes and mounts.
    Everything,
    /// Its own tree alone.
    Bare,
}

impl Engine {
    /// Opens the tree of a container, running or not.
    ///
    /// # Errors
    /// `NoSuchContainer` when it was removed meanwhile; what the kernel says to a mount.
    pub(super) async fn open_tree(&self, container: &Arc<Container>, wanted: Wanted) -> Result<Arc<OpenRoot>> {
        let _turn = container.turn.lock().await;
        if container.milestones.borrow().removed {
            return Err(Error::NoSuchContainer { name: container.name().to_string(), hint: None });
        }
        let uses = Arc::clone(&container.roots.uses);
        if let Some(handle) = container.handle() {
            let held = Arc::clone(&uses).read_owned().await;
            let running = handle.clone();
            let tree = blocking::files(move || {
                Ok(match wanted {
                    Wanted::Everything => running.tree(),
                    Wanted::Bare => running.bare_tree(),
                })
            })
            .await?;
            match tree {
                Ok(tree) => return Ok(Arc::new(OpenRoot { tree, _use: held })),
                // It ended a moment ago, and nobody has noted it yet.
                Err(shipway_runtime::Error::NotRunning) => {}
                Err(error) => return Err(Error::internal(format!("cannot look into container {}: {error}", container.name()))),
            }
            drop(held);
            handle.gone().await;
        }
        if let Some(open) = container.roots.mounted().filter(|_| wanted == Wanted::Everything) {
            return Ok(open);
        }
        let held = uses.write_owned().await;
        if let Some(before) = container.ended_handle() {
            before.gone().await;
        }
        let (engine, record) = (self.clone(), container.record());
        let names = if wanted == Wanted::Everything { record.volume_names() } else { BTreeSet::new() };
        let turn = self.inner.volumes.take(&names).await;
        let mounted_for_drivers = self.driver_volumes(&record);
        let tree = blocking::files(move || engine.mount_tree(&record, wanted)).await;
        if wanted == Wanted::Everything {
            // The tree keeps what it has; among the host's mounts nothing stays.
            self.unmount_unused(mounted_for_drivers).await;
        }
        drop(turn);
        let tree = tree?;
        let open = Arc::new(OpenRoot { tree, _use: held.downgrade() });
        if wanted == Wanted::Everything {
            *container.roots.mounted.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&open);
        }
        Ok(open)
    }

    fn mount_tree(&self, record: &ContainerRecord, wanted: Wanted) -> Result<OpenTree> {
        let folder = self.active_dir(record.id);
        let host = &record.spec.host;
        let root = RootFs {
            lowers: self.inner.store.mount_of(&record.layers),
            upper: Some((folder.join("upper"), folder.join("work"))),
            volatile: host.auto_remove,
            plain: None,
        };
        let seen = if wanted == Wanted::Everything { self.mounts_seen(record)? } else { Vec::new() };
        let mounted = self.inner.runtime.mount_tree(&root, host.read_only_root, seen);
        mounted.map_err(|source| Error::Runtime { doing: format!("cannot mount the files of container {}", record.name), source })
    }
}
