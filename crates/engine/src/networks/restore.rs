//! Boot: the hand learns from the records who has what, and the kernel is made equal to it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use shipway_network::{InterfaceName, Published, Segment};

use super::connect::netns_of;
use super::hand::Hand;
use super::record::NetworkDriver;
use crate::containers::Container;
use crate::{Engine, Result, blocking};

impl Engine {
    /// Claims again what running containers have, repairs bridges and rules, and deletes what no record names. Called once, after adoption.
    ///
    /// # Cost
    /// Nothing when there is no bridge network with containers; one reading of the kernel's tables otherwise.
    pub(crate) async fn restore_networks(&self) -> Result<()> {
        let engine = self.clone();
        let done = blocking::files(move || {
            engine.restore_now();
            Ok(())
        })
        .await;
        self.inner.networks.restored.send_replace(true);
        done
    }

    fn restore_now(&self) {
        let hand = &self.inner.hand;
        let (mut ends, mut entries, mut alive) = (Vec::<InterfaceName>::new(), Vec::<Published>::new(), Vec::<Arc<Container>>::new());
        let mut used = BTreeMap::new();
        for container in self.inner.containers.all() {
            let record = container.record();
            if !record.state.is_alive() {
                // What ended while nobody looked has nothing any more.
                if record.endpoints.iter().any(|endpoint| endpoint.attached.is_some()) {
                    container.change(|record| record.endpoints.iter_mut().for_each(|endpoint| endpoint.attached = None));
                    self.save_lazily(&container);
                }
                continue;
            }
            let mut wired = false;
            for endpoint in &record.endpoints {
                let Some((network, attached)) = self.living(endpoint) else { continue };
                wired = true;
                if network.driver == NetworkDriver::Bridge {
                    used.insert(network.id, Arc::clone(&network));
                }
                hand.reclaim_addresses(&network, attached, &format!("container \"{}\"", record.name));
                for error in hand.ports.reclaim(record.name.as_str(), &attached.published) {
                    tracing::warn!(%error, container = %record.name, "a published port is also used by somebody else");
                }
                ends.extend(attached.host_end.parse().ok());
                entries.extend(Hand::published(attached));
            }
            if wired {
                alive.push(container);
            }
        }
        // Bridges of networks nobody is in go now and are made when somebody joins.
        let segments: Vec<Segment> = used.values().filter_map(|network| hand.segment(network).ok()).collect();
        match hand.host.reconcile(&segments, &ends, &entries) {
            Ok(removed) => {
                used.keys().for_each(|network| hand.note_applied(*network));
                if !removed.is_empty() {
                    tracing::info!(?removed, "removed what no record names");
                }
            }
            Err(error) => tracing::error!(%error, "cannot bring the network back into agreement with the records"),
        }
        for container in alive {
            self.hear_again(&container);
        }
    }

    /// A container that ran on while there was no daemon is answered again.
    fn hear_again(&self, container: &Container) {
        let record = container.record();
        let told = netns_of(&record).and_then(|netns: OwnedFd| self.tell_names(&record, &netns));
        if let Err(error) = told {
            tracing::warn!(%error, container = %record.name, "cannot answer a container's questions for names");
        }
    }
}
