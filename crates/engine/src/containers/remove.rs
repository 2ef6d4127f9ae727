//! `rm`: the record first, then everything that hung on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use shipway_state::WriteTxn;

use super::create::{hold_name, mount_hold_name};
use super::{CONTAINERS, Container, ContainerState};
use crate::{Engine, Error, Result, blocking};

/// How to remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it first when it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
    /// Remove a link of the default bridge, named `container/alias`, instead of a container.
    pub link: bool,
}

impl Engine {
    /// Removes the container `name` with its writable layer and logs.
    ///
    /// # Errors
    /// `Conflict` when it runs and `force` was not given.
    ///
    /// # Durability
    /// One transaction removes the record (durably, unless the container was to remove itself); folders go behind it and are found again after a crash.
    pub async fn remove_container(&self, name: &str, options: RemoveOptions) -> Result<()> {
        if options.link {
            // Rare, and large: not in every removal.
            return Box::pin(self.remove_link(name)).await;
        }
        let container = self.container(name)?;
        let _turn = container.turn.lock().await;
        self.remove_in_turn(&container, options).await
    }

    /// Removes a container whose turn the caller holds. A container that is gone already is no error.
    pub(crate) async fn remove_in_turn(&self, container: &Arc<Container>, options: RemoveOptions) -> Result<()> {
        if container.milestones.borrow().removed {
            return Ok(());
        }
        if container.state().is_going_on() {
            if !options.force {
                return Err(running(container));
            }
            self.kill_for_removal(container).await?;
        }
        container.ended_whole().await;
        container.change(|record| record.state = ContainerState::Removing);
        let (store, id) = (self.inner.store.clone(), container.id);
        let record = container.record();
        let removes_itself = record.spec.host.auto_remove;
        let images = record.mounts.iter().filter(|mount| mount.image.is_some()).count();
        let removed = blocking::files(move || {
            let inside = store.clone();
            let rows = move |txn: &mut WriteTxn<'_>| -> shipway_store::Result<()> {
                inside.release(txn, &hold_name(id))?;
                for number in 0..images {
                    inside.release(txn, &mount_hold_name(id, number))?;
                }
                txn.remove(&CONTAINERS, &id)?;
                Ok(())
            };
            // A container that removes itself and is back after a power cut is removed at boot, so its removal need not wait for the disk.
            if removes_itself {
                store.db().write_lazy(rows)?
            } else {
                store.publish(rows)?
            }
            Ok(())
        })
        .await;
        if let Err(error) = removed {
            container.change(|record| record.state = ContainerState::Dead { reason: error.to_string() });
            return Err(error);
        }
        self.inner.containers.remove(container);
        self.tell_removed(container);
        self.publish_container(container, "destroy", BTreeMap::new());
        if options.volumes {
            self.remove_anonymous(record.anonymous_volumes()).await;
        }
        self.delete_leftovers(container);
        Ok(())
    }

    async fn kill_for_removal(&self, container: &Arc<Container>) -> Result<()> {
        container.change(|record| record.stopped_by_hand = true);
        let Some(handle) = container.handle() else {
            self.forget_restart(container);
            return Ok(());
        };
        let mut ended = container.milestones.subscribe();
        let before = ended.borrow_and_update().exits;
        // Told before it is done, as with every signal: the end that it causes is told by somebody else.
        let signal = BTreeMap::from([("signal".to_owned(), shipway_model::Signal::KILL.number().to_string())]);
        self.publish_container(container, "kill", signal);
        handle.kill_all().await;
        let gone = tokio::time::timeout(std::time::Duration::from_secs(10), ended.wait_for(|now| now.exits > before)).await;
        if gone.is_err() {
            return Err(Error::internal(format!("container {} does not end although it was killed", container.name())));
        }
        Ok(())
    }

    /// Deletes the folders of a container whose record is gone; a crash here leaves folders that no record names, which boot deletes.
    fn delete_leftovers(&self, container: &Arc<Container>) {
        let (engine, container) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move {
            if let Some(handle) = container.ended_handle() {
                handle.gone().await;
            }
            container.roots.unused().await;
            let deleted = blocking::files(move || engine.delete_folders(container.id)).await;
            if let Err(error) = deleted {
                tracing::warn!(%error, "cannot delete what a removed container left; boot will try again");
            }
        });
    }

    fn delete_folders(&self, id: shipway_model::ContainerId) -> Result<()> {
        self.inner.store.remove_active(&id.to_string())?;
        for dir in [self.container_dir(id), self.state_dir(id)] {
            match std::fs::remove_dir_all(&dir) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::Io { doing: format!("delete {}", dir.display()), source });
                }
                _ => {}
            }
        }
        if let Err(error) = self.inner.store.collect() {
            tracing::warn!(%error, "cannot free what nothing needs any more; the next removal will try again");
        }
        Ok(())
    }
}

/// dockerd's refusal, which clients show as it is.
fn running(container: &Container) -> Error {
    let record = container.record();
    let (how, first) = match record.state {
        ContainerState::Paused { .. } => ("paused", "unpause and then stop the container before removing or force remove"),
        ContainerState::Restarting { .. } => ("restarting", "stop the container before removing or force remove"),
        _ => ("running", "stop the container before removing or force remove"),
    };
    Error::Conflict {
        reason: format!("cannot remove container \"/{}\": container is {how}: {first}", record.name),
        hint: Some(format!("shipway rm -f {}", record.name)),
    }
}
