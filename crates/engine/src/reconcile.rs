//! Boot: records and kernel are brought back into agreement. No human is asked.
//!
//! A container recorded as running is re-adopted with its logs and exit code when its monitor lives; when the monitor is gone (a power
//! cut, a reboot) it is recorded as ended. Half-done starts and removals are finished or taken back. Folders nobody names are deleted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shipway_runtime::Adopted;

use crate::containers::restart::will_start_with_daemon;
use crate::containers::{CONTAINERS, Container, ContainerRecord, ContainerState};
use crate::{Engine, Result, blocking, clock};

/// The exit code of a container whose end nobody saw, as dockerd reports it after a reboot.
const UNSEEN: i32 = 255;

impl Engine {
    /// Reads the records, adopts what runs, and tidies up what a crash left.
    pub(crate) async fn reconcile(&self) -> Result<()> {
        let store = self.inner.store.clone();
        let records = blocking::files(move || {
            let rows = store.db().read(|txn| -> Result<_> { Ok(txn.scan_lenient(&CONTAINERS)?) })?;
            for error in rows.1 {
                tracing::error!(%error, "a container record cannot be read; fsck names it");
            }
            Ok(rows.0)
        })
        .await?;
        let known: BTreeSet<_> = records.iter().map(|(id, _)| *id).collect();
        let swept = self.inner.runtime.sweep(&known);
        if !swept.is_empty() {
            tracing::info!(count = swept.len(), "ended processes that no record knows");
        }
        let mut by_policy = Vec::new();
        for (_, record) in records {
            let container = Arc::new(Container::new(record));
            if let Err(owner) = self.inner.containers.insert(Arc::clone(&container)) {
                tracing::error!(container = %container.id, owner = %owner.id, "two containers have one name; the second is left out");
                continue;
            }
            self.adopt(&container).await;
            if will_start_with_daemon(&container.record()) {
                by_policy.push(container);
            }
        }
        self.unmount_unused_volumes().await;
        self.restore_networks().await?;
        self.start_by_policy(by_policy);
        self.discard_unknown_layers(&known).await
    }

    /// Filesystems over volumes whose containers ended while nobody looked.
    async fn unmount_unused_volumes(&self) {
        let mounted = self.inner.store.volumes().list().into_iter().filter(|volume| !volume.options.is_empty());
        for volume in mounted {
            if self.users_of_volume(&volume.name).iter().any(|user| user.state().is_alive()) {
                continue;
            }
            let (store, name) = (self.inner.store.clone(), volume.name.clone());
            if let Err(error) = blocking::files(move || Ok(store.volumes().unmount(&name)?)).await {
                tracing::warn!(volume = %volume.name, %error, "cannot unmount a volume that nobody uses");
            }
        }
    }

    pub(crate) async fn adopt(&self, container: &Arc<Container>) {
        let record = container.record();
        match record.state {
            ContainerState::Running { .. } | ContainerState::Paused { .. } | ContainerState::Restarting { .. } => {}
            // A start that was under way may have got as far as a process.
            ContainerState::Created { .. } | ContainerState::Exited { .. } => {
                // Its rows outlived a power cut that its folders did not.
                if record.spec.host.auto_remove && !self.inner.store.active_is_whole(&record.id.to_string()) {
                    return self.finish_removal(container);
                }
                if !self.state_dir(record.id).exists() {
                    return self.remove_unless_restarted(container);
                }
            }
            ContainerState::Removing | ContainerState::Dead { .. } => return self.finish_removal(container),
        }
        match self.inner.runtime.adopt(record.id, &self.state_dir(record.id)).await {
            Ok(Adopted::Running(running)) => {
                tracing::info!(container = %record.id, pid = running.pid, "re-adopted a running container");
                container.set_handle(Some(running.handle.clone()));
                let state = match record.state {
                    ContainerState::Paused { .. } => ContainerState::Paused { pid: running.pid, started: running.started_at },
                    _ => ContainerState::Running { pid: running.pid, started: running.started_at },
                };
                container.change(|record| {
                    record.state = state;
                    record.started_at = Some(running.started_at);
                });
                self.save_lazily(container);
                self.supervise(container, running.handle);
            }
            Ok(Adopted::Exited(exit)) if is_past(&record) => {
                tracing::debug!(container = %record.id, code = exit.code, "its end was recorded already");
                self.remove_unless_restarted(container);
            }
            // Its end was told already; only the wait for its next life was cut off.
            Ok(_) if matches!(record.state, ContainerState::Restarting { .. }) => self.resume_restart(container),
            Ok(Adopted::Exited(exit)) => self.exited(container, exit).await,
            Ok(Adopted::Gone) => self.ended_unseen(container, &record),
            Err(error) => {
                tracing::warn!(container = %record.id, %error, "cannot reach the monitor of a container; taking it for ended");
                self.ended_unseen(container, &record);
            }
        }
    }

