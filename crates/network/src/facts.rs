//! What reaches what, and why: the answers of `network doctor`, read from the kernel and from the rules in force.
//!
//! What must stay true: a reason is given with every answer; what cannot be known is said to depend, never guessed.

use shipway_sys::netlink::link::Link;
use shipway_sys::netlink::nft::Hook;
use shipway_sys::netlink::nft::list::BaseChain;
use shipway_sys::netlink::route::{Address, Route};

use crate::firewall::SegmentRules;
use crate::host::{Host, HostFirewall, lock};
use crate::naming::InterfaceName;
use crate::ports::Published;
use crate::subnet::Subnet;
use crate::{Error, forwarding};

#[cfg(test)]
mod tests;

/// The state of the host's network as far as containers are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The name of this daemon's table, and whether the kernel has it. Without networks none is needed.
    pub table: String,
    pub table_present: bool,
    pub table_wanted: bool,
    pub forwards_v4: bool,
    pub forwards_v6: bool,
    /// True when this daemon made the host a router, and keeps strangers' packets from using it.
    pub guarded: bool,
    /// True when bridged packets pass the firewall (`br_netfilter`).
    pub bridge_filter: bool,
    /// The same for those of IPv6 alone.
    pub bridge_filter_v6: bool,
    /// Where the default route leads; nothing beyond neighbours is reached without one.
    pub uplink_v4: Option<Uplink>,
    pub uplink_v6: Option<Uplink>,
    /// True when the chains of `others` that decide about the host also decide about published ports.
    pub respects_host_firewall: bool,
    /// Other programs' chains that packets to (`Hook::Forward`) and into (`Hook::Input`) this host pass.
    pub others: Vec<OtherChain>,
    /// True when rules of iptables-legacy exist: they act too, and cannot be seen here.
    pub legacy_iptables: bool,
    pub networks: Vec<NetworkFacts>,
    pub published: Vec<PublishedFacts>,
}

/// The interface of a default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    pub interface: String,
    /// Bytes of a packet.
    pub mtu: u32,
}

/// A base chain of somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherChain {
    /// As nft(8) names it: "inet firewalld filter_INPUT".
    pub name: String,
    /// True for packets to the host itself, false for forwarded ones.
    pub to_host: bool,
    /// True when it drops what none of its rules decides.
    pub drops: bool,
}

/// One bridge network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFacts {
    pub bridge: InterfaceName,
    /// Whether the bridge exists and is up.
    pub up: bool,
    pub internal: bool,
    /// Whether its containers reach each other.
    pub open: bool,
    pub masquerade_v4: bool,
    pub masquerade_v6: bool,
    /// Interfaces of the host by which containers are reached at their own addresses.
    pub trusted: Vec<InterfaceName>,
    /// Bytes of a packet; 0 when the bridge is missing.
    pub mtu: u32,
    /// The subnets of the bridge's addresses.
    pub subnets: Vec<Subnet>,
    /// A route of the host that takes packets to these subnets elsewhere: "10.0.0.0/8 of tun0".
    pub hidden_by: Option<String>,
}

/// A published port and who reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedFacts {
    pub published: Published,
    pub ways: Vec<Way>,
}

/// One way to a published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    pub from: Origin,
    /// The addresses to ask, e.g. "127.0.0.1" or "every address of this host".
    pub at: String,
    pub reach: Reach,
    pub because: String,
}

/// Where a question comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Programs of this host.
    Host,
    /// Other machines.
    Outside,
    /// Containers of ordinary networks.
    Containers,
    /// Containers of internal networks.
    InternalContainers,
}

/// Whether it gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Yes,
    No,
    /// Another program's rules decide.
    Depends,
}

impl Host {
    /// Reads the facts.
    ///
    /// # Cost
    /// A few kernel lists; a millisecond.
    pub fn facts(&self) -> Result<Facts, Error> {
        let kernel = || Error::kernel("read the state of the network");
        let inner = &self.inner;
        let kernel_side = {
            let socket = lock(&inner.links);
            KernelSide {
                links: socket.links().map_err(kernel())?,
                addresses: socket.addresses().map_err(kernel())?,
                routes: socket.routes().map_err(kernel())?,
            }
        };
        let rules = lock(&inner.rules);
        let chains = rules.socket.base_chains().map_err(kernel())?;
        let table = inner.naming.table();
        let others = others(&chains, &table);
        let respects = inner.settings.host_firewall == HostFirewall::Respect;
        Ok(Facts {
            table_present: chains.iter().any(|chain| chain.table == table),
            table_wanted: !rules.firewall.is_empty(),
            table,
            forwards_v4: forwarding::is_on(false),
            forwards_v6: forwarding::is_on(true),
            guarded: rules.firewall.guard,
            respects_host_firewall: respects,
            bridge_filter: forwarding::bridges_ask_the_firewall(),
            bridge_filter_v6: forwarding::bridges_ask_the_firewall_of_v6(),
            uplink_v4: kernel_side.uplink(false),
            uplink_v6: kernel_side.uplink(true),
            legacy_iptables: legacy_iptables(),
            networks: rules.firewall.segments.iter().map(|(bridge, rules)| kernel_side.network(bridge, rules)).collect(),
            published: rules
                .firewall
                .published
                .iter()
                .map(|published| PublishedFacts { published: *published, ways: ways(published, &others, respects) })
                .collect(),
            others,
        })
    }
}

/// What the kernel lists of links, addresses and routes.
struct KernelSide {
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
}

