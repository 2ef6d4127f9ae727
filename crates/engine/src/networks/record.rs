//! The records: a network as it was asked for, and a container's foot in one. Durable; the kernel's form is made from them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use shipway_model::{EndpointId, NetworkId, NetworkName, Timestamp};
use shipway_network::{ClaimedPort, MacAddress, PlanRequest, Routed, SubnetPlan};

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // Docker's switches, each its own.
pub struct NetworkRecord {
    pub id: NetworkId,
    pub name: NetworkName,
    pub driver: NetworkDriver,
    pub created: Timestamp,
    /// Nothing outside is reached and nothing is forwarded.
    pub internal: bool,
    pub attachable: bool,
    pub ipv4: bool,
    pub ipv6: bool,
    /// Its ranges, IPv4 first; empty for `host` and `none`.
    pub pools: Vec<PoolRecord>,
    /// Options of the address manager as typed; `None` when none were sent, which inspect tells apart.
    pub ipam_options: Option<BTreeMap<String, String>>,
    /// Options of the driver as typed; `options.rs` and `stacked.rs` read them.
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// It only holds settings for others to take; no container joins it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub config_only: bool,
    /// The ranges that a configuration holds, as asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_pools: Vec<PlanRequest>,
    /// The configuration it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_from: Option<String>,
}

/// What makes a network's segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkDriver {
    /// A bridge on this host.
    Bridge,
    /// The host's own stack.
    Host,
    /// Nothing but loopback.
    Null,
    /// Second hardware addresses on an interface of the host.
    Macvlan,
    /// More addresses behind the hardware address of an interface of the host.
    Ipvlan,
}

/// One range of a network's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRecord {
    #[serde(flatten)]
    pub plan: SubnetPlan,
    /// The user named this range: containers may ask for addresses in it.
    pub chosen: bool,
}

/// The wish to be in a network, as `run`, `create` and `connect` take it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointWish {
    /// The network's name, or what was typed for it.
    pub network: String,
    /// More names of the container in this network.
    pub aliases: Vec<String>,
    /// `container:name` each: names that this container alone sees.
    pub links: Vec<String>,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub link_local: Vec<IpAddr>,
    pub mac: Option<MacAddress>,
    /// Options of the driver as typed.
    pub driver_options: Option<BTreeMap<String, String>>,
    /// The highest one gives the default route.
    pub gateway_priority: i64,
    /// Addresses were spoken of, if only to say none: inspect shows it.
    pub has_addresses: bool,
}

/// A container's foot in a network: the wish, and what became of it while the container runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    pub wish: EndpointWish,
    /// The network, once it is known to exist.
    pub network: Option<NetworkId>,
    pub attached: Option<AttachedEndpoint>,
}

/// An endpoint that exists in the kernel, or is about to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedEndpoint {
    pub id: EndpointId,
    /// Its name inside the container, empty where it has none of its own.
    pub interface: String,
    /// Its number inside.
    pub slot: u16,
    /// The name of its other end, on the host.
    pub host_end: String,
    pub ipv4: Option<AddressRecord<Ipv4Addr>>,
    pub ipv6: Option<AddressRecord<Ipv6Addr>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// This endpoint has the default route, and the published ports.
    pub is_default: bool,
    /// Where on the host its container's ports answer.
    pub published: Vec<ClaimedPort>,
    /// Kernel settings of its interface that were asked for, as typed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    /// Families in which its published ports are open at its own address.
    #[serde(default, skip_serializing_if = "Routed::is_none")]
    pub routed: Routed,
    /// Addresses of the link alone that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
}

/// An address with the length of its prefix and the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRecord<A> {
    pub address: A,
    pub prefix: u8,
    /// `None` in an internal network.
    pub gateway: Option<A>,
}

impl NetworkDriver {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }

    /// True where containers are on an interface of the host.
    pub fn is_stacked(self) -> bool {
        matches!(self, Self::Macvlan | Self::Ipvlan)
    }

    /// True where a container has an interface and addresses of its own.
    pub fn is_wired(self) -> bool {
        matches!(self, Self::Bridge | Self::Macvlan | Self::Ipvlan)
    }
}

impl NetworkRecord {
    /// True for `bridge`, `host` and `none`, which are always there.
    pub fn is_predefined(&self) -> bool {
        super::is_predefined(self.name.as_str())
    }

    /// True for the network that containers join when nobody says otherwise: no names, no chosen addresses.
    pub fn is_default_bridge(&self) -> bool {
        self.name.as_str() == super::BRIDGE
    }

    /// True where containers find each other by name.
    pub fn has_names(&self) -> bool {
        self.driver.is_wired() && !self.is_default_bridge()
    }

    /// Its range of IPv4, or of IPv6.
    pub fn pool(&self, is_ipv6: bool) -> Option<&PoolRecord> {
        self.pools.iter().find(|pool| pool.plan.subnet.is_v6() == is_ipv6)
    }
}
