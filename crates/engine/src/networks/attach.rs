//! A container's start and end, as its networks see them.
//!
//! What must stay true: addresses and ports are claimed, and recorded, before a process exists; whatever fails, all that was claimed is given back; after an end
//! nobody waits for the kernel, but whoever claims the same port or address next gets it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use shipway_model::{EndpointId, PortBinding};
use shipway_network::Routed;

use super::default_route::rank;
use super::endpoint_options::{self, EndpointOptions};
use super::hand::{Addresses, mac_of, with_exposed};
use super::record::{AttachedEndpoint, EndpointRecord, NetworkRecord};
use super::wishes::judge;
use crate::containers::{Container, ContainerRecord};
use crate::{Engine, Error, Result, blocking, clock};

/// What one endpoint of a start is made from.
struct Planned {
    network: Arc<NetworkRecord>,
    endpoint: EndpointRecord,
}

impl Engine {
    /// Claims addresses and ports for every network of a container that is about to start, and records them. True when there is something to wire.
    ///
    /// # Errors
    /// `NotFoundInWords`; `Endpoint` when a port is taken, with its owner (M-23); the hand's when an address is.
    pub(crate) async fn claim_endpoints(&self, container: &Arc<Container>) -> Result<bool> {
        // An error says that the engine is going away.
        let _ = self.inner.networks.restored.subscribe().wait_for(|restored| *restored).await;
        let record = container.record();
        if record.endpoints.is_empty() {
            return self.claim_missing(container, &record).await;
        }
        let engine = self.clone();
        let needs_kernel = record.endpoints.iter().any(|endpoint| !matches!(endpoint.wish.network.as_str(), super::NONE | super::HOST));
        let claimed = if needs_kernel {
            let held = Arc::clone(container);
            blocking::files(move || engine.claim_now(&held, &record)).await?
        } else {
            self.claim_now(container, &record)?
        };
        if claimed {
            // Before anything is made: a daemon that dies now finds at its boot what it may have made.
            self.save_lazily(container);
        }
        Ok(claimed)
    }

    /// A record from before there were networks, or one that was taken out of all of them: it gets that of its mode, as with dockerd; none when
    /// that was removed meanwhile: whoever took it out of its last network can still start it.
    async fn claim_missing(&self, container: &Arc<Container>, record: &ContainerRecord) -> Result<bool> {
        let mut endpoints = self.endpoints_of(&record.spec)?;
        endpoints.retain(|endpoint| self.network(&endpoint.wish.network).is_ok());
        if endpoints.is_empty() {
            return Ok(false);
        }
        container.change(|record| record.endpoints = endpoints);
        Box::pin(self.claim_endpoints(container)).await
    }

    fn claim_now(&self, container: &Container, record: &ContainerRecord) -> Result<bool> {
        // No network is removed between the look-up and the note in the record.
        let _joining = self.inner.networks.joining();
        let mut planned = Vec::new();
        for endpoint in &record.endpoints {
            let network = self.network(&endpoint.wish.network)?;
            judge(&endpoint.wish, &network)?;
            planned.push(Planned { network, endpoint: endpoint.clone() });
        }
        let default = default_of(&planned);
        let mut done: Vec<EndpointRecord> = Vec::new();
        for (slot, plan) in planned.iter().enumerate() {
            match self.claim_one(record, plan, &done, default == Some(slot)) {
                Ok(attached) => {
                    let mut endpoint = plan.endpoint.clone();
                    endpoint.network = Some(plan.network.id);
                    endpoint.attached = Some(attached);
                    done.push(endpoint);
                }
                Err(error) => {
                    for endpoint in &done {
                        self.release_claim(record, endpoint);
                    }
                    return Err(error);
                }
            }
        }
        let wires = planned.iter().any(|plan| plan.network.driver.is_wired());
        container.change(|record| record.endpoints = done);
        Ok(wires)
    }

