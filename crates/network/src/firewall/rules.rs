//! The rules of the table; they are the same whatever networks and ports there are.

use shipway_sys::netlink::nft::expression::{Header, Meta};
use shipway_sys::netlink::nft::{Expression, Register, Set, Verdict};

use super::{
    ANY_PORTS_V4, ANY_PORTS_V6, BRIDGES, HAIRPIN, INTERNAL, MASQUERADE_V4, MASQUERADE_V6, OPEN, OPENED_V4, OPENED_V6, PORTS_V4, PORTS_V6,
    ROUTED_V4, ROUTED_V6, TRUSTED, TRUSTED_PORTS_V4, TRUSTED_PORTS_V6, UNPROTECTED_V4, UNPROTECTED_V6,
};

const V4: u8 = 2;
const V6: u8 = 10;
/// Their own protocols for saying what is wrong, and for being asked (IANA's numbers).
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
/// Length of an interface's name in a register.
const NAME: u32 = 16;
const R: Register = Register::FIRST;
type Steps = Vec<Expression>;

/// Every rule with its chain, in order.
pub(super) fn all(guard: bool) -> Vec<(&'static str, Steps)> {
    let mut rules = vec![
        // Bridges route 127.0.0.0/8 so that the host can reach what is published there; containers must not.
        ("arriving", rule([input_in(BRIDGES), to_loopback(), drop()])),
        // An internal network's containers see the host's own services at their gateway, no published port.
        ("destination", rule([input_in(INTERNAL), back()])),
        // Ports published on the loopback are served to the host alone, by `destination_of_host`.
        ("destination", rule([to_loopback(), back()])),
        ("destination", rule([to_this_host(), jump("published")])),
        ("destination_of_host", rule([to_this_host(), jump("published")])),
        ("published", rule([family(V4), v4_destination(R), transport_and_port(R.after(4)), forward(PORTS_V4, V4)])),
        ("published", rule([family(V4), transport_and_port(R), forward(ANY_PORTS_V4, V4)])),
        ("published", rule([family(V6), v6_destination(R), transport_and_port(R.after(16)), forward(PORTS_V6, V6)])),
        ("published", rule([family(V6), transport_and_port(R), forward(ANY_PORTS_V6, V6)])),
        ("forwarding", rule([output_in(BRIDGES), jump("entering")])),
        ("forwarding", rule([input_in(BRIDGES), jump("leaving")])),
        ("entering", rule([answer(), accept()])),
        // Containers of one network.
        ("entering", rule([pair_in(OPEN), accept()])),
        ("entering", rule([input_in(INTERNAL), drop()])),
        ("entering", rule([output_in(INTERNAL), drop()])),
        // What `published` forwarded, from wherever.
        ("entering", rule([forwarded(), accept()])),
        // What is published where containers have addresses of the world outside; and they can be asked whether they are there.
        ("entering", rule([family(V4), v4_destination(R), transport_and_port(R.after(4)), within(OPENED_V4), accept()])),
        ("entering", rule([family(V6), v6_destination(R), transport_and_port(R.after(16)), within(OPENED_V6), accept()])),
        ("entering", rule([family(V4), transport(ICMP), output_in(ROUTED_V4), accept()])),
        ("entering", rule([family(V6), transport(ICMP_V6), output_in(ROUTED_V6), accept()])),
        // What comes in by an interface that the network trusts.
        ("entering", rule([pair_in(TRUSTED), jump("trusted")])),
        ("trusted", rule([family(V4), v4_destination(R), transport_and_port(R.after(4)), within(TRUSTED_PORTS_V4), accept()])),
        ("trusted", rule([family(V6), v6_destination(R), transport_and_port(R.after(16)), within(TRUSTED_PORTS_V6), accept()])),
        // Networks that were asked to protect nobody.
        ("entering", rule([family(V4), output_in(UNPROTECTED_V4), accept()])),
        ("entering", rule([family(V6), output_in(UNPROTECTED_V6), accept()])),
        // Everything else: other networks, and neighbours who route to a container's address.
        ("entering", drop()),
        ("leaving", rule([answer(), accept()])),
        ("leaving", rule([input_in(INTERNAL), drop()])),
        ("leaving", accept()),
        // The answer would go straight to the client, or to 127.0.0.1: it must come back through this host.
        ("source", rule([forwarded(), pair_in(HAIRPIN), masquerade()])),
        ("source", rule([family(V4), input_in(MASQUERADE_V4), output_not_in(BRIDGES), masquerade()])),
        ("source", rule([family(V6), input_in(MASQUERADE_V6), output_not_in(BRIDGES), masquerade()])),
    ];
    if guard {
        rules.push(("forwarding", rule([output_not_in(BRIDGES), drop()])));
    }
    rules
}