    /// Nobody saw the end: the machine went down.
    fn ended_unseen(&self, container: &Arc<Container>, record: &ContainerRecord) {
        if is_past(record) {
            return self.remove_unless_restarted(container);
        }
        if record.spec.host.auto_remove {
            return self.finish_removal(container);
        }
        container.change(|record| {
            record.state = ContainerState::Exited { code: UNSEEN, finished: clock::now(), oom_killed: false, error: None };
        });
        self.save_lazily(container);
    }

    /// The end of a `--rm` container is recorded only between the halves of a person's restart: the second half never came.
    fn remove_unless_restarted(&self, container: &Arc<Container>) {
        let record = container.record();
        let is_over = matches!(record.state, ContainerState::Exited { .. }) && !container.is_restarted_by_hand();
        if record.spec.host.auto_remove && is_over {
            self.finish_removal(container);
        }
    }

    fn finish_removal(&self, container: &Arc<Container>) {
        let (engine, container) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move {
            let _turn = container.turn.lock().await;
            if let Err(error) =
                engine.remove_in_turn(&container, crate::containers::RemoveOptions { force: true, volumes: true, link: false }).await
            {
                tracing::warn!(container = %container.id, %error, "cannot finish the removal of a container");
            }
        });
    }

    /// Writable layers and folders whose container is gone: a crash between the record and the folders.
    async fn discard_unknown_layers(&self, known: &BTreeSet<shipway_model::ContainerId>) -> Result<()> {
        let (store, known) = (self.inner.store.clone(), known.iter().map(ToString::to_string).collect::<BTreeSet<_>>());
        let containers = self.inner.config.data_root.join("containers");
        let boxes = self.inner.config.exec_root.join("containers");
        let engine = self.clone();
        blocking::files(move || {
            engine.forget_stale_context_indexes()?;
            for kept in store.list_active() {
                if !known.contains(&kept.id) {
                    store.remove_active(&kept.id)?;
                }
            }
            for path in strangers(&containers, &known) {
                store.throw_away(&path)?;
            }
            // On another filesystem than the trash, and small. Whatever ran there was ended by the sweep.
            for path in strangers(&boxes, &known) {
                if let Err(error) = std::fs::remove_dir_all(&path) {
                    tracing::warn!(%error, path = %path.display(), "cannot delete what a removed container left");
                }
            }
            Ok(())
        })
        .await
    }
}

/// Folders in `parent` that are named after no container.
fn strangers(parent: &Path, known: &BTreeSet<String>) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().filter_map(std::result::Result::ok);
    entries.filter(|entry| !known.contains(&*entry.file_name().to_string_lossy())).map(|entry| entry.path()).collect()
}

/// True when the record already tells an end.
fn is_past(record: &ContainerRecord) -> bool {
    matches!(record.state, ContainerState::Created { .. } | ContainerState::Exited { .. })
}
