//! `network connect` and `network disconnect`.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use shipway_model::EndpointId;

use super::endpoint_options::{self, EndpointOptions};
use super::hand::{Addresses, mac_of};
use super::record::{AttachedEndpoint, EndpointRecord, EndpointWish, NetworkDriver, NetworkRecord};
use super::wishes::judge;
use crate::containers::{Container, ContainerRecord, NetworkMode};
use crate::{Engine, Error, Result, blocking, clock};

impl Engine {
    /// Puts the container `name` into the network `network`; at once when it runs.
    ///
    /// # Errors
    /// `Forbidden` when it is in it; `Invalid` when its mode forbids it or the network cannot fulfil the wish; the hand's.
    ///
    /// # Durability
    /// When this answers, the container is in the network after every restart.
    pub async fn connect_network(&self, network: &str, name: &str, mut wish: EndpointWish) -> Result<()> {
        let network = self.network(network)?;
        let container = self.container(name)?;
        let _turn = container.turn.lock().await;
        let record = container.record();
        wish.network = network.name.to_string();
        self.refuse_connection(&record, &network)?;
        judge(&wish, &network)?;
        let (engine, held, joined) = (self.clone(), Arc::clone(&container), Arc::clone(&network));
        blocking::files(
            move || if record.state.is_alive() { engine.join(&held, &joined, wish) } else { engine.note(&held, &joined, wish) },
        )
        .await?;
        self.save(&container).await?;
        if container.state().is_alive() {
            self.publish_network(&network, "connect", Some(container.id));
        }
        Ok(())
    }

    fn refuse_connection(&self, record: &ContainerRecord, network: &NetworkRecord) -> Result<()> {
        let main = self.network_of_mode(&record.spec.host.network);
        if network.driver == NetworkDriver::Host {
            return Err(Error::invalid("container cannot be disconnected from host network or connected to host network"));
        }
        if matches!(record.spec.host.network, NetworkMode::Container(_)) || main == Some(super::HOST) {
            return Err(Error::invalid(
                "container sharing network namespace with another container or host cannot be connected to any other network",
            ));
        }
        let in_none = record.endpoints.iter().any(|endpoint| endpoint.wish.network == super::NONE);
        if network.config_only {
            return Err(super::wishes::configuration_only());
        }
        if network.driver == NetworkDriver::Null || in_none {
            return Err(Error::InvalidWithHint {
                reason: "container cannot be connected to multiple networks with one of the networks in private (none) mode".to_owned(),
                hint: format!("take it out of \"none\" first: shipway network disconnect none {}", record.name),
            });
        }
        let there = record.endpoints.iter().any(|endpoint| endpoint.attached.is_some() && endpoint.network == Some(network.id));
        if there {
            return Err(Error::Forbidden {
                reason: format!("endpoint with name {} already exists in network {}", record.name, network.name),
                hint: Some("it is connected already: nothing to do".to_owned()),
            });
        }
        Ok(())
    }

    /// Notes a wish for the next start.
    fn note(&self, container: &Container, network: &NetworkRecord, wish: EndpointWish) -> Result<()> {
        container.change(|record| {
            record.endpoints.retain(|endpoint| endpoint.wish.network != wish.network);
            record.endpoints.push(EndpointRecord { wish, network: Some(network.id), attached: None });
        });
        Ok(())
    }

    /// Joins a running container to a network.
    fn join(&self, container: &Container, network: &Arc<NetworkRecord>, wish: EndpointWish) -> Result<()> {
        let joining = self.inner.networks.joining();
        if self.inner.networks.get(network.id).is_none() {
            return Err(Error::no_such_network(network.name.as_str(), None));
        }
        let record = container.record();
        let netns = netns_of(&record)?;
        let hand = &self.inner.hand;
        let slot =
            (0..u16::MAX).find(|slot| record.endpoints.iter().all(|other| other.attached.as_ref().is_none_or(|other| other.slot != *slot)));
        let slot = slot.unwrap_or_default();
        let options = super::options::BridgeOptions::read(&network.options)?;
        let (routed, prefix) = (options.routed(), options.prefix);
        let EndpointOptions { interface, settings } = endpoint_options::read(&wish)?;
        let interface = endpoint_options::name_of(interface, &prefix, slot, &record.endpoints)?;
        let Addresses { ipv4, ipv6 } = hand.claim_addresses(network, &wish, &format!("container \"{}\"", record.name))?;
        let mac = mac_of(network, &wish, &Addresses { ipv4, ipv6 }, &format!("{} {}", record.id, network.id));
        let mut attached = AttachedEndpoint {
            id: EndpointId::from_random(clock::random()),
            interface,
            slot,
            host_end: hand.host_end(network),
            ipv4,
            ipv6,
            mac,
            is_default: !network.internal && self.has_no_default_route(&record),
            link_local: wish.link_local.clone(),
            published: Vec::new(),
            settings,
            routed,
        };
        if attached.is_default {
            let ports = hand.claim_ports(record.name.as_str(), network, &super::attach::wanted_ports(&record));
            let endpoint = attached.id.to_string();
            attached.published = match ports {
                Ok(ports) => ports,
                Err(source) => {
                    hand.release_addresses(network.id, &attached);
                    return Err(Error::Endpoint { name: record.name.to_string(), endpoint, source: Box::new(source) });
                }
            };
        }
        let endpoint = EndpointRecord { wish, network: Some(network.id), attached: Some(attached.clone()) };
        let name = endpoint.wish.network.clone();
        container.change(|record| {
            record.endpoints.retain(|endpoint| endpoint.wish.network != name);
            record.endpoints.push(endpoint);
        });
        drop(joining);
        let made = hand.attach(&netns, network, &attached).and_then(|()| hand.publish(&attached));
        let made = made.and_then(|()| self.tell_names(&container.record(), &netns));
        let made = made.and_then(|()| self.take_over(container, &netns, network));
        if made.is_err() {
            container.change(|record| record.endpoints.retain(|endpoint| endpoint.wish.network != name));
            hand.names.unregister(network.id, record.id);
            hand.withdraw(record.name.as_str(), network.id, &attached);
        } else {
            self.follow_in_files(&record, &container.record());
        }
        made
    }

