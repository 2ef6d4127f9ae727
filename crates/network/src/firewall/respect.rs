//! The host's own firewall, respected: what it says about packets to this host also holds for packets to published ports (W-02).
//!
//! A forwarded packet never meets the rules that admins write for the host (the input hook): they would not know that a port is open. So each base
//! chain at that hook is copied, with all it leads to, into a table of ours that sits before destinations are changed, where a packet still says
//! which port was asked for; packets that ask for no published port pass it by. The copy follows its original within a second.
//! What must stay true: the originals are only read; a dropping chain that cannot be copied closes published ports to the outside rather than open them.

use std::collections::BTreeSet;

use shipway_sys::netlink::Socket;
use shipway_sys::netlink::nft::expression::Meta;
use shipway_sys::netlink::nft::list::BaseChain;
use shipway_sys::netlink::nft::mirror::Copy;
use shipway_sys::netlink::nft::{Base, Batch, Element, Expression, Hook, Register, Set, Verdict, key_type, priority};

use super::rules::{accept, answer, drop, input_in, jump, rule, to_this_host, transport_and_port};
use super::{BRIDGES, Firewall, interface, protocol_number};
use crate::ports::Published;

/// Transport and port of everything published, in each copy's table.
const PUBLISHED: Set = Set {
    name: "published",
    id: 900,
    key_type: key_type::concatenated(&[key_type::PROTOCOL, key_type::SERVICE]),
    key_bytes: 8,
    data: None,
};
const GATE: &str = "shipway-gate";
const ASKED: &str = "shipway-asked";
const R: Register = Register::FIRST;

/// Copies in force: family and name of their tables.
pub(crate) type Tables = BTreeSet<(u8, String)>;

/// The chains that decide about packets to this host, other than this program's.
pub(crate) fn respected(socket: &Socket) -> Result<Vec<(BaseChain, Copy)>, shipway_sys::Error> {
    let mut found = Vec::new();
    for chain in socket.base_chains()? {
        if chain.kind == "filter" && chain.hook == Hook::Input && !chain.table.starts_with("shipway") {
            let copy = socket.copy_chain(&chain)?;
            if chain.drops || !copy.has_no_rules() {
                found.push((chain, copy));
            }
        }
    }
    Ok(found)
}

/// The table that holds the copy of a chain.
pub(crate) fn table_of(ours: &str, chain: &BaseChain) -> String {
    format!("{ours}.{}.{}", chain.table, chain.chain)
}

/// Writes the copy of a chain in its own table, replacing the one before.
pub(crate) fn copy(ours: &str, chain: &BaseChain, copy: &Copy, firewall: &Firewall) -> Batch {
    let mut batch = begin(ours, chain, copy.family(), firewall);
    copy.write(&mut batch);
    batch.add_rule(ASKED, &[Expression::Verdict(Verdict::JumpTo(copy.start.clone()))]);
    if chain.drops {
        batch.add_rule(ASKED, &drop());
    }
    batch
}

/// Instead of a dropping chain that cannot be copied: nothing from outside.
pub(crate) fn closed(ours: &str, chain: &BaseChain, family: u8, firewall: &Firewall) -> Batch {
    let mut batch = begin(ours, chain, family, firewall);
    batch.add_rule(ASKED, &drop());
    batch
}

fn begin(ours: &str, chain: &BaseChain, family: u8, firewall: &Firewall) -> Batch {
    let mut batch = Batch::new("");
    batch.turn_to(family, &table_of(ours, chain));
    batch.add_table();
    batch.delete_table();
    batch.add_table();
    batch.add_set(&PUBLISHED);
    batch.add_set(&BRIDGES);
    let bridges: Vec<Element> = firewall.segments.keys().map(|bridge| Element { key: interface(bridge.as_str()), data: None }).collect();
    batch.add_elements(BRIDGES.name, &bridges);
    batch.add_elements(PUBLISHED.name, &keys(&firewall.published));
    batch.add_chain(ASKED, None);
    batch.add_chain(GATE, Some(Base { kind: "filter", hook: Hook::Prerouting, priority: priority::BEFORE_DNAT, policy: Verdict::Accept }));
    // The host and its containers are not outside; answers were let through before.
    batch.add_rule(GATE, &rule([from_loopback(), accept()]));
    batch.add_rule(GATE, &rule([input_in(BRIDGES), accept()]));
    batch.add_rule(GATE, &rule([answer(), accept()]));
    // What does not ask for a published port of this host meets the original later on, or never would have.
    batch.add_rule(GATE, &rule([to_this_host(), asks_for_published(), jump(ASKED)]));
    batch
}

/// Adds ports to every copy.
pub(crate) fn add(batch: &mut Batch, tables: &Tables, published: &BTreeSet<Published>) {
    for (family, table) in tables {
        batch.turn_to(*family, table);
        batch.add_elements(PUBLISHED.name, &keys(published));
    }
}

/// Removes the ports of `gone` from every copy that nothing in `left` shares.
pub(crate) fn remove(batch: &mut Batch, tables: &Tables, gone: &BTreeSet<Published>, left: &BTreeSet<Published>) {
    let left: BTreeSet<Element> = keys(left).into_iter().collect();
    let gone: Vec<Element> = keys(gone).into_iter().filter(|key| !left.contains(key)).collect();
    if gone.is_empty() {
        return;
    }
    for (family, table) in tables {
        batch.turn_to(*family, table);
        batch.delete_elements(PUBLISHED.name, &gone);
    }
}

fn keys(published: &BTreeSet<Published>) -> Vec<Element> {
    let key = |entry: &Published| {
        let [high, low] = entry.host_port.to_be_bytes();
        Element { key: vec![protocol_number(entry.protocol), 0, 0, 0, high, low, 0, 0], data: None }
    };
    published.iter().map(key).collect::<BTreeSet<Element>>().into_iter().collect()
}

fn from_loopback() -> Vec<Expression> {
    vec![Expression::Meta { key: Meta::InputName, to: R }, Expression::Equal { register: R, value: interface("lo") }]
}

fn asks_for_published() -> Vec<Expression> {
    rule([transport_and_port(R), vec![Expression::In { set: PUBLISHED.name, id: PUBLISHED.id, key: R }]])
}
