//! Configuration networks (`--config-only`, `--config-from`): settings under a name, which other networks take; no container joins one.

use std::sync::Arc;

use super::create::NetworkSpec;
use super::record::NetworkRecord;
use crate::{Engine, Error, Result};

impl Engine {
    /// The settings of a network that takes them from another.
    ///
    /// # Errors
    /// `NotFound` when there is no such configuration; `Forbidden` when settings are given beside it. The words are dockerd's.
    pub(super) fn configured(&self, mut spec: NetworkSpec) -> Result<NetworkSpec> {
        let Some(from) = spec.config_from.clone() else { return Ok(spec) };
        let refuse = |reason: &str| Err(Error::Forbidden { reason: reason.to_owned(), hint: None });
        if spec.config_only {
            return refuse("a configuration network cannot depend on another configuration network");
        }
        let has_own = !spec.pools.is_empty() || !spec.labels.is_empty() || !spec.options.is_empty() || spec.ipv6;
        if has_own || spec.ipam_options.as_ref().is_some_and(|options| !options.is_empty()) {
            return refuse("user specified configurations are not supported if the network depends on a configuration network");
        }
        let known = self.inner.networks.named(&from).filter(|network| network.config_only);
        let Some(known) = known else {
            return Err(Error::NoSuchConfiguration { name: from });
        };
        spec.ipv4 = Some(known.ipv4);
        spec.ipv6 = known.ipv6;
        spec.pools.clone_from(&known.config_pools);
        spec.options.clone_from(&known.options);
        spec.labels.clone_from(&known.labels);
        spec.ipam_options.clone_from(&known.ipam_options);
        Ok(spec)
    }

    /// Refuses to remove a configuration that networks were made from.
    pub(super) fn check_configuration_unused(&self, network: &NetworkRecord) -> Result<()> {
        let uses = |other: &&Arc<NetworkRecord>| other.config_from.as_deref() == Some(network.name.as_str());
        match self.inner.networks.all().iter().find(uses).filter(|_| network.config_only) {
            None => Ok(()),
            Some(user) => Err(Error::Forbidden {
                reason: format!("error while removing network: configuration network \"{}\" is in use", network.name),
                hint: Some(format!("network {} was made from it", user.name)),
            }),
        }
    }
}
