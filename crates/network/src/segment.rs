//! A segment: one network's kernel form, as a finished value.
//!
//! What must stay true: two segments of one daemon never share a bridge; equal values make equal kernel objects.

use std::net::IpAddr;

use shipway_model::NetworkId;

use crate::naming::{InterfaceName, MacAddress};
use crate::plan::SubnetPlan;
use crate::ports::Routed;

/// A bridge network. (`host` and `none` need no segment; macvlan and ipvlan have none either: see [`crate::endpoint::Attachment`].)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub network: NetworkId,
    /// The bridge: `Naming::default_bridge`, `Naming::bridge`, or what `com.docker.network.bridge.name` says.
    pub bridge: InterfaceName,
    /// The bridge's own addresses: the gateways. None for `inhibit_ipv4`.
    pub addresses: Vec<SegmentAddress>,
    /// Bytes of a packet; 0 leaves the kernel's 1500.
    pub mtu: u32,
    /// Whether its containers reach each other (`enable_icc`).
    pub between: IsolationBetween,
    /// Nothing leaves, nothing comes in, no port is published.
    pub internal: bool,
    /// Whether the host speaks for its containers outside (`enable_ip_masquerade`), per family.
    pub masquerade_v4: bool,
    pub masquerade_v6: bool,
    /// Whoever routes to a container's address reaches every port of it, published or not, per family.
    pub unprotected_v4: bool,
    pub unprotected_v6: bool,
    /// Who reaches the published ports of its containers at their own addresses.
    pub routed: Routed,
    /// Interfaces of the host by which these ports are reached so, beside the rest (`trusted_host_interfaces`).
    pub trusted: Vec<InterfaceName>,
}

/// An address of the bridge with its subnet's prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentAddress {
    pub address: IpAddr,
    pub prefix: u8,
}

/// Whether the containers of one segment reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationBetween {
    Open,
    /// `icc=false`: the bridge does not pass frames from one container to another; published ports are reached through the host's addresses.
    Closed,
}

impl Segment {
    /// A segment with Docker's defaults, its gateways on the bridge.
    pub fn new(network: NetworkId, bridge: InterfaceName, plans: &[SubnetPlan]) -> Self {
        let addresses = plans.iter().map(|plan| SegmentAddress { address: plan.gateway, prefix: plan.subnet.prefix() }).collect();
        Self {
            network,
            bridge,
            addresses,
            mtu: 0,
            between: IsolationBetween::Open,
            internal: false,
            masquerade_v4: true,
            masquerade_v6: true,
            unprotected_v4: false,
            unprotected_v6: false,
            routed: Routed::default(),
            trusted: Vec::new(),
        }
    }

    /// True when its containers have IPv6.
    pub fn has_v6(&self) -> bool {
        self.addresses.iter().any(|own| own.address.is_ipv6())
    }

    /// The bridge's hardware address: fixed, so that it does not change with the first and last container.
    pub fn mac(&self) -> MacAddress {
        MacAddress::of_seed(&format!("{} {}", self.network, self.bridge))
    }
}
