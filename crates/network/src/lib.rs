//! The hand that does container networking: segments, endpoints, addresses, published ports, and the firewall around them.
//!
//! **Lives here**: bridges and their addresses, a container's interfaces, address pools and claims, claims of host ports, the one nftables table,
//! what `network doctor` is told, the names containers find each other by.
//! **Never here**: a container's life, records, HTTP.
//! **Nouns**: `Subnet`, `SubnetPlan`, `AddressSpace`, `Segment`, `EndpointSpec`, `PortClaims`, `Published`, `Host`.
//! **Invariants**: nothing durable is remembered here, so every `apply` and `withdraw` may be repeated; nothing typed by people reaches the kernel
//! except as a parsed value; one table of ours is changed, atomically, and nobody else's.
//! **Start reading at**: `host.rs`, then `firewall.rs`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod addresses;
mod bridge;
pub mod dns;
pub mod doctor;
pub mod endpoint;
pub mod error;
pub mod facts;
pub mod files;
mod firewall;
mod forwarding;
pub mod host;
pub mod naming;
pub mod parent;
pub mod plan;
pub mod ports;
pub mod segment;
mod setting;
pub mod subnet;
mod sysctl;
mod wire;

pub use addresses::AddressSpace;
pub use endpoint::{Attachment, EndpointSpec, InterfaceAddress, IpvlanFlag, IpvlanMode, MacvlanMode};
pub use error::Error;
pub use facts::Facts;
pub use host::{Forwarding, Host, HostFirewall, HostSettings};
pub use naming::{InterfaceName, MacAddress, Naming};
pub use parent::Parent;
pub use plan::{AddressPool, InUse, PlanRequest, SubnetPlan};
pub use ports::{ClaimedPort, PortClaims, PortOwner, Published, Routed};
pub use segment::{IsolationBetween, Segment, SegmentAddress};
pub use setting::InterfaceSetting;
pub use subnet::Subnet;

/// What most functions here answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;
