//! `network ls` and `network inspect`: a consistent copy of a record with who is in it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use shipway_model::{ContainerId, ContainerName, EndpointId};
use shipway_network::MacAddress;

use super::record::{AddressRecord, NetworkRecord};
use crate::{Engine, Error, Filters, Result};

/// Filters that list accepts (features.md C-09).
const FILTERS: &[&str] = &["dangling", "driver", "id", "label", "label!", "name", "scope", "type", "until"];

/// A network as list and inspect show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkView {
    pub record: Arc<NetworkRecord>,
    /// The containers whose endpoints live in it; empty for list.
    pub members: Vec<Member>,
}

/// A container in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub container: ContainerId,
    pub name: ContainerName,
    pub endpoint: EndpointId,
    pub mac: Option<MacAddress>,
    pub ipv4: Option<AddressRecord<Ipv4Addr>>,
    pub ipv6: Option<AddressRecord<Ipv6Addr>>,
}

impl Engine {
    /// The networks that exist, filtered.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter or value.
    pub fn list_networks(&self, filters: &Filters) -> Result<Vec<NetworkView>> {
        filters.check_known(FILTERS)?;
        if let Some(kind) = filters.values("type").iter().find(|kind| !matches!(kind.as_str(), "custom" | "builtin")) {
            return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
        }
        let dangling = filters.flag("dangling")?;
        let networks = self.inner.networks.all().into_iter().filter(|network| lets(network, filters));
        let networks = networks
            .filter(|network| dangling.is_none_or(|wanted| wanted == (!network.is_predefined() && self.members(network).is_empty())));
        let mut views: Vec<_> = networks.map(|record| NetworkView { record, members: Vec::new() }).collect();
        views.sort_by(|one, other| one.record.name.cmp(&other.record.name));
        Ok(views)
    }

    /// The network that `name` means, with its members.
    pub fn inspect_network(&self, name: &str) -> Result<NetworkView> {
        let record = self.network(name)?;
        let members = self.members(&record);
        Ok(NetworkView { record, members })
    }

    /// The running containers in a network.
    pub(super) fn members(&self, network: &NetworkRecord) -> Vec<Member> {
        let containers = self.inner.containers.all();
        let member = |container: &Arc<crate::containers::Container>| {
            container.with_record(|record| {
                let endpoint = record.endpoints.iter().find(|endpoint| endpoint.network == Some(network.id))?;
                let attached = endpoint.attached.as_ref()?;
                Some(Member {
                    container: record.id,
                    name: record.name.clone(),
                    endpoint: attached.id,
                    mac: attached.mac,
                    ipv4: attached.ipv4,
                    ipv6: attached.ipv6,
                })
            })
        };
        containers.iter().filter_map(member).collect()
    }
}

/// Whether the filters that need nothing but the record let `network` through.
pub(super) fn lets(network: &NetworkRecord, filters: &Filters) -> bool {
    let any = |key: &str, test: &dyn Fn(&str) -> bool| !filters.has(key) || filters.values(key).iter().any(|value| test(value));
    any("name", &|value| network.name.as_str().contains(value))
        && any("id", &|value| network.id.to_string().starts_with(value))
        && any("driver", &|value| network.driver.word() == value)
        && any("scope", &|value| value == "local")
        && any("type", &|value| (value == "builtin") == network.is_predefined())
        && filters.match_labels(&network.labels)
}
