//! What can go wrong here, by what the caller can do about it.

use std::net::IpAddr;

use shipway_model::Port;
use shipway_model::{Classified, ErrorKind};

use crate::ports::PortOwner;
use crate::subnet::Subnet;

/// An error of this crate. The other party is always named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("invalid subnet \"{text}\": {reason}")]
    Subnet { text: String, reason: &'static str },
    #[error("invalid interface name \"{text}\": {reason}")]
    InterfaceName { text: String, reason: &'static str },
    #[error("invalid MAC address \"{text}\"")]
    MacAddress { text: String },
    #[error("no matching subnet for {what} {address}")]
    OutsideSubnet { what: &'static str, address: String },
    #[error("subnet {subnet} has no room for containers: {reason}")]
    TooSmall { subnet: Subnet, reason: &'static str },
    /// The words after the first colon are Docker's.
    #[error("invalid pool request: Pool overlaps with other one on this address space: {subnet} overlaps with {other} of {owner}")]
    Overlap { subnet: Subnet, other: Subnet, owner: String },
    #[error(
        "all predefined address pools have been fully subnetted: {networks} of {pools} are used by other networks or routes of this host"
    )]
    PoolsExhausted { pools: String, networks: String },
    #[error("no available addresses on this network's address pools: all {count} addresses of {range} are taken")]
    AddressesExhausted { range: Subnet, count: u128 },
    #[error("Address already in use: {address} belongs to {owner}")]
    AddressTaken { address: IpAddr, owner: String },
    #[error("{what} {address} does not lie in the network's subnet {subnets}")]
    AddressOutside { what: &'static str, address: IpAddr, subnets: String },
    /// The words in parentheses are Docker's.
    #[error("port {number} is used by {owner} (Bind for {bind}:{number} failed: port is already allocated)", number = .port.number)]
    PortTaken { port: Port, bind: IpAddr, owner: PortOwner },
    #[error("every port of {first}-{last}/{protocol} is taken (Bind for {bind}:{first} failed: port is already allocated)")]
    PortsExhausted { first: u16, last: u16, protocol: shipway_model::Protocol, bind: IpAddr },
    /// The words in parentheses are Docker's.
    #[error("cannot publish on {address}: no interface of this host has that address (bind: cannot assign requested address)")]
    NotOurAddress { address: IpAddr },
    /// A word of a flag that would end up in /etc/hosts or /etc/resolv.conf.
    #[error("invalid {what} \"{text}\": write {expected}")]
    BadSetting { what: &'static str, text: String, expected: &'static str },
    #[error("this host has no interface \"{name}\"")]
    NoInterface { name: crate::naming::InterfaceName },
    /// The words are Docker's.
    #[error("{reason}")]
    Vlan { reason: String },
    #[error("cannot {doing}: {source}")]
    Kernel {
        doing: String,
        #[source]
        source: shipway_sys::Error,
    },
    #[error("cannot {doing}: {reason}")]
    Unsupported { doing: String, reason: String },
}

impl Error {
    /// Tells what was being done when the kernel refused.
    pub fn kernel(doing: impl Into<String>) -> impl FnOnce(shipway_sys::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Kernel { doing, source }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Subnet { .. } | Self::InterfaceName { .. } | Self::MacAddress { .. } => ErrorKind::Invalid,
            Self::BadSetting { .. } | Self::Vlan { .. } => ErrorKind::Invalid,
            Self::OutsideSubnet { .. } | Self::TooSmall { .. } | Self::AddressOutside { .. } | Self::NotOurAddress { .. } => {
                ErrorKind::Invalid
            }
            // Docker answers 403 to an overlap; the server's compatibility switch may do so, the meaning is a conflict.
            Self::Overlap { .. } => ErrorKind::Forbidden,
            Self::AddressTaken { .. } => ErrorKind::Forbidden,
            Self::PoolsExhausted { .. } | Self::AddressesExhausted { .. } | Self::PortsExhausted { .. } => ErrorKind::Exhausted,
            Self::PortTaken { .. } => ErrorKind::Exhausted,
            Self::Kernel { source, .. } if source.errno == rustix::io::Errno::OPNOTSUPP => ErrorKind::Unsupported,
            Self::NoInterface { .. } => ErrorKind::NotFound,
            Self::Kernel { .. } => ErrorKind::Internal,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::PoolsExhausted { .. } => Some("remove unused networks (network prune), or choose one with --subnet".to_owned()),
            Self::Overlap { .. } => Some("choose another --subnet, or none to get a free one".to_owned()),
            Self::AddressesExhausted { .. } => Some("create the network with a larger --subnet or --ip-range".to_owned()),
            Self::PortTaken { port, owner: PortOwner::Container(name), .. } => {
                Some(format!("stop that container (stop {name}), or publish another port, e.g. -p {}:...", port.number.saturating_add(1)))
            }
            _ => None,
        }
    }
}