impl KernelSide {
    fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    fn uplink(&self, v6: bool) -> Option<Uplink> {
        const MAIN: u32 = 254;
        let default = |route: &&Route| route.table == MAIN && route.prefix == 0 && route.destination.is_ipv6() == v6;
        let link = self.routes.iter().filter(default).find_map(|route| self.link(route.link?))?;
        Some(Uplink { interface: link.name.clone(), mtu: link.mtu })
    }

    fn network(&self, bridge: &InterfaceName, rules: &SegmentRules) -> NetworkFacts {
        let link = self.links.iter().find(|link| link.name == bridge.as_str());
        let own = self.addresses.iter().filter(|own| link.is_some_and(|link| link.index == own.link) && !is_link_local(own.address));
        let subnets: Vec<Subnet> = own.map(|own| Subnet::around(own.address, own.prefix)).collect();
        NetworkFacts {
            bridge: bridge.clone(),
            up: link.is_some_and(|link| link.up),
            internal: rules.internal,
            open: rules.open,
            masquerade_v4: rules.masquerade_v4 && !rules.internal,
            masquerade_v6: rules.masquerade_v6 && !rules.internal,
            trusted: rules.trusted.iter().cloned().collect(),
            mtu: link.map_or(0, |link| link.mtu),
            hidden_by: link.and_then(|link| self.hiding(link.index, &subnets)),
            subnets,
        }
    }

    /// A route by another interface that is as narrow as one of `subnets`, or narrower, and lies in it.
    fn hiding(&self, bridge: u32, subnets: &[Subnet]) -> Option<String> {
        const LOCAL: u32 = 255;
        let route = self.routes.iter().find(|route| {
            let subnet = Subnet::around(route.destination, route.prefix);
            route.table != LOCAL && route.link.is_some_and(|link| link != bridge) && subnets.iter().any(|own| own.contains_subnet(&subnet))
        })?;
        let name = route.link.and_then(|link| self.link(link)).map_or("an interface", |link| link.name.as_str());
        Some(format!("{} of {name}", Subnet::around(route.destination, route.prefix)))
    }
}

fn is_link_local(address: std::net::IpAddr) -> bool {
    matches!(address, std::net::IpAddr::V6(address) if address.segments()[0] & 0xffc0 == 0xfe80)
}

/// Chains of others that decide about packets to containers or to the host.
fn others(chains: &[BaseChain], ours: &str) -> Vec<OtherChain> {
    let deciding =
        chains.iter().filter(|chain| chain.kind == "filter" && chain.table != ours && matches!(chain.hook, Hook::Input | Hook::Forward));
    // Tables of another Shipway mind their own bridges alone.
    let foreign = deciding.filter(|chain| !chain.table.starts_with("shipway"));
    let told = |chain: &BaseChain| OtherChain {
        name: format!("{} {} {}", chain.family, chain.table, chain.chain),
        to_host: chain.hook == Hook::Input,
        drops: chain.drops,
    };
    foreign.map(told).collect()
}

fn legacy_iptables() -> bool {
    ["ip_tables_names", "ip6_tables_names"].iter().any(|file| {
        let names = shipway_sys::fd::read_host_file(&format!("/proc/thread-self/net/{file}"), 4096).unwrap_or_default();
        !names.is_empty()
    })
}

/// Who reaches a published port. The same answers stand in SPECIFICATION.md, and `tests/it/exposure.rs` asks the kernel for them.
fn ways(published: &Published, others: &[OtherChain], respects: bool) -> Vec<Way> {
    let v6 = published.target.is_ipv6();
    let dropping = others.iter().find(|chain| !chain.to_host && chain.drops);
    let (at, on_loopback) = match published.host_ip {
        None => (format!("every {} address of this host", if v6 { "IPv6" } else { "IPv4" }), false),
        Some(address) => (address.to_string(), address.is_loopback()),
    };
    let way = |from, reach, because: &str| Way { from, at: at.clone(), reach, because: because.to_owned() };
    let passing = |from, because: &str| match dropping {
        Some(chain) => way(from, Reach::Depends, &format!("chain {} drops forwarded packets that its rules do not accept", chain.name)),
        None => way(from, Reach::Yes, because),
    };
    let gate = others.iter().find(|chain| respects && chain.to_host && chain.drops);
    let from_outside = || match gate {
        Some(chain) => {
            let because =
                format!("the host's own chain {} must accept port {} (published ports follow it)", chain.name, published.host_port);
            way(Origin::Outside, Reach::Depends, &because)
        }
        None => passing(Origin::Outside, "it is published; the container sees the client's address"),
    };
    if published.to_trusted {
        let because = "it is open at the container's own address, to what comes in by an interface that its network trusts";
        let closed = "its network trusts interfaces of the host, no other network";
        return vec![
            way(Origin::Host, Reach::Yes, "the host has a route to the container's own address"),
            passing(Origin::Outside, because),
            way(Origin::Containers, Reach::No, closed),
            way(Origin::InternalContainers, Reach::No, closed),
        ];
    }
    if published.is_direct() {
        let because = "it is open at the container's own address, for whoever has a route to it";
        return vec![
            way(Origin::Host, Reach::Yes, "the host has a route to the container's own address"),
            passing(Origin::Outside, because),
            passing(Origin::Containers, because),
            way(Origin::InternalContainers, Reach::No, "internal networks reach no other"),
        ];
    }
    let closed = |from| way(from, Reach::No, "it is published on the loopback, which is the host's own");
    vec![
        way(Origin::Host, Reach::Yes, "the host's own packets are forwarded to the container"),
        if on_loopback { closed(Origin::Outside) } else { from_outside() },
        if on_loopback {
            closed(Origin::Containers)
        } else {
            passing(Origin::Containers, "it is published, so containers reach it through the host's address")
        },
        way(Origin::InternalContainers, Reach::No, "internal networks reach no published port"),
    ]
}
