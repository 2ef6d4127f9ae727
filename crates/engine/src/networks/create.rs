//! `network create`: a record with ranges of its own. The kernel hears of it when the first container joins, or at once when it is to have a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use shipway_model::{NetworkId, NetworkName};
use shipway_network::PlanRequest;

use super::options::{BridgeOptions, GatewayMode};
use super::record::{NetworkDriver, NetworkRecord};
use super::{NETWORKS, is_predefined, stacked};
use crate::{Engine, Error, Result, blocking, clock};

/// A network as asked for.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools)] // Docker's switches.
pub struct NetworkSpec {
    pub name: String,
    /// `bridge` when empty.
    pub driver: String,
    /// Refuse a second network of the name. Always done; here for what clients say.
    pub internal: bool,
    pub attachable: bool,
    /// `None`: yes.
    pub ipv4: Option<bool>,
    pub ipv6: bool,
    /// `default` when empty; `null` gives no addresses.
    pub ipam_driver: String,
    pub ipam_options: Option<BTreeMap<String, String>>,
    pub pools: Vec<PlanRequest>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// It only holds settings for others to take.
    pub config_only: bool,
    /// The configuration whose settings it takes.
    pub config_from: Option<String>,
}

/// The answer to a creation.
#[derive(Debug, Clone)]
pub struct NetworkCreated {
    pub id: NetworkId,
    pub warning: String,
}

impl Engine {
    /// Makes a network.
    ///
    /// # Errors
    /// `Conflict` when the name is taken (M-21); `Forbidden` for a predefined name and for a range that overlaps with another network's or a
    /// route's; `Invalid`; `Exhausted` when no default range is free.
    ///
    /// # Durability
    /// When this answers, the network survives a power cut.
    ///
    /// # Cost
    /// One row and one sync of the log.
    pub async fn create_network(&self, spec: NetworkSpec) -> Result<NetworkCreated> {
        let _turn = self.inner.networks.turn.lock().await;
        let spec = self.configured(spec)?;
        let mut record = judged(&spec)?;
        if let Some(known) = self.inner.networks.named(&spec.name) {
            return Err(self.name_taken(&known));
        }
        self.refuse_same_bridge(&record)?;
        self.refuse_same_parent(&record)?;
        let engine = self.clone();
        let record = blocking::files(move || {
            if record.config_only {
                let row = record.clone();
                engine.inner.store.publish(move |txn| Ok(txn.put(&NETWORKS, &row.id, &row)?))?;
                return Ok(record);
            }
            record.pools = engine.inner.hand.plan(&record, &spec.pools, &engine.inner.networks.all())?;
            engine.inner.hand.try_driver(&record)?;
            let row = record.clone();
            let stored = engine.inner.store.publish(move |txn| Ok(txn.put(&NETWORKS, &row.id, &row)?));
            if let Err(error) = stored {
                engine.inner.hand.withdraw_network(&record)?;
                return Err(error.into());
            }
            Ok(record)
        })
        .await?;
        let network = self.inner.networks.insert(record);
        self.publish_network(&network, "create", None);
        Ok(NetworkCreated { id: network.id, warning: String::new() })
    }

    /// What is there already, and the ways out (M-21).
    fn name_taken(&self, known: &Arc<NetworkRecord>) -> Error {
        let members = self.members(known).len();
        let range = known.pools.first().map(|pool| format!(" {}", pool.plan.subnet)).unwrap_or_default();
        let containers = if members == 1 { "1 container".to_owned() } else { format!("{members} containers") };
        Error::Conflict {
            reason: format!("network with name {} already exists", known.name),
            hint: Some(format!("it exists ({}{range}, {containers}): nothing to do, or say --if-absent", known.driver.word())),
        }
    }

