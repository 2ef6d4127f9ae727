//! `inspect`, and the copy that list shows too.

use std::sync::PoisonError;

use super::{Container, ContainerSize, ContainerView};
use crate::{Engine, Result, blocking};

impl Engine {
    /// Everything known about the container `name`.
    pub async fn inspect_container(&self, name: &str, with_size: bool) -> Result<ContainerView> {
        let container = self.container(name)?;
        self.view_container(&container, with_size).await
    }

    /// A consistent copy of what is known about a container.
    pub(super) async fn view_container(&self, container: &Container, with_size: bool) -> Result<ContainerView> {
        let record = container.record();
        let size = if with_size { Some(self.measure(&record).await?) } else { None };
        let files = self.generated_files(record.id);
        let finished_at = record.finished_at();
        // The files of the other drivers are nobody else's to read.
        let has_log = record.spec.host.log.driver == "json-file";
        Ok(ContainerView {
            image_name: self.image_name_of(&record),
            size,
            log_path: has_log.then(|| self.log_path(record.id)),
            hosts_path: files.hosts,
            hostname_path: files.hostname,
            resolv_conf_path: files.resolv_conf,
            exec_ids: container.execs.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            finished_at,
            record,
        })
    }

    /// The name as typed while it still means the image, the short id otherwise, as `docker ps` shows it.
    fn image_name_of(&self, record: &super::ContainerRecord) -> String {
        match self.inner.store.images().resolve(&record.spec.image) {
            Ok(id) if id == record.image => record.spec.image.clone(),
            _ => record.image.0.short(),
        }
    }

    async fn measure(&self, record: &super::ContainerRecord) -> Result<ContainerSize> {
        let below: u64 = record.layers.iter().filter_map(|id| self.inner.store.layer(id)).map(|layer| layer.content_size).sum();
        let writable = self.writable_size(record.id).await?;
        Ok(ContainerSize { writable, root: below + writable })
    }

    /// Bytes in a container's writable layer.
    pub(crate) async fn writable_size(&self, id: shipway_model::ContainerId) -> Result<u64> {
        let store = self.inner.store.clone();
        blocking::files(move || Ok(store.open_active(&id.to_string())?.usage()?.0)).await
    }

    /// Where the log of a container is.
    pub(crate) fn log_path(&self, id: shipway_model::ContainerId) -> std::path::PathBuf {
        self.container_dir(id).join(format!("{id}-json.log"))
    }

    /// Where the monitor of a container keeps its socket and its exit.
    pub(crate) fn state_dir(&self, id: shipway_model::ContainerId) -> std::path::PathBuf {
        self.inner.config.exec_root.join("containers").join(id.to_string())
    }
}
