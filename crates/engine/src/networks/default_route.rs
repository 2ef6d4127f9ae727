//! Which of a container's networks has its default route and its published ports, and how both move while it runs.
//!
//! What must stay true: at most one endpoint has them; host ports that were told to people stay the same when they move.

use std::cmp::Reverse;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use shipway_model::NetworkName;
use shipway_network::ClaimedPort;

use super::attach::wanted_ports;
use super::connect::netns_of;
use super::record::{AttachedEndpoint, EndpointWish, NetworkDriver, NetworkRecord};
use crate::containers::{Container, ContainerRecord};
use crate::{Engine, Result};

/// The order in which networks get the default route: the highest priority, then the first name.
pub(super) fn rank(wish: &EndpointWish, network: &NetworkRecord) -> (Reverse<i64>, NetworkName) {
    (Reverse(wish.gateway_priority), network.name.clone())
}

impl Engine {
    /// The network that has the default route of a running container.
    fn holder(&self, record: &ContainerRecord) -> Option<(EndpointWish, Arc<NetworkRecord>, AttachedEndpoint)> {
        let endpoint = record.endpoints.iter().find(|endpoint| endpoint.attached.as_ref().is_some_and(|attached| attached.is_default))?;
        let (network, attached) = self.living(endpoint)?;
        Some((endpoint.wish.clone(), network, attached.clone()))
    }

    /// Whether nobody has the default route of a running container yet.
    pub(super) fn has_no_default_route(&self, record: &ContainerRecord) -> bool {
        self.holder(record).is_none()
    }

    /// Gives default route and published ports to the network `joined`, which the container has just joined, where it goes before the one that has
    /// them, as with dockerd.
    ///
    /// # Errors
    /// The hand's; the network before has them still.
    pub(super) fn take_over(&self, container: &Container, netns: &OwnedFd, joined: &Arc<NetworkRecord>) -> Result<()> {
        let record = container.record();
        let Some((held_wish, held_network, held)) = self.holder(&record) else { return Ok(()) };
        let Some(endpoint) = record.endpoints.iter().find(|endpoint| endpoint.network == Some(joined.id)) else { return Ok(()) };
        if joined.internal || held_network.id == joined.id || rank(&endpoint.wish, joined) > rank(&held_wish, &held_network) {
            return Ok(());
        }
        let Some((_, attached)) = self.living(endpoint) else { return Ok(()) };
        // Ports of this host are forwarded to bridges only.
        let (theirs, ours) = match joined.driver {
            NetworkDriver::Bridge if held.routed == attached.routed => (Vec::new(), held.published.clone()),
            // Here ports of the host are taken, and there none were, or the other way round.
            NetworkDriver::Bridge => (Vec::new(), self.claim_anew(&record, joined, &held)),
            _ => (held.published.clone(), Vec::new()),
        };
        let now = AttachedEndpoint { is_default: true, published: ours, ..attached.clone() };
        let before = AttachedEndpoint { is_default: false, published: theirs, ..held.clone() };
        let hand = &self.inner.hand;
        hand.promote(netns, joined, &now)?;
        let moved = if before.published.is_empty() { hand.move_published(&held, &now) } else { Ok(()) };
        if moved.is_err() {
            // The way back: as it was.
            hand.promote(netns, &held_network, &held)?;
            if held.routed != now.routed {
                hand.ports.release(record.name.as_str(), &now.published);
                hand.ports.reclaim(record.name.as_str(), &held.published);
            }
            hand.publish(&held)?;
            return moved;
        }
        container.change(|record| {
            for endpoint in &mut record.endpoints {
                if endpoint.network == Some(joined.id) {
                    endpoint.attached = Some(now.clone());
                } else if endpoint.network == Some(held_network.id) {
                    endpoint.attached = Some(before.clone());
                }
            }
        });
        Ok(())
    }

    /// Ports of a container as the network `joined` publishes them, instead of those that `held` has.
    fn claim_anew(&self, record: &ContainerRecord, joined: &NetworkRecord, held: &AttachedEndpoint) -> Vec<ClaimedPort> {
        let (ports, owner) = (&self.inner.hand.ports, record.name.as_str());
        ports.release(owner, &held.published);
        self.inner.hand.claim_ports(owner, joined, &wanted_ports(record)).unwrap_or_else(|error| {
            tracing::warn!(%error, container = owner, network = %joined.name, "cannot publish ports through another network");
            Vec::new()
        })
    }

    /// Gives default route and ports to the next network of a container, after the one that had them has gone.
    pub(super) fn promote(&self, container: &Container) {
        let record = container.record();
        let hand = &self.inner.hand;
        let able = record.endpoints.iter().filter_map(|endpoint| Some((endpoint, self.living(endpoint)?)));
        let able = able.filter(|(_, (network, _))| !network.internal);
        let next = able.min_by_key(|(endpoint, (network, _))| rank(&endpoint.wish, network));
        let Some((_, (network, attached))) = next else { return };
        let mut attached = attached.clone();
        attached.is_default = true;
        match hand.claim_ports(record.name.as_str(), &network, &wanted_ports(&record)) {
            Ok(ports) => attached.published = ports,
            Err(error) => tracing::warn!(%error, container = %record.name, "cannot publish ports through another network"),
        }
        let made = netns_of(&record).and_then(|netns| hand.promote(&netns, &network, &attached)).and_then(|()| hand.publish(&attached));
        if let Err(error) = made {
            tracing::warn!(%error, container = %record.name, "cannot give the default route to another network");
        }
        container.change(|record| {
            if let Some(endpoint) = record.endpoints.iter_mut().find(|endpoint| endpoint.network == Some(network.id)) {
                endpoint.attached = Some(attached);
            }
        });
    }
}