pub(super) fn rule<const PARTS: usize>(parts: [Steps; PARTS]) -> Steps {
    parts.into_iter().flatten().collect()
}

pub(super) fn accept() -> Steps {
    vec![Expression::Verdict(Verdict::Accept)]
}

pub(super) fn drop() -> Steps {
    vec![Expression::Verdict(Verdict::Drop)]
}

fn back() -> Steps {
    vec![Expression::Verdict(Verdict::Return)]
}

pub(super) fn jump(chain: &'static str) -> Steps {
    vec![Expression::Verdict(Verdict::Jump(chain))]
}

fn masquerade() -> Steps {
    vec![Expression::Masquerade]
}

fn family(wanted: u8) -> Steps {
    vec![Expression::Meta { key: Meta::Family, to: R }, Expression::Equal { register: R, value: vec![wanted] }]
}

pub(super) fn input_in(set: Set) -> Steps {
    vec![Expression::Meta { key: Meta::InputName, to: R }, Expression::In { set: set.name, id: set.id, key: R }]
}

fn output_in(set: Set) -> Steps {
    vec![Expression::Meta { key: Meta::OutputName, to: R }, Expression::In { set: set.name, id: set.id, key: R }]
}

fn within(set: Set) -> Steps {
    vec![Expression::In { set: set.name, id: set.id, key: R }]
}

fn transport(wanted: u8) -> Steps {
    vec![Expression::Meta { key: Meta::Transport, to: R }, Expression::Equal { register: R, value: vec![wanted] }]
}

fn output_not_in(set: Set) -> Steps {
    vec![Expression::Meta { key: Meta::OutputName, to: R }, Expression::NotIn { set: set.name, id: set.id, key: R }]
}

fn pair_in(set: Set) -> Steps {
    vec![
        Expression::Meta { key: Meta::InputName, to: R },
        Expression::Meta { key: Meta::OutputName, to: R.after(NAME) },
        Expression::In { set: set.name, id: set.id, key: R },
    ]
}

fn v4_destination(to: Register) -> Steps {
    vec![Expression::Payload { header: Header::Network, offset: 16, bytes: 4, to }]
}

fn v6_destination(to: Register) -> Steps {
    vec![Expression::Payload { header: Header::Network, offset: 24, bytes: 16, to }]
}

/// 127.0.0.0/8. Its IPv6 sister needs no rule: the kernel takes ::1 from no wire.
fn to_loopback() -> Steps {
    let first_byte =
        [Expression::Mask { register: R, mask: vec![0xff, 0, 0, 0] }, Expression::Equal { register: R, value: vec![127, 0, 0, 0] }];
    rule([family(V4), v4_destination(R), first_byte.into()])
}

/// Packets to one of the host's own addresses.
pub(super) fn to_this_host() -> Steps {
    const LOCAL: u32 = 2;
    vec![Expression::DestinationKind { to: R }, Expression::Equal { register: R, value: LOCAL.to_ne_bytes().to_vec() }]
}

/// The transport's number and the destination port, a register each; holds for TCP, UDP and SCTP alike.
pub(super) fn transport_and_port(to: Register) -> Steps {
    vec![
        Expression::Meta { key: Meta::Transport, to },
        Expression::Payload { header: Header::Transport, offset: 2, bytes: 2, to: to.after(4) },
    ]
}

/// Looks the key in the registers up and sends the connection to what the map has for it.
fn forward(map: Set, family: u8) -> Steps {
    let address_bytes = if family == V4 { 4 } else { 16 };
    vec![
        Expression::Map { map: map.name, id: map.id, key: R, to: R },
        Expression::DestinationNat { family, address: R, port: R.after(address_bytes) },
    ]
}

/// A packet of a connection that was let through before, or speaks of one.
pub(super) fn answer() -> Steps {
    const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
    bits(Expression::ConnectionState { to: R }, ESTABLISHED_OR_RELATED)
}

/// A connection whose destination was changed.
fn forwarded() -> Steps {
    const DESTINATION_CHANGED: u32 = 1 << 5;
    bits(Expression::ConnectionStatus { to: R }, DESTINATION_CHANGED)
}

fn bits(load: Expression, wanted: u32) -> Steps {
    vec![
        load,
        Expression::Mask { register: R, mask: wanted.to_ne_bytes().to_vec() },
        Expression::NotEqual { register: R, value: vec![0; 4] },
    ]
}
