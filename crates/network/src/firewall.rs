//! The firewall as a value, and how it becomes one nftables table.
//!
//! The rules never change: networks and published ports are elements of sets and maps, so each costs the same whether there are three or ten thousand.
//! What must stay true, whatever else the table does:
//! * towards a container only answers pass, its own network's traffic, and what a published port forwarded: routing to its address does not help, unless
//!   its network was asked to let that pass;
//! * an internal network talks to itself and to its gateway only;
//! * nothing from outside reaches 127.0.0.0/8, although bridges may route it for the host's own sake;
//! * the source of a forwarded connection is kept, unless its answer would not come back through this host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use shipway_model::Protocol;
use shipway_sys::netlink::nft::{Base, Batch, Element, Hook, Set, Verdict, key_type, priority};

use crate::naming::InterfaceName;
use crate::ports::{Published, Routed};
use crate::segment::{IsolationBetween, Segment};

pub(crate) mod respect;
mod rules;
#[cfg(test)]
mod tests;

/// Every bridge of ours.
pub(crate) const BRIDGES: Set = interfaces("bridges", 1);
/// Bridges that nothing leaves or enters.
pub(crate) const INTERNAL: Set = interfaces("internal", 2);
/// Pairs of one bridge whose containers may talk (the kernel asks when `bridge-nf-call-iptables` is on).
pub(crate) const OPEN: Set = pairs("open", 3);
/// Ways in and out between which a forwarded connection's answer would bypass this host: same bridge, or from the host itself.
pub(crate) const HAIRPIN: Set = pairs("hairpin", 4);
/// Bridges whose containers borrow the host's address outside.
pub(crate) const MASQUERADE_V4: Set = interfaces("masquerade_v4", 5);
pub(crate) const MASQUERADE_V6: Set = interfaces("masquerade_v6", 6);
/// Published on one address: address, transport, port.
pub(crate) const PORTS_V4: Set = ports("ports_v4", 7, &[key_type::IPV4, key_type::PROTOCOL, key_type::SERVICE], 12, V4_TARGET);
pub(crate) const PORTS_V6: Set = ports("ports_v6", 8, &[key_type::IPV6, key_type::PROTOCOL, key_type::SERVICE], 24, V6_TARGET);
/// Published on every address: transport, port.
pub(crate) const ANY_PORTS_V4: Set = ports("any_ports_v4", 9, &[key_type::PROTOCOL, key_type::SERVICE], 8, V4_TARGET);
pub(crate) const ANY_PORTS_V6: Set = ports("any_ports_v6", 10, &[key_type::PROTOCOL, key_type::SERVICE], 8, V6_TARGET);
/// Bridges whose containers are reached by routing to their addresses.
pub(crate) const UNPROTECTED_V4: Set = interfaces("unprotected_v4", 12);
pub(crate) const UNPROTECTED_V6: Set = interfaces("unprotected_v6", 13);
/// Bridges whose containers are reached at their own addresses, where a port is published.
pub(crate) const ROUTED_V4: Set = interfaces("routed_v4", 14);
pub(crate) const ROUTED_V6: Set = interfaces("routed_v6", 15);
/// Ports open at the container's own address: address, transport, port.
pub(crate) const OPENED_V4: Set = open_ports("opened_v4", 16, &[key_type::IPV4, key_type::PROTOCOL, key_type::SERVICE], 12);
pub(crate) const OPENED_V6: Set = open_ports("opened_v6", 17, &[key_type::IPV6, key_type::PROTOCOL, key_type::SERVICE], 24);
/// Ways in by interfaces that a network trusts: interface of the host, bridge.
pub(crate) const TRUSTED: Set = pairs("trusted", 18);
/// Ports open to those at the container's own address.
pub(crate) const TRUSTED_PORTS_V4: Set = open_ports("trusted_ports_v4", 19, &[key_type::IPV4, key_type::PROTOCOL, key_type::SERVICE], 12);
pub(crate) const TRUSTED_PORTS_V6: Set = open_ports("trusted_ports_v6", 20, &[key_type::IPV6, key_type::PROTOCOL, key_type::SERVICE], 24);
/// What this table remembers about itself across a restart of the daemon.
pub(crate) const NOTES: Set = interfaces("notes", 11);
/// The note that this daemon switched forwarding on, so strangers' packets must not pass because of it.
pub(crate) const GUARD_NOTE: &str = "forward-guard";