    /// Claims what the endpoint after those in `done` needs.
    fn claim_one(&self, record: &ContainerRecord, plan: &Planned, done: &[EndpointRecord], is_default: bool) -> Result<AttachedEndpoint> {
        let (network, wish) = (&plan.network, &plan.endpoint.wish);
        let id = EndpointId::from_random(clock::random());
        let slot = u16::try_from(done.len()).map_err(|_| Error::invalid("a container cannot be in so many networks"))?;
        if !network.driver.is_wired() {
            return Ok(AttachedEndpoint {
                id,
                interface: String::new(),
                slot,
                host_end: String::new(),
                ipv4: None,
                ipv6: None,
                mac: None,
                is_default,
                published: Vec::new(),
                settings: Vec::new(),
                routed: Routed::default(),
                link_local: Vec::new(),
            });
        }
        let hand = &self.inner.hand;
        let options = super::options::BridgeOptions::read(&network.options)?;
        let EndpointOptions { interface, settings } = endpoint_options::read(wish)?;
        let interface = endpoint_options::name_of(interface, &options.prefix, slot, done)?;
        let published = if is_default {
            let bindings = wanted_ports(record);
            hand.claim_ports(record.name.as_str(), network, &bindings).map_err(|source| Error::Endpoint {
                name: record.name.to_string(),
                endpoint: id.to_string(),
                source: Box::new(source),
            })?
        } else {
            Vec::new()
        };
        let owner = format!("container \"{}\"", record.name);
        let addresses = match hand.claim_addresses(network, wish, &owner) {
            Ok(addresses) => addresses,
            Err(error) => {
                hand.ports.release(record.name.as_str(), &published);
                return Err(error);
            }
        };
        let mac = mac_of(network, wish, &addresses, &format!("{} {}", record.id, network.id));
        let Addresses { ipv4, ipv6 } = addresses;
        Ok(AttachedEndpoint {
            id,
            interface,
            slot,
            host_end: hand.host_end(network),
            ipv4,
            ipv6,
            mac,
            is_default,
            published,
            settings,
            routed: options.routed(),
            link_local: wish.link_local.clone(),
        })
    }

    fn release_claim(&self, record: &ContainerRecord, endpoint: &EndpointRecord) {
        if let (Some(network), Some(attached)) = (endpoint.network, &endpoint.attached) {
            self.inner.hand.ports.release(record.name.as_str(), &attached.published);
            self.inner.hand.release_addresses(network, attached);
        }
    }

    /// Makes the interfaces of a container inside `netns`, opens its ports and tells its names. Blocks.
    ///
    /// # Errors
    /// The hand's. What was made so far is left for `release_endpoints`.
    pub(crate) fn attach_endpoints(&self, record: &ContainerRecord, netns: &OwnedFd) -> Result<()> {
        let hand = &self.inner.hand;
        for endpoint in &record.endpoints {
            let Some((network, attached)) = self.living(endpoint) else { continue };
            hand.attach(netns, &network, attached)?;
            hand.publish(attached)?;
        }
        self.tell_names(record, netns)
    }

    /// The network of an endpoint that has a kernel form.
    pub(super) fn living<'a>(&self, endpoint: &'a EndpointRecord) -> Option<(Arc<NetworkRecord>, &'a AttachedEndpoint)> {
        let network = self.inner.networks.get(endpoint.network?)?;
        network.driver.is_wired().then_some(())?;
        Some((network, endpoint.attached.as_ref()?))
    }

    /// Takes a container out of all its networks. When this answers, its ports and addresses are free for the next; its interfaces go behind it.
    pub(crate) async fn release_endpoints(&self, container: &Arc<Container>) {
        let mut taken = Vec::new();
        let record = container.change(|record| {
            for endpoint in &mut record.endpoints {
                if let (Some(network), Some(attached)) = (endpoint.network, endpoint.attached.take()) {
                    taken.push((network, attached));
                }
            }
        });
        for (network, _) in &taken {
            if let Some(network) = self.inner.networks.get(*network) {
                self.publish_network(&network, "disconnect", Some(record.id));
            }
        }
        taken.retain(|(_, attached)| !attached.interface.is_empty());
        if taken.is_empty() {
            return;
        }
        self.inner.hand.hang_up(record.id);
        for (network, _) in &taken {
            self.inner.hand.names.unregister(*network, record.id);
        }
        let rules = taken.iter().any(|(_, attached)| !attached.published.is_empty());
        let engine = self.clone();
        let withdraw = move || {
            for (network, attached) in &taken {
                engine.inner.hand.withdraw(record.name.as_str(), *network, attached);
            }
            Ok(())
        };
        // Without rules it is a note in memory and a word to the hand's own thread.
        let done = if rules { blocking::files(withdraw).await } else { withdraw() };
        if let Err(error) = done {
            tracing::warn!(%error, container = %container.id, "cannot take a container out of its networks");
        }
    }

    /// Events of a start: the container is in its networks.
    pub(crate) fn publish_connects(&self, record: &ContainerRecord) {
        for endpoint in &record.endpoints {
            if let Some(network) = endpoint.network.and_then(|id| self.inner.networks.get(id)) {
                self.publish_network(&network, "connect", Some(record.id));
            }
        }
    }
}

/// The endpoint that brings the default route: the highest priority, then the first name; never an internal network's.
fn default_of(planned: &[Planned]) -> Option<usize> {
    let able = planned.iter().enumerate().filter(|(_, plan)| plan.network.driver.is_wired() && !plan.network.internal);
    able.min_by_key(|(_, plan)| rank(&plan.endpoint.wish, &plan.network)).map(|(slot, _)| slot)
}

/// The ports that a container asked to have published.
pub(super) fn wanted_ports(record: &ContainerRecord) -> Vec<PortBinding> {
    let host = &record.spec.host;
    if host.publish_all { with_exposed(&host.publish, record.process.exposed_ports.iter().copied()) } else { host.publish.clone() }
}
