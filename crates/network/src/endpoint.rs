//! An endpoint: one container's foot in one network, as a finished value.

use std::net::IpAddr;

use crate::naming::{InterfaceName, MacAddress};
use crate::segment::IsolationBetween;
use crate::setting::InterfaceSetting;
use crate::subnet::Subnet;

/// An interface inside a container's network namespace, and where its other end is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Its name inside: `InterfaceName::ethernet(0)` for the first, and so on.
    pub name: InterfaceName,
    /// Its number inside, from 0; two endpoints of one container differ in it.
    pub slot: u16,
    pub attachment: Attachment,
    /// `MacAddress::of_address(v4)` unless people chose one, `MacAddress::of_seed(container and network)` without IPv4.
    pub mac: MacAddress,
    pub addresses: Vec<InterfaceAddress>,
    /// The gateways of the default routes this endpoint brings; at most one per family; an unspecified address for a route to the link itself, where the
    /// parent routes (ipvlan l3). None for internal networks and for all but the container's
    /// first network (highest `gw-priority`, then name).
    pub gateways: Vec<IpAddr>,
    /// Bytes of a packet; 0 leaves the kernel's 1500.
    pub mtu: u32,
    /// Routes besides the default ones, each through a gateway of this network.
    pub routes: Vec<(Subnet, IpAddr)>,
    /// Kernel settings of it that people asked for.
    pub settings: Vec<InterfaceSetting>,
}

/// An address with its subnet's prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InterfaceAddress {
    pub address: IpAddr,
    pub prefix: u8,
}

/// Where an endpoint's other end is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// A port of a bridge.
    Bridge {
        bridge: InterfaceName,
        /// The host's end of the pair: `Naming::endpoint(fresh random bytes)`, recorded until the endpoint is withdrawn.
        host_end: InterfaceName,
        between: IsolationBetween,
    },
    /// A second hardware address on an interface of the host.
    Macvlan { parent: InterfaceName, mode: MacvlanMode },
    /// More addresses on an interface of the host, behind its hardware address.
    Ipvlan { parent: InterfaceName, mode: IpvlanMode, flag: IpvlanFlag },
}

/// What macvlan interfaces of one parent may say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MacvlanMode {
    #[default]
    Bridge,
    Private,
    Vepa,
    Passthru,
}

/// On which layer ipvlan shares its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IpvlanMode {
    #[default]
    L2,
    L3,
    L3s,
}

/// What ipvlan interfaces of one parent may say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IpvlanFlag {
    #[default]
    Bridge,
    Private,
    Vepa,
}

impl EndpointSpec {
    /// True when it has an IPv6 address; without one IPv6 is switched off on its interface.
    pub fn has_v6(&self) -> bool {
        self.addresses.iter().any(|own| own.address.is_ipv6())
    }
}
