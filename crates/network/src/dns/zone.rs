//! Zones: which names and addresses exist in each network.
//!
//! What must stay true: names are compared without regard to case; an endpoint registered twice is there once; a lookup sees one state of the table.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use shipway_model::{ContainerId, NetworkId};

/// What one endpoint is called in its network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointNames {
    /// Every name: the container's, its short id, aliases, its host name. The first is the answer to "who has this address".
    pub names: Vec<String>,
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

/// The addresses that a name has. Both lists may be empty: then the name exists without any.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) v4: Vec<Ipv4Addr>,
    pub(super) v6: Vec<Ipv6Addr>,
}

/// All zones of the daemon.
#[derive(Debug, Default)]
pub(super) struct Zones {
    networks: HashMap<NetworkId, Zone>,
}

#[derive(Debug, Default)]
struct Zone {
    /// In lower case, for `name.network`.
    network_name: String,
    endpoints: HashMap<ContainerId, EndpointNames>,
    /// Lower-case name to those who bear it, in the order of their arrival.
    bearers: HashMap<String, Vec<ContainerId>>,
    owners: HashMap<IpAddr, ContainerId>,
    /// Shared names start their answers one further each time.
    turn: AtomicUsize,
}

impl Zones {
    pub(super) fn register(&mut self, network: NetworkId, network_name: &str, endpoint: ContainerId, names: &EndpointNames) {
        let zone = self.networks.entry(network).or_default();
        zone.network_name = network_name.to_ascii_lowercase();
        if zone.endpoints.get(&endpoint) == Some(names) {
            return;
        }
        zone.remove(endpoint);
        zone.insert(endpoint, names.clone());
    }

    pub(super) fn unregister(&mut self, network: NetworkId, endpoint: ContainerId) {
        if let Some(zone) = self.networks.get_mut(&network) {
            zone.remove(endpoint);
            if zone.endpoints.is_empty() {
                self.networks.remove(&network);
            }
        }
    }

    /// The addresses of `name` (lower case, without the last dot) in `network`; `name.network` is the same. `None` when there is no such name.
    pub(super) fn addresses(&self, network: NetworkId, name: &str) -> Option<Addresses> {
        let zone = self.networks.get(&network)?;
        let short = || name.strip_suffix(zone.network_name.as_str()).and_then(|rest| rest.strip_suffix('.'));
        zone.addresses(name).or_else(|| zone.addresses(short()?))
    }

    /// The name of who has `address` in `network`, completed by the network's.
    pub(super) fn name_of(&self, network: NetworkId, address: IpAddr) -> Option<String> {
        let zone = self.networks.get(&network)?;
        let name = zone.endpoints.get(zone.owners.get(&address)?)?.names.first()?;
        Some(format!("{name}.{}", zone.network_name))
    }

    /// The name of a network that has endpoints, in lower case.
    pub(super) fn network_name(&self, network: NetworkId) -> Option<&str> {
        self.networks.get(&network).map(|zone| zone.network_name.as_str())
    }
}

impl Zone {
    fn insert(&mut self, endpoint: ContainerId, names: EndpointNames) {
        for name in &names.names {
            let bearers = self.bearers.entry(name.to_ascii_lowercase()).or_default();
            if !bearers.contains(&endpoint) {
                bearers.push(endpoint);
            }
        }
        for address in addresses_of(&names) {
            self.owners.insert(address, endpoint);
        }
        self.endpoints.insert(endpoint, names);
    }

    fn remove(&mut self, endpoint: ContainerId) {
        let Some(names) = self.endpoints.remove(&endpoint) else { return };
        for name in &names.names {
            let name = name.to_ascii_lowercase();
            if let Some(bearers) = self.bearers.get_mut(&name) {
                bearers.retain(|bearer| *bearer != endpoint);
                if bearers.is_empty() {
                    self.bearers.remove(&name);
                }
            }
        }
        for address in addresses_of(&names) {
            if self.owners.get(&address) == Some(&endpoint) {
                self.owners.remove(&address);
            }
        }
    }

    fn addresses(&self, name: &str) -> Option<Addresses> {
        let bearers = self.bearers.get(name)?;
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % bearers.len().max(1);
        let mut found = Addresses::default();
        for endpoint in bearers[first..].iter().chain(&bearers[..first]).filter_map(|id| self.endpoints.get(id)) {
            found.v4.extend(endpoint.v4);
            found.v6.extend(endpoint.v6);
        }
        Some(found)
    }
}

fn addresses_of(names: &EndpointNames) -> impl Iterator<Item = IpAddr> {
    names.v4.map(IpAddr::from).into_iter().chain(names.v6.map(IpAddr::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ContainerId {
        ContainerId::from_random([number; 32])
    }

    fn nat() -> NetworkId {
        NetworkId::from_random([7; 32])
    }

    fn names(names: &[&str], last: u8) -> EndpointNames {
        let v4 = Some(Ipv4Addr::new(172, 18, 0, last));
        EndpointNames { names: names.iter().map(|&name| name.to_owned()).collect(), v4, v6: None }
    }

    fn v4(zones: &Zones, name: &str) -> Option<Vec<u8>> {
        zones.addresses(nat(), name).map(|found| found.v4.iter().map(|address| address.octets()[3]).collect())
    }

    #[test]
    fn a_shared_alias_takes_turns() {
        let mut zones = Zones::default();
        zones.register(nat(), "nat", id(1), &names(&["one", "api"], 2));
        zones.register(nat(), "nat", id(2), &names(&["two", "API"], 3));
        let firsts: Vec<_> = (0..4).map(|_| v4(&zones, "api").unwrap()).collect();
        assert_eq!(firsts, [[2, 3], [3, 2], [2, 3], [3, 2]]);
    }

    #[test]
    fn registering_again_replaces_and_unregistering_forgets() {
        let mut zones = Zones::default();
        zones.register(nat(), "Nat", id(1), &names(&["web", "old"], 2));
        zones.register(nat(), "Nat", id(1), &names(&["web"], 9));
        assert_eq!(v4(&zones, "web"), Some(vec![9]));
        assert_eq!(v4(&zones, "web.nat"), Some(vec![9]));
        assert_eq!(v4(&zones, "old"), None);
        assert_eq!(zones.name_of(nat(), "172.18.0.9".parse().unwrap()), Some("web.nat".to_owned()));
        assert_eq!(zones.name_of(nat(), "172.18.0.2".parse().unwrap()), None);
        zones.unregister(nat(), id(1));
        zones.unregister(nat(), id(1));
        assert_eq!(v4(&zones, "web"), None);
        assert!(zones.networks.is_empty());
    }

    #[test]
    fn an_address_that_changed_hands_stays_with_its_new_owner() {
        let mut zones = Zones::default();
        zones.register(nat(), "nat", id(1), &names(&["old"], 2));
        zones.register(nat(), "nat", id(2), &names(&["new"], 2));
        zones.unregister(nat(), id(1));
        assert_eq!(zones.name_of(nat(), "172.18.0.2".parse().unwrap()), Some("new.nat".to_owned()));
    }
}
