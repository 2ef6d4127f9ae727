//! Which networks a container is to be in: the mode and the wishes of a creation, judged and put in order.

use super::record::{EndpointRecord, EndpointWish, NetworkRecord};
use super::{BRIDGE, HOST, NONE};
use crate::containers::{CreateSpec, HostOptions, NetworkMode};
use crate::{Engine, Error, Result};

impl Engine {
    /// The name of the network that `mode` means; `None` when the container shares another's.
    pub(crate) fn network_of_mode<'a>(&self, mode: &'a NetworkMode) -> Option<&'a str> {
        match mode {
            NetworkMode::Default if self.inner.config.bridge => Some(BRIDGE),
            NetworkMode::Default | NetworkMode::None => Some(NONE),
            NetworkMode::Host => Some(HOST),
            NetworkMode::Container(_) => None,
            NetworkMode::Named(name) => Some(name),
        }
    }

    /// The endpoints of a new container: that of its mode first, the others by name.
    ///
    /// # Errors
    /// `Invalid` for wishes that contradict the mode or that the network cannot fulfil.
    pub(crate) fn endpoints_of(&self, spec: &CreateSpec) -> Result<Vec<EndpointRecord>> {
        let host = &spec.host;
        refuse_conflicts(spec)?;
        let Some(main) = self.network_of_mode(&host.network) else { return Ok(Vec::new()) };
        let means_main = |wish: &EndpointWish| {
            wish.network == main || (wish.network == "default" && host.network == NetworkMode::Default) || self.same(&wish.network, main)
        };
        let mut first = host.endpoints.iter().find(|wish| means_main(wish)).cloned().unwrap_or_default();
        main.clone_into(&mut first.network);
        let mut others: Vec<EndpointWish> = host.endpoints.iter().filter(|wish| !means_main(wish)).cloned().collect();
        others.sort_by(|one, other| one.network.cmp(&other.network));
        if !others.is_empty() && matches!(main, NONE | HOST) {
            return Err(Error::invalid(if main == NONE {
                "container cannot be connected to multiple networks with one of the networks in private (none) mode"
            } else {
                "container sharing network namespace with another container or host cannot be connected to any other network"
            }));
        }
        let endpoint = |wish: EndpointWish| {
            let network = self.network(&wish.network).ok();
            if let Some(network) = &network {
                judge(&wish, network)?;
            }
            let wish = EndpointWish { network: network.as_ref().map_or(wish.network.clone(), |network| network.name.to_string()), ..wish };
            Ok(EndpointRecord { wish, network: network.map(|network| network.id), attached: None })
        };
        std::iter::once(first).chain(others).map(endpoint).collect()
    }

    fn same(&self, one: &str, other: &str) -> bool {
        matches!((self.network(one), self.network(other)), (Ok(one), Ok(other)) if one.id == other.id)
    }
}

/// Refuses a wish that `network` cannot fulfil, in dockerd's words.
pub(super) fn judge(wish: &EndpointWish, network: &NetworkRecord) -> Result<()> {
    if network.config_only {
        return Err(configuration_only());
    }
    super::endpoint_options::read(wish)?;
    let wants_address = wish.ipv4.is_some() || wish.ipv6.is_some();
    if wants_address && !network.has_names() {
        return Err(Error::InvalidWithHint {
            reason: "user specified IP address is supported on user defined networks only".to_owned(),
            hint: "make one first: shipway network create --subnet 172.30.0.0/24 mynet".to_owned(),
        });
    }
    if !wish.aliases.is_empty() && !network.has_names() {
        return Err(Error::invalid("network-scoped alias is supported only for containers in user defined networks"));
    }
    let unchosen = |is_ipv6: bool| !network.pool(is_ipv6).is_some_and(|pool| pool.chosen);
    if (wish.ipv4.is_some() && unchosen(false)) || (wish.ipv6.is_some() && unchosen(true)) {
        return Err(Error::InvalidWithHint {
            reason: "user specified IP address is supported only when connecting to networks with user configured subnets".to_owned(),
            hint: format!("network {} has a range that was picked for it; create it with --subnet to choose addresses", network.name),
        });
    }
    let wanted = wish.ipv4.map(std::net::IpAddr::from).into_iter().chain(wish.ipv6.map(std::net::IpAddr::from));
    for address in wanted {
        if !network.pools.iter().any(|pool| pool.plan.subnet.contains(address)) {
            let subnets: Vec<String> = network.pools.iter().map(|pool| pool.plan.subnet.to_string()).collect();
            return Err(Error::InvalidWithHint {
                reason: format!("Invalid address {address}: It does not belong to any of this network's subnets"),
                hint: format!("network {} has {}", network.name, subnets.join(" and ")),
            });
        }
    }
    if let Some(address) = wish.link_local.iter().find(|address| !is_link_local(**address)) {
        return Err(Error::InvalidWithHint {
            reason: format!("invalid link-local IP address {address}"),
            hint: "they lie in 169.254.0.0/16 and fe80::/64".to_owned(),
        });
    }
    let bad = |name: &&String| !is_alias(name);
    if let Some(name) = wish.aliases.iter().find(bad) {
        return Err(Error::InvalidWithHint {
            reason: format!("invalid network alias {name:?}"),
            hint: "an alias is made of letters, digits, '.', '_' and '-', at most 253".to_owned(),
        });
    }
    Ok(())
}

/// Nobody joins a configuration.
pub(super) fn configuration_only() -> Error {
    Error::Forbidden {
        reason: "cannot create endpoint on configuration-only network".to_owned(),
        hint: Some("make a network from it: shipway network create --config-from NAME mynet".to_owned()),
    }
}

fn is_link_local(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(address) => address.is_link_local(),
        std::net::IpAddr::V6(address) => address.segments()[..4] == [0xfe80, 0, 0, 0],
    }
}

/// What can be a name in DNS and in /etc/hosts and means nothing else (S-218).
pub(crate) fn is_alias(text: &str) -> bool {
    let label = |part: &str| !part.is_empty() && part.len() <= 63;
    text.len() <= 253 && text.split('.').all(label) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Options that contradict the network mode, in dockerd's words.
fn refuse_conflicts(spec: &CreateSpec) -> Result<()> {
    let host: &HostOptions = &spec.host;
    let refuse = |reason: &str| Err(Error::invalid(reason));
    let has_links = !host.links.is_empty();
    if let NetworkMode::Container(_) = &host.network {
        let hostname = spec.hostname.as_ref().is_some_and(|name| !name.is_empty());
        if hostname {
            return refuse("conflicting options: hostname and the network mode");
        }
        if has_links {
            return refuse("conflicting options: container type network can't be used with links. This would result in undefined behavior");
        }
        if !host.dns.is_empty() {
            return refuse("conflicting options: dns and the network mode");
        }
        if !host.extra_hosts.is_empty() {
            return refuse("conflicting options: custom host-to-IP mapping and the network mode");
        }
        if host.endpoints.iter().any(|wish| wish.mac.is_some()) {
            return refuse("conflicting options: mac-address and the network mode");
        }
        if !host.publish.is_empty() || host.publish_all {
            return refuse("conflicting options: port publishing and the container type network mode");
        }
        if !spec.exposed_ports.is_empty() {
            return refuse("conflicting options: port exposing and the container type network mode");
        }
    }
    if host.network == NetworkMode::Host && has_links {
        return refuse("conflicting options: host type networking can't be used with links. This would result in undefined behavior");
    }
    Ok(())
}