    /// Two networks cannot share one kernel bridge.
    fn refuse_same_bridge(&self, record: &NetworkRecord) -> Result<()> {
        let Some(name) = BridgeOptions::read(&record.options)?.name else { return Ok(()) };
        let has_name = |other: &Arc<NetworkRecord>| self.inner.hand.bridge_name(other).is_ok_and(|other| other.as_str() == name);
        match self.inner.networks.all().iter().find(|other| other.driver == NetworkDriver::Bridge && has_name(other)) {
            None => Ok(()),
            Some(other) => Err(Error::Forbidden {
                reason: format!(
                    "cannot create network {} ({name}): conflicts with network {} ({name}): networks have same bridge name",
                    record.id, other.id
                ),
                hint: Some(format!("network {} has that bridge; choose another com.docker.network.bridge.name", other.name)),
            }),
        }
    }

    /// Two networks cannot share one interface of the host.
    fn refuse_same_parent(&self, record: &NetworkRecord) -> Result<()> {
        let parent = |network: &NetworkRecord| {
            let found = network.driver.is_stacked().then(|| stacked::of(network).ok()).flatten();
            found.map(|stacked| stacked.parent.name().clone())
        };
        let Some(own) = parent(record) else { return Ok(()) };
        match self.inner.networks.all().iter().find(|other| parent(other).as_ref() == Some(&own)) {
            None => Ok(()),
            Some(other) => Err(Error::Forbidden {
                reason: format!("network {} is already using parent interface {own}", other.name),
                hint: Some(format!("join that network, or take a VLAN of the interface: -o parent={own}.50")),
            }),
        }
    }
}

/// The record without its ranges, or why there cannot be one.
fn judged(spec: &NetworkSpec) -> Result<NetworkRecord> {
    if is_predefined(&spec.name) || spec.name == "default" {
        return Err(Error::Forbidden { reason: format!("operation is not permitted on predefined {} network", spec.name), hint: None });
    }
    let name: NetworkName = spec.name.parse().map_err(|error: shipway_model::NameError| Error::invalid(error.to_string()))?;
    let driver = match spec.driver.as_str() {
        _ if spec.config_only => NetworkDriver::Null,
        "" | "bridge" => NetworkDriver::Bridge,
        "macvlan" => NetworkDriver::Macvlan,
        "ipvlan" => NetworkDriver::Ipvlan,
        kind @ ("host" | "null") => {
            return Err(Error::Forbidden { reason: format!("only one instance of \"{kind}\" network is allowed"), hint: None });
        }
        other => {
            return Err(Error::no_such_plugin(other, "the network drivers are bridge, macvlan, ipvlan, host and null"));
        }
    };
    let id = NetworkId::from_random(clock::random());
    if driver.is_stacked() {
        stacked::read(driver, &spec.options, id)?;
    }
    if !matches!(spec.ipam_driver.as_str(), "" | "default") {
        return Err(Error::no_such_plugin(&spec.ipam_driver, "the address manager is called default"));
    }
    let options = BridgeOptions::read(&spec.options)?;
    if [options.gateway_v4, options.gateway_v6].contains(&GatewayMode::Isolated) && !spec.internal {
        return Err(Error::invalid("gateway mode 'isolated' can only be used for an internal network"));
    }
    if spec.config_only && spec.internal {
        return Err(Error::Forbidden { reason: "configuration network can not be internal".to_owned(), hint: None });
    }
    if spec.ipv4 == Some(false) && !spec.ipv6 {
        return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
    }
    if let Some(subnet) = spec.pools.iter().filter_map(|pool| pool.subnet).find(|subnet| subnet.is_v6() && !spec.ipv6) {
        return Err(Error::InvalidWithHint {
            reason: format!("subnet {subnet} is of IPv6, which this network does not have"),
            hint: "say --ipv6 too".to_owned(),
        });
    }
    Ok(NetworkRecord {
        id,
        name,
        driver,
        created: clock::now(),
        // On an interface that leads nowhere nothing outside is reached.
        internal: spec.internal || (driver.is_stacked() && !stacked::has_parent(&spec.options)),
        attachable: spec.attachable,
        ipv4: spec.ipv4.unwrap_or(true),
        ipv6: spec.ipv6,
        pools: Vec::new(),
        ipam_options: spec.ipam_options.clone(),
        options: spec.options.clone(),
        labels: spec.labels.clone(),
        config_only: spec.config_only,
        config_pools: if spec.config_only { spec.pools.clone() } else { Vec::new() },
        config_from: spec.config_from.clone(),
    })
}
