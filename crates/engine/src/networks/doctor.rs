//! `network doctor`: what is reachable from where, and why not.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use shipway_network::Facts;
use shipway_network::doctor::{self, Finding};
use shipway_network::facts::{NetworkFacts, PublishedFacts};

use super::record::{NetworkDriver, NetworkRecord};
use crate::{Engine, Result, blocking};

/// What the doctor found.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    pub facts: Facts,
    /// The networks that have a kernel form now.
    pub networks: Vec<(Arc<NetworkRecord>, NetworkFacts)>,
    /// Published ports with the name of their container.
    pub ports: Vec<(String, PublishedFacts)>,
    pub findings: Vec<Finding>,
}

impl Engine {
    /// Looks at the host's network as far as containers are concerned. Changes nothing.
    ///
    /// # Cost
    /// A few lists of the kernel; a millisecond, more where a program of the host has a container's port.
    pub async fn diagnose_networks(&self) -> Result<Diagnosis> {
        let engine = self.clone();
        blocking::files(move || engine.diagnose_now()).await
    }

    fn diagnose_now(&self) -> Result<Diagnosis> {
        let hand = &self.inner.hand;
        let facts = hand.host.facts()?;
        let findings = doctor::findings(&facts, &hand.ports.contested());
        let all = self.inner.networks.all().into_iter().filter(|network| network.driver == NetworkDriver::Bridge);
        let bridges = all.filter_map(|network| Some((hand.bridge_name(&network).ok()?, network)));
        let bridges: BTreeMap<_, _> = bridges.collect();
        let known = |found: &NetworkFacts| Some((Arc::clone(bridges.get(&found.bridge)?), found.clone()));
        let networks = facts.networks.iter().filter_map(known).collect();
        let owners = self.addresses_of_containers();
        let owner = |found: &PublishedFacts| owners.get(&found.published.target.ip()).cloned().unwrap_or_default();
        let ports = facts.published.iter().map(|found| (owner(found), found.clone())).collect();
        Ok(Diagnosis { networks, ports, findings, facts })
    }

    fn addresses_of_containers(&self) -> BTreeMap<IpAddr, String> {
        let mut owners = BTreeMap::new();
        for container in self.inner.containers.all() {
            container.with_record(|record| {
                for attached in record.endpoints.iter().filter_map(|endpoint| endpoint.attached.as_ref()) {
                    let addresses = attached.ipv4.map(|own| IpAddr::from(own.address)).into_iter();
                    let addresses = addresses.chain(attached.ipv6.map(|own| IpAddr::from(own.address)));
                    owners.extend(addresses.map(|address| (address, record.name.to_string())));
                }
            });
        }
        owners
    }
}
