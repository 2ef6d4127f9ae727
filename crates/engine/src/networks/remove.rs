//! `network rm` and `network prune`.

use std::sync::Arc;

use super::NETWORKS;
use super::inspect::lets;
use super::record::NetworkRecord;
use crate::{Engine, Error, Filters, Result, blocking};

impl Engine {
    /// Removes the network `name`.
    ///
    /// # Errors
    /// `Forbidden` for a predefined one, and while containers run in it: their names are told.
    ///
    /// # Durability
    /// The row goes first; the kernel's bridge behind it, or at the next boot.
    pub async fn remove_network(&self, name: &str) -> Result<()> {
        let network = self.network(name)?;
        if network.is_predefined() {
            return Err(Error::Forbidden {
                reason: format!("{} is a pre-defined network and cannot be removed", network.name),
                hint: None,
            });
        }
        let _turn = self.inner.networks.turn.lock().await;
        self.check_configuration_unused(&network)?;
        self.remove_network_in_turn(&network).await
    }

    async fn remove_network_in_turn(&self, network: &Arc<NetworkRecord>) -> Result<()> {
        {
            // Nobody joins while we look and take it out of the list.
            let _alone = self.inner.networks.alone();
            let members = self.members(network);
            if !members.is_empty() {
                return Err(in_use(network, &members));
            }
            if self.inner.networks.get(network.id).is_none() {
                return Err(Error::no_such_network(network.name.as_str(), None));
            }
            self.inner.networks.remove(network.id);
        }
        let (store, id) = (self.inner.store.clone(), network.id);
        let removed = blocking::files(move || {
            Ok(store.publish(move |txn| {
                txn.remove(&NETWORKS, &id)?;
                Ok(())
            })?)
        })
        .await;
        if let Err(error) = removed {
            self.inner.networks.insert(NetworkRecord::clone(network));
            return Err(error);
        }
        let (engine, gone) = (self.clone(), Arc::clone(network));
        let withdrawn = blocking::files(move || engine.inner.hand.withdraw_network(&gone)).await;
        if let Err(error) = withdrawn {
            tracing::warn!(%error, network = %network.name, "cannot take the bridge of a removed network away; boot will try again");
        }
        self.publish_network(network, "destroy", None);
        Ok(())
    }

    /// Removes every network made by people that no running container is in. Returns their names.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub async fn prune_networks(&self, filters: &Filters) -> Result<Vec<String>> {
        filters.check_known(&["label", "label!", "until"])?;
        let until = filters.values("until").iter().map(|text| crate::images::parse_until(text)).collect::<Result<Vec<_>>>()?;
        let _turn = self.inner.networks.turn.lock().await;
        let mut removed = Vec::new();
        for network in self.inner.networks.all() {
            let old_enough = until.iter().all(|until| network.created < *until);
            if network.is_predefined()
                || network.config_only
                || !old_enough
                || !lets(&network, filters)
                || !self.members(&network).is_empty()
            {
                continue;
            }
            match self.remove_network_in_turn(&network).await {
                Ok(()) => removed.push(network.name.to_string()),
                // Somebody joined it meanwhile: then it is used.
                Err(Error::Forbidden { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.inner.events.publish_prune(crate::Subject::Network, 0);
        Ok(removed)
    }
}

/// dockerd's refusal with those who are in the way, and the way out.
fn in_use(network: &NetworkRecord, members: &[super::Member]) -> Error {
    let list: Vec<String> = members.iter().map(|member| format!("name:\"{}\" id:\"{}\"", member.name, member.container.short())).collect();
    let name = members.first().map(|member| member.name.to_string()).unwrap_or_default();
    Error::Forbidden {
        reason: format!("error while removing network: network {} has active endpoints ({})", network.name, list.join(", ")),
        hint: Some(format!("take them out first: shipway network disconnect {} {name}", network.name)),
    }
}
