//! The network of a RUN step: an endpoint of its own for as long as the step runs.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use shipway_model::{ContainerId, EndpointId};
use shipway_network::dns::{Outside, View};

use super::hand::{Addresses, mac_of};
use super::record::{AttachedEndpoint, EndpointWish, NetworkRecord};
use crate::{Engine, Error, Result, clock};

/// A step's foot in a network. Dropping it gives everything back.
pub(crate) struct WiredStep {
    engine: Engine,
    id: ContainerId,
    network: Arc<NetworkRecord>,
    attached: AttachedEndpoint,
}

impl WiredStep {
    /// Claims an address for the step `id` in the network called `name`. Blocks.
    pub(crate) fn claim(engine: &Engine, id: ContainerId, name: &str) -> Result<Self> {
        let _joining = engine.inner.networks.joining();
        let network = engine.network(name)?;
        if !network.driver.is_wired() {
            return Err(Error::internal("a step joins networks with interfaces only"));
        }
        super::wishes::judge(&EndpointWish::default(), &network)?;
        let hand = &engine.inner.hand;
        let wish = EndpointWish::default();
        let addresses = hand.claim_addresses(&network, &wish, "a build step")?;
        let mac = mac_of(&network, &wish, &addresses, &id.to_string());
        let Addresses { ipv4, ipv6 } = addresses;
        let attached = AttachedEndpoint {
            id: EndpointId::from_random(clock::random()),
            interface: "eth0".to_owned(),
            slot: 0,
            host_end: hand.host_end(&network),
            ipv4,
            ipv6,
            mac,
            is_default: !network.internal,
            published: Vec::new(),
            settings: Vec::new(),
            routed: shipway_network::Routed::default(),
            link_local: Vec::new(),
        };
        Ok(Self { engine: engine.clone(), id, network, attached })
    }

    /// Makes the interface inside `netns`. Blocks.
    pub(crate) fn attach(&self, netns: OwnedFd) -> Result<()> {
        let hand = &self.engine.inner.hand;
        hand.attach(&netns, &self.network, &self.attached)?;
        if self.network.has_names() {
            let servers = self.engine.inner.config.dns.iter().filter_map(|text| text.parse().ok()).collect::<Vec<_>>();
            let outside = match (self.network.internal, servers.is_empty()) {
                (true, _) => Outside::Nowhere,
                (false, true) => Outside::Host,
                (false, false) => Outside::Servers(servers),
            };
            hand.names.listen(self.id, netns, View { networks: vec![self.network.id], links: Vec::new(), outside })?;
        }
        Ok(())
    }

    /// True where names are answered inside.
    pub(crate) fn has_names(&self) -> bool {
        self.network.has_names()
    }

    /// Its own addresses.
    pub(crate) fn addresses(&self) -> Vec<std::net::IpAddr> {
        let v4 = self.attached.ipv4.map(|own| std::net::IpAddr::from(own.address));
        v4.into_iter().chain(self.attached.ipv6.map(|own| own.address.into())).collect()
    }

    /// The address by which the step reaches the host.
    pub(crate) fn gateway(&self) -> Option<std::net::IpAddr> {
        let own = self.attached.ipv4.and_then(|own| own.gateway).map(std::net::IpAddr::from);
        own.or_else(|| self.attached.ipv6.and_then(|own| own.gateway).map(std::net::IpAddr::from))
    }
}

impl Drop for WiredStep {
    // Failing is logged by the hand, and boot finds what stays.
    fn drop(&mut self) {
        let hand = &self.engine.inner.hand;
        hand.hang_up(self.id);
        hand.withdraw("", self.network.id, &self.attached);
    }
}