    /// Takes the container `name` out of the network `network`; at once when it runs.
    ///
    /// # Errors
    /// `Conflict` when it is not in it; `Invalid` for the host's.
    pub async fn disconnect_network(&self, network: &str, name: &str, force: bool) -> Result<()> {
        let network = self.network(network)?;
        let container = match self.container(name) {
            // With force dockerd looks for the endpoint alone.
            Err(_) if force => return Err(Error::NotFound { noun: "endpoint", name: name.to_owned() }),
            found => found?,
        };
        let _turn = container.turn.lock().await;
        let record = container.record();
        let Some(endpoint) = record.endpoints.iter().find(|endpoint| endpoint.wish.network == network.name.as_str()).cloned() else {
            return Err(Error::Conflict {
                reason: format!("container {} is not connected to network {}", record.id, network.name),
                hint: Some(format!("it is in {}", in_words(&record))),
            });
        };
        if network.driver == NetworkDriver::Host {
            return Err(Error::invalid("container cannot be disconnected from host network or connected to host network"));
        }
        container.change(|record| record.endpoints.retain(|endpoint| endpoint.wish.network != network.name.as_str()));
        self.save(&container).await?;
        if let Some(attached) = endpoint.attached.clone() {
            let (engine, held, left) = (self.clone(), Arc::clone(&container), Arc::clone(&network));
            blocking::files(move || {
                engine.leave(&held, &left, endpoint, &attached);
                Ok(())
            })
            .await?;
            self.publish_network(&network, "disconnect", Some(container.id));
            self.save(&container).await?;
        }
        Ok(())
    }

    /// Takes a running container's endpoint away; where it had the default route and the ports, another network gets them.
    fn leave(&self, container: &Container, network: &NetworkRecord, left: EndpointRecord, attached: &AttachedEndpoint) {
        let record = container.record();
        let hand = &self.inner.hand;
        hand.names.unregister(network.id, record.id);
        if !network.driver.is_wired() {
            return;
        }
        let netns = netns_of(&record);
        if let (Ok(netns), Ok(spec)) = (&netns, hand.endpoint_spec(network, attached)) {
            use std::os::fd::AsFd;
            if let Err(error) = hand.host.detach(netns.as_fd(), &spec) {
                tracing::warn!(%error, container = %record.name, network = %network.name, "cannot take an interface out of a container");
            }
        }
        hand.withdraw(record.name.as_str(), network.id, attached);
        if attached.is_default {
            self.promote(container);
        }
        let before = ContainerRecord { endpoints: [&record.endpoints[..], &[left]].concat(), ..record };
        let record = container.record();
        self.follow_in_files(&before, &record);
        if !self.has_name_server(&record) {
            // Its files still say 127.0.0.11: it is answered, with nothing of ours to tell.
            hand.names.change_view(record.id, self.view_of(&record));
        } else if let Ok(netns) = netns
            && let Err(error) = self.tell_names(&record, &netns)
        {
            tracing::warn!(%error, container = %record.name, "cannot tell a container's names anew");
        }
    }
}

/// The network namespace of a running container.
pub(super) fn netns_of(record: &ContainerRecord) -> Result<OwnedFd> {
    let pid = record.state.pid().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::Conflict { reason: format!("container {} is not running", record.id), hint: None })?;
    shipway_sys::namespace::of_process(pid, "net").map_err(Error::sys(format!("open the network namespace of container {}", record.name)))
}

fn in_words(record: &ContainerRecord) -> String {
    let names: Vec<&str> = record.endpoints.iter().map(|endpoint| endpoint.wish.network.as_str()).collect();
    if names.is_empty() { "no network".to_owned() } else { names.join(", ") }
}