const SETS: [Set; 20] = [
    BRIDGES,
    INTERNAL,
    OPEN,
    HAIRPIN,
    MASQUERADE_V4,
    MASQUERADE_V6,
    UNPROTECTED_V4,
    UNPROTECTED_V6,
    ROUTED_V4,
    ROUTED_V6,
    OPENED_V4,
    OPENED_V6,
    TRUSTED,
    TRUSTED_PORTS_V4,
    TRUSTED_PORTS_V6,
    PORTS_V4,
    PORTS_V6,
    ANY_PORTS_V4,
    ANY_PORTS_V6,
    NOTES,
];

const CHAINS: [&str; 9] =
    ["published", "entering", "trusted", "leaving", "arriving", "forwarding", "destination", "destination_of_host", "source"];

const V4_TARGET: (u32, u32) = (key_type::concatenated(&[key_type::IPV4, key_type::SERVICE]), 8);
const V6_TARGET: (u32, u32) = (key_type::concatenated(&[key_type::IPV6, key_type::SERVICE]), 20);

const fn interfaces(name: &'static str, id: u32) -> Set {
    Set { name, id, key_type: key_type::INTERFACE, key_bytes: 16, data: None }
}

const fn pairs(name: &'static str, id: u32) -> Set {
    Set { name, id, key_type: key_type::concatenated(&[key_type::INTERFACE, key_type::INTERFACE]), key_bytes: 32, data: None }
}

const fn ports(name: &'static str, id: u32, parts: &[u32], key_bytes: u32, target: (u32, u32)) -> Set {
    Set { name, id, key_type: key_type::concatenated(parts), key_bytes, data: Some(target) }
}

const fn open_ports(name: &'static str, id: u32, parts: &[u32], key_bytes: u32) -> Set {
    Set { name, id, key_type: key_type::concatenated(parts), key_bytes, data: None }
}

/// What the firewall needs to know of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentRules {
    pub(crate) internal: bool,
    pub(crate) open: bool,
    pub(crate) masquerade_v4: bool,
    pub(crate) masquerade_v6: bool,
    pub(crate) unprotected_v4: bool,
    pub(crate) unprotected_v6: bool,
    pub(crate) routed: Routed,
    pub(crate) trusted: BTreeSet<InterfaceName>,
}

impl From<&Segment> for SegmentRules {
    fn from(segment: &Segment) -> Self {
        Self {
            internal: segment.internal,
            open: segment.between == IsolationBetween::Open,
            masquerade_v4: segment.masquerade_v4,
            masquerade_v6: segment.masquerade_v6,
            unprotected_v4: segment.unprotected_v4,
            unprotected_v6: segment.unprotected_v6,
            routed: segment.routed,
            trusted: segment.trusted.iter().cloned().collect(),
        }
    }
}

/// All that decides what the table holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Firewall {
    pub(crate) segments: BTreeMap<InterfaceName, SegmentRules>,
    pub(crate) published: BTreeSet<Published>,
    /// Packets that are not our containers' are not forwarded: this daemon made the host a router, and nobody else asked for one.
    pub(crate) guard: bool,
}

/// An element and the set it belongs to.
pub(crate) type Entry = (&'static str, Element);

impl Firewall {
    /// True when the host needs no table.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.published.is_empty() && !self.guard
    }

    /// The whole table, instead of whatever there is under its name.
    ///
    /// Not by deleting it: a table made anew misses the packets of its first milliseconds. Chains and sets stay, what is in them is exchanged.
    pub(crate) fn replacement(&self, table: &str) -> Batch {
        let mut batch = Batch::new(table);
        self.write(&mut batch);
        batch
    }

    /// As `replacement`, where what there is under the name has another shape.
    pub(crate) fn fresh(&self, table: &str) -> Batch {
        let mut batch = Batch::new(table);
        // Deleting needs something to delete.
        batch.add_table();
        batch.delete_table();
        self.write(&mut batch);
        batch
    }

    fn write(&self, batch: &mut Batch) {
        batch.add_table();
        for set in &SETS {
            batch.add_set(set);
        }
        let base = |kind, hook, priority| Base { kind, hook, priority, policy: Verdict::Accept };
        batch.add_chain("published", None);
        batch.add_chain("entering", None);
        batch.add_chain("trusted", None);
        batch.add_chain("leaving", None);
        batch.add_chain("arriving", Some(base("filter", Hook::Prerouting, priority::RAW)));
        batch.add_chain("forwarding", Some(base("filter", Hook::Forward, priority::FILTER)));
        batch.add_chain("destination", Some(base("nat", Hook::Prerouting, priority::DNAT)));
        batch.add_chain("destination_of_host", Some(base("nat", Hook::Output, priority::DNAT)));
        batch.add_chain("source", Some(base("nat", Hook::Postrouting, priority::SNAT)));
        CHAINS.iter().for_each(|chain| batch.flush_chain(chain));
        SETS.iter().for_each(|set| batch.flush_set(set.name));
        for (chain, rule) in rules::all(self.guard) {
            batch.add_rule(chain, &rule);
        }
        let mut entries: Vec<Entry> = self.segments.iter().flat_map(|(bridge, rules)| segment_entries(bridge, rules)).collect();
        entries.extend(self.published.iter().map(published_entry));
        if self.guard {
            entries.push((NOTES.name, element(interface(GUARD_NOTE))));
        }
        add_entries(batch, entries);
    }
}

