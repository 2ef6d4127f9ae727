//! What is mounted into a container: worked out once, when it is created (`plan`), and mounted at each start (`attach`).
//!
//! What must stay true: which volume and which image a mount means is decided at creation and kept in the record; a start only looks at what the
//! record says, so that a name given to something else meanwhile changes nothing.

mod attach;
mod owner;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shipway_model::{ImageId, LayerId, MountKind, MountSpec, VolumeName};

pub(super) use plan::refused;

use super::{Container, ContainerRecord};
use crate::{Engine, blocking};

/// One mount of a container, worked out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMount {
    /// As asked for.
    pub spec: MountSpec,
    /// The volume.
    pub volume: Option<VolumeName>,
    /// The volume was made for a container and goes with `rm -v`.
    pub anonymous: bool,
    /// The image, by id, and its layers.
    pub image: Option<(ImageId, Vec<LayerId>)>,
}

impl ContainerRecord {
    /// The volumes it uses, each once.
    pub fn volume_names(&self) -> BTreeSet<VolumeName> {
        self.mounts.iter().filter_map(|mount| mount.volume.clone()).collect()
    }

    pub(crate) fn uses_volume(&self, name: &VolumeName) -> bool {
        self.mounts.iter().any(|mount| mount.volume.as_ref() == Some(name))
    }

    /// The volumes that go with it when it is removed with its volumes.
    pub(crate) fn anonymous_volumes(&self) -> Vec<VolumeName> {
        let own = self.mounts.iter().filter(|mount| mount.anonymous);
        own.filter_map(|mount| mount.volume.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl Engine {
    /// Publishes that the volumes of a container are mounted.
    pub(super) fn tell_mounted(&self, container: &Container) {
        for mount in &container.record().mounts {
            let attributes = BTreeMap::from([
                ("container".to_owned(), container.id.to_string()),
                ("destination".to_owned(), mount.spec.target.clone()),
                ("propagation".to_owned(), String::new()),
                ("read/write".to_owned(), (!mount.spec.read_only).to_string()),
            ]);
            self.tell_volume(mount, "mount", attributes);
        }
    }

    /// Publishes that the volumes of a container are not mounted in it any more, and takes filesystems away that no other container uses.
    pub(super) async fn release_mounts(&self, container: &Arc<Container>) {
        let record = container.record();
        if !record.mounts.iter().any(|mount| mount.spec.kind == MountKind::Volume) {
            return;
        }
        for mount in &record.mounts {
            self.tell_volume(mount, "unmount", BTreeMap::from([("container".to_owned(), container.id.to_string())]));
        }
        let names = self.driver_volumes(&record);
        if names.is_empty() {
            return;
        }
        let _turn = self.inner.volumes.take(&names).await;
        self.unmount_unused(names).await;
    }

    /// The volumes of a container that are mounted for their driver's options.
    pub(super) fn driver_volumes(&self, record: &ContainerRecord) -> BTreeSet<VolumeName> {
        let mut names = record.volume_names();
        names.retain(|name| self.inner.store.volumes().get(name).is_some_and(|volume| !volume.options.is_empty()));
        names
    }

    /// Takes away the filesystems of volumes that no running container uses. The caller holds their turns. Open files keep theirs.
    pub(crate) async fn unmount_unused(&self, names: BTreeSet<VolumeName>) {
        for name in names {
            let has_none = self.inner.store.volumes().get(&name).is_none_or(|volume| volume.options.is_empty());
            if has_none || self.users_of_volume(&name).iter().any(|user| user.state().is_alive()) {
                continue;
            }
            let (store, gone) = (self.inner.store.clone(), name.clone());
            let unmounted = blocking::files(move || Ok(store.volumes().unmount(&gone)?)).await;
            if let Err(error) = unmounted {
                tracing::warn!(volume = %name, %error, "cannot unmount a volume; the next container to end will try again");
            }
        }
    }

    fn tell_volume(&self, mount: &ContainerMount, action: &str, attributes: BTreeMap<String, String>) {
        if let Some(volume) = mount.volume.as_ref().and_then(|name| self.inner.store.volumes().get(name)) {
            self.publish_volume(&volume, action, attributes);
        }
    }
}
