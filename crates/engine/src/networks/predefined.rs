//! `bridge`, `host` and `none`: always there, made at the first start of a data root.

use std::collections::BTreeMap;

use shipway_model::{Digest, NetworkId};

use super::record::{NetworkDriver, NetworkRecord};
use super::{BRIDGE, HOST, NETWORKS, NONE};
use crate::containers::{CONTAINERS, ContainerRecord};
use crate::{Engine, Error, Result, blocking};

impl Engine {
    /// Reads the records of networks and makes the predefined ones that are missing.
    ///
    /// # Durability
    /// The bridge's record may be lost in a power cut; nothing refers to it by anything but its name, and its id is made from the data root.
    pub(crate) async fn read_networks(&self) -> Result<()> {
        let store = self.inner.store.clone();
        let rows = blocking::files(move || {
            let (rows, broken) = store.db().read(|txn| -> Result<_> { Ok(txn.scan_lenient(&NETWORKS)?) })?;
            for error in broken {
                tracing::error!(%error, "a network record cannot be read; fsck names it");
            }
            Ok(rows)
        })
        .await?;
        for (_, record) in rows {
            self.inner.networks.insert(record);
        }
        for (name, driver) in [(HOST, NetworkDriver::Host), (NONE, NetworkDriver::Null)] {
            let record = self.predefined(name, driver)?;
            self.inner.networks.insert(record);
        }
        if self.inner.config.bridge {
            let engine = self.clone();
            let made = blocking::files(move || engine.default_bridge()).await;
            if let Err(error) = made {
                tracing::error!(%error, "there is no default network: containers need --network");
            }
        }
        Ok(())
    }

    /// The network of containers that name none. Only a record: the kernel hears of it when the first container joins.
    ///
    /// # Errors
    /// `Exhausted` when every default range is used by routes of the host.
    fn default_bridge(&self) -> Result<std::sync::Arc<NetworkRecord>> {
        let wanted = &self.inner.config.network;
        let known = self.inner.networks.named(BRIDGE);
        let mut record = match &known {
            Some(known) => NetworkRecord::clone(known),
            None => self.predefined(BRIDGE, NetworkDriver::Bridge)?,
        };
        let asked: Vec<_> = wanted.bridge.iter().cloned().collect();
        let plan = |record: &NetworkRecord| {
            let others = self.inner.networks.all().into_iter().filter(|other| other.id != record.id).collect::<Vec<_>>();
            self.inner.hand.plan(record, &asked, &others)
        };
        let has_what_is_asked = |pool: &super::record::PoolRecord| {
            asked.iter().all(|asked| asked.subnet == Some(pool.plan.subnet) && asked.gateway == Some(pool.plan.gateway))
        };
        if !record.pools.first().is_some_and(has_what_is_asked) {
            if self.has_members(&record) {
                tracing::warn!(
                    "the default bridge keeps its subnet while containers run in it; --bip counts from the next start without any"
                );
            } else {
                record.pools = plan(&record)?;
            }
        }
        let binding = wanted.host_binding.map_or("0.0.0.0".to_owned(), |address| address.to_string());
        record.options = BTreeMap::from(
            [
                ("com.docker.network.bridge.default_bridge", "true".to_owned()),
                ("com.docker.network.bridge.enable_icc", wanted.icc.to_string()),
                ("com.docker.network.bridge.enable_ip_masquerade", "true".to_owned()),
                ("com.docker.network.bridge.host_binding_ipv4", binding),
                ("com.docker.network.bridge.name", self.inner.hand.default_bridge_name()),
                ("com.docker.network.driver.mtu", wanted.mtu.unwrap_or(1500).to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        if let Some(known) = known.filter(|known| **known == record) {
            return Ok(known);
        }
        let row = record.clone();
        self.inner.store.db().write_lazy(move |txn| -> Result<()> { Ok(txn.put(&NETWORKS, &row.id, &row)?) })?;
        Ok(self.inner.networks.insert(record))
    }

    /// Whether a record of a container says that it is in `network` now. Read from the database: boot has not adopted containers yet.
    fn has_members(&self, network: &NetworkRecord) -> bool {
        let attached =
            |record: &ContainerRecord| record.endpoints.iter().any(|found| found.network == Some(network.id) && found.attached.is_some());
        let rows = self.inner.store.db().read(|txn| -> Result<_> { Ok(txn.scan_lenient(&CONTAINERS)?.0) });
        rows.map_or(true, |rows| rows.iter().any(|(_, record)| attached(record)))
    }

    fn predefined(&self, name: &str, driver: NetworkDriver) -> Result<NetworkRecord> {
        // Their ids only have to be stable for one data root: the hash of its path and the name.
        let seed = format!("{}\0{name}", self.inner.config.data_root.display());
        let id: NetworkId = Digest::sha256_of(seed.as_bytes()).hex().parse().map_err(|_| Error::internal("a digest is no id"))?;
        Ok(NetworkRecord {
            id,
            name: name.parse().map_err(|_| Error::internal("a predefined name is no name"))?,
            driver,
            created: self.inner.started,
            internal: false,
            attachable: false,
            ipv4: true,
            ipv6: false,
            pools: Vec::new(),
            ipam_options: None,
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            config_only: false,
            config_pools: Vec::new(),
            config_from: None,
        })
    }
}