/// Adds entries set by set, many to a message.
pub(crate) fn add_entries(batch: &mut Batch, entries: Vec<Entry>) {
    for (set, elements) in by_set(entries) {
        batch.add_elements(set, &elements);
    }
}

/// Removes entries, which must all be there.
pub(crate) fn delete_entries(batch: &mut Batch, entries: Vec<Entry>) {
    for (set, elements) in by_set(entries) {
        // A map's element is named by its key alone.
        let keys: Vec<Element> = elements.into_iter().map(|element| Element { data: None, ..element }).collect();
        batch.delete_elements(set, &keys);
    }
}

fn by_set(entries: Vec<Entry>) -> BTreeMap<&'static str, Vec<Element>> {
    let mut sets: BTreeMap<&'static str, Vec<Element>> = BTreeMap::new();
    for (set, element) in entries {
        sets.entry(set).or_default().push(element);
    }
    sets
}

/// What a segment is in the table.
pub(crate) fn segment_entries(bridge: &InterfaceName, rules: &SegmentRules) -> Vec<Entry> {
    let name = interface(bridge.as_str());
    let pair = |from: &str| [interface(from), name.clone()].concat();
    let mut entries =
        vec![(BRIDGES.name, element(name.clone())), (HAIRPIN.name, element(pair(bridge.as_str()))), (HAIRPIN.name, element(pair("")))];
    if rules.open {
        entries.push((OPEN.name, element(pair(bridge.as_str()))));
    }
    if rules.internal {
        entries.push((INTERNAL.name, element(name)));
        return entries;
    }
    if rules.masquerade_v4 {
        entries.push((MASQUERADE_V4.name, element(name.clone())));
    }
    if rules.masquerade_v6 {
        entries.push((MASQUERADE_V6.name, element(name.clone())));
    }
    if rules.unprotected_v4 {
        entries.push((UNPROTECTED_V4.name, element(name.clone())));
    }
    if rules.unprotected_v6 {
        entries.push((UNPROTECTED_V6.name, element(name.clone())));
    }
    if rules.routed.v4 {
        entries.push((ROUTED_V4.name, element(name.clone())));
    }
    if rules.routed.v6 {
        entries.push((ROUTED_V6.name, element(name.clone())));
    }
    entries.extend(rules.trusted.iter().map(|outside| (TRUSTED.name, element(pair(outside.as_str())))));
    entries
}

/// What a published port is in the table.
pub(crate) fn published_entry(published: &Published) -> Entry {
    let mut key = Vec::with_capacity(24);
    let set = match (published.host_ip, published.target.ip()) {
        (Some(address), target) if address == target => {
            push_address(&mut key, address);
            match (published.to_trusted, target.is_ipv4()) {
                (false, true) => OPENED_V4.name,
                (false, false) => OPENED_V6.name,
                (true, true) => TRUSTED_PORTS_V4.name,
                (true, false) => TRUSTED_PORTS_V6.name,
            }
        }
        (None, IpAddr::V4(_)) => ANY_PORTS_V4.name,
        (None, IpAddr::V6(_)) => ANY_PORTS_V6.name,
        (Some(address), target) => {
            push_address(&mut key, address);
            if target.is_ipv4() { PORTS_V4.name } else { PORTS_V6.name }
        }
    };
    key.extend_from_slice(&[protocol_number(published.protocol), 0, 0, 0]);
    push_port(&mut key, published.host_port);
    if published.is_direct() {
        return (set, element(key));
    }
    let mut data = Vec::with_capacity(20);
    push_address(&mut data, published.target.ip());
    push_port(&mut data, published.target.port());
    (set, Element { key, data: Some(data) })
}

fn element(key: Vec<u8>) -> Element {
    Element { key, data: None }
}

/// An interface's name as the kernel compares it.
pub(crate) fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn push_address(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
    }
}

fn push_port(bytes: &mut Vec<u8>, port: u16) {
    let [high, low] = port.to_be_bytes();
    bytes.extend_from_slice(&[high, low, 0, 0]);
}

/// The transport's number on the wire.
pub(crate) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}
