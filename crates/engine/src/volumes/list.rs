//! `volume ls` and `volume inspect`.

use std::sync::Arc;

use shipway_model::VolumeName;
use shipway_store::Volume;

use crate::{Engine, Error, Filters, Result};

const FILTERS: &[&str] = &["dangling", "driver", "label", "label!", "name"];

impl Engine {
    /// The volumes that `filters` let through, in order of names.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter or value.
    pub fn list_volumes(&self, filters: &Filters) -> Result<Vec<Arc<Volume>>> {
        filters.check_known(FILTERS)?;
        let dangling = filters.flag("dangling")?;
        let users = self.volume_users();
        let any = |key: &str, test: &dyn Fn(&str) -> bool| !filters.has(key) || filters.values(key).iter().any(|value| test(value));
        let mut volumes = self.inner.store.volumes().list();
        volumes.retain(|volume| {
            dangling.is_none_or(|wanted| wanted != users.contains_key(&volume.name))
                && any("driver", &|value| volume.driver == value)
                && any("name", &|value| volume.name.as_str().contains(value))
                && filters.match_labels(&volume.labels)
        });
        Ok(volumes)
    }

    /// The volume `name`.
    ///
    /// # Errors
    /// `NotFound` in dockerd's words, with the nearest name.
    pub fn inspect_volume(&self, name: &str) -> Result<Arc<Volume>> {
        let found = name.parse::<VolumeName>().ok().and_then(|name| self.inner.store.volumes().get(&name));
        found.ok_or_else(|| self.no_such_volume(name))
    }

    /// dockerd's words, which Compose matches.
    pub(super) fn no_such_volume(&self, name: &str) -> Error {
        let known = self.inner.store.volumes().list();
        let nearest = shipway_model::suggest::nearest(name, known.iter().map(|volume| volume.name.as_str()), 2);
        Error::NotFoundInWords { reason: format!("get {name}: no such volume"), hint: nearest.map(|name| format!("did you mean {name}?")) }
    }
}
