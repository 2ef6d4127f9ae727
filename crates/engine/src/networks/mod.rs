//! Networks. Until bridges exist there are the two that need no kernel objects: `host` and `none`.

use crate::{Engine, Error, Filters, Result};

/// A network as list and inspect show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkView {
    pub id: String,
    pub name: &'static str,
    pub driver: &'static str,
    pub created: shipway_model::Timestamp,
}

impl Engine {
    /// The networks that exist, filtered by name, id, driver and type.
    pub fn list_networks(&self, filters: &Filters) -> Result<Vec<NetworkView>> {
        filters.check_known(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
        let matches =
            |key: &str, text: &str| filters.values(key).is_empty() || filters.values(key).iter().any(|value| text.contains(value.as_str()));
        let no_label = filters.values("label").is_empty();
        let wanted = |network: &NetworkView| {
            matches("name", network.name)
                && matches("driver", network.driver)
                && matches("id", &network.id)
                && matches("scope", "local")
                && no_label
                && !filters.values("type").iter().any(|kind| kind == "custom")
        };
        Ok(self.built_in_networks().into_iter().filter(wanted).collect())
    }

    /// The network that `name` means.
    pub fn inspect_network(&self, name: &str) -> Result<NetworkView> {
        self.built_in_networks()
            .into_iter()
            .find(|network| network.name == name || (name.len() >= 4 && network.id.starts_with(name)))
            .ok_or_else(|| Error::NotFound { noun: "network", name: name.to_owned() })
    }

    fn built_in_networks(&self) -> Vec<NetworkView> {
        // Their ids only have to be stable for one data root: the hash of its path and the name.
        ["host", "none"]
            .into_iter()
            .map(|name| {
                let seed = format!("{}\0{name}", self.inner.config.data_root.display());
                let driver = if name == "none" { "null" } else { name };
                NetworkView { id: shipway_model::Digest::sha256_of(seed.as_bytes()).hex(), name, driver, created: self.inner.started }
            })
            .collect()
    }
}
