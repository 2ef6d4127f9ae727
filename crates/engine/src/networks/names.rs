//! Names of containers: what their networks call them, and what they may ask.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use shipway_model::NetworkId;
use shipway_network::dns::{EndpointNames, Link, Outside, View};

use super::record::{EndpointRecord, NetworkRecord};
use crate::containers::{Container, ContainerRecord};
use crate::{Engine, Result};

impl Engine {
    /// Makes the names of a container known in its networks, and answers its questions at 127.0.0.11. Blocks.
    pub(super) fn tell_names(&self, record: &ContainerRecord, netns: &OwnedFd) -> Result<()> {
        let named: Vec<_> = record.endpoints.iter().filter_map(|endpoint| Some((endpoint, self.named_network(endpoint)?))).collect();
        if named.is_empty() {
            return Ok(());
        }
        for (endpoint, network) in &named {
            self.register(record, endpoint, network);
        }
        let netns = netns.try_clone().map_err(crate::Error::io("duplicate the handle of a network namespace"))?;
        Ok(self.inner.hand.names.listen(record.id, netns, self.view_of(record))?)
    }

    fn named_network(&self, endpoint: &EndpointRecord) -> Option<std::sync::Arc<NetworkRecord>> {
        endpoint.attached.as_ref()?;
        self.inner.networks.get(endpoint.network?).filter(|network| network.has_names())
    }

    /// Tells one network the names of one endpoint.
    pub(super) fn register(&self, record: &ContainerRecord, endpoint: &EndpointRecord, network: &NetworkRecord) {
        let Some(attached) = &endpoint.attached else { return };
        let names = EndpointNames {
            names: dns_names(record, endpoint),
            v4: attached.ipv4.map(|own| own.address),
            v6: attached.ipv6.map(|own| own.address),
        };
        self.inner.hand.names.register(network.id, network.name.as_str(), record.id, &names);
    }

    /// Follows a container's new name: its networks call it by that, and messages about its ports do.
    pub(crate) fn rename_in_networks(&self, container: &Container, old: &str) {
        let record = container.record();
        self.inner.hand.ports.rename(old, record.name.as_str());
        for endpoint in &record.endpoints {
            if let Some(network) = self.named_network(endpoint) {
                self.register(&record, endpoint, &network);
            }
        }
    }

    /// What a container may ask and who answers.
    pub(super) fn view_of(&self, record: &ContainerRecord) -> View {
        let mut networks: Vec<NetworkId> = Vec::new();
        let mut links = Vec::new();
        let mut reaches_out = false;
        for endpoint in &record.endpoints {
            let Some(network) = endpoint.network.filter(|_| endpoint.attached.is_some()).and_then(|id| self.inner.networks.get(id)) else {
                continue;
            };
            reaches_out |= !network.internal;
            if network.has_names() {
                networks.push(network.id);
                let split = endpoint.wish.links.iter().filter_map(|text| super::links::split(text).ok());
                links.extend(split.map(|(target, alias)| {
                    // Typed as a name or an id: the zone knows it by its name.
                    let target = self.container(target).map_or_else(|_| target.to_owned(), |other| other.name().to_string());
                    Link { alias: alias.to_owned(), network: network.id, target }
                }));
            }
        }
        let servers = self.dns_servers(record);
        let outside = match (reaches_out, servers.is_empty()) {
            (false, _) => Outside::Nowhere,
            (true, true) => Outside::Host,
            (true, false) => Outside::Servers(servers),
        };
        View { networks, links, outside }
    }

    /// The servers that were named for a container, or for all.
    pub(crate) fn dns_servers(&self, record: &ContainerRecord) -> Vec<IpAddr> {
        let own = &record.spec.host.dns;
        let texts = if own.is_empty() { &self.inner.config.dns } else { own };
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// True when a network answers the questions of this container.
    pub(crate) fn has_name_server(&self, record: &ContainerRecord) -> bool {
        record.endpoints.iter().any(|endpoint| self.named_network(endpoint).is_some())
    }
}

/// Every name of an endpoint in its network: the container's own first, which answers "who has this address".
pub fn dns_names(record: &ContainerRecord, endpoint: &EndpointRecord) -> Vec<String> {
    let mut names = vec![record.name.to_string()];
    let more = endpoint.wish.aliases.iter().cloned().chain([record.id.short(), record.process.hostname.clone()]);
    for name in more {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
