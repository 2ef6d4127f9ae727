//! `rename`.

use std::collections::BTreeMap;

use shipway_model::ContainerName;

use super::create::name_taken;
use crate::{Engine, Error, Result};

impl Engine {
    /// Gives the container `name` the name `new`.
    ///
    /// # Errors
    /// `Conflict` when another container has it; `Invalid` for a name that cannot be one.
    pub async fn rename_container(&self, name: &str, new: &str) -> Result<()> {
        let container = self.container(name)?;
        let new: ContainerName = new
            .trim_start_matches('/')
            .parse()
            .map_err(|error: shipway_model::NameError| Error::invalid(format!("Error when allocating new name: {error}")))?;
        let _turn = container.turn.lock().await;
        let old = container.name();
        if old == new {
            return Err(Error::invalid("Renaming a container with the same name as its current name"));
        }
        self.inner.containers.rename(&container, new.clone()).map_err(|owner| allocating(name_taken(&new, &owner)))?;
        if let Err(error) = self.save(&container).await {
            // The rename was not acknowledged: take it back.
            let _ = self.inner.containers.rename(&container, old);
            return Err(error);
        }
        self.rename_in_networks(&container, old.as_str());
        self.publish_container(&container, "rename", BTreeMap::from([("oldName".to_owned(), format!("/{old}"))]));
        Ok(())
    }
}

/// dockerd says what it was doing.
fn allocating(error: Error) -> Error {
    match error {
        Error::Conflict { reason, hint } => Error::Conflict { reason: format!("Error when allocating new name: {reason}"), hint },
        other => other,
    }
}
