//! The parts of a rule, each one load, comparison or deed.

use super::super::Request;

/// Where a value is kept between two expressions: sixteen slots of four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(u32);

impl Register {
    /// The first slot.
    pub const FIRST: Self = Self(8);

    /// The slot `bytes` after this one; a value always starts a slot.
    pub const fn after(self, bytes: u32) -> Self {
        Self(self.0 + bytes.div_ceil(4))
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Drop,
    Accept,
    Return,
    Jump(&'static str),
    /// As `Jump`, to a chain whose name was read from the kernel.
    JumpTo(String),
}

impl Verdict {
    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Jump(_) | Self::JumpTo(_) => -3,
            Self::Return => -5,
        }
    }
}

/// A fact about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// Sixteen bytes, zero-padded; empty for packets of this host.
    InputName,
    /// As above; empty where no interface is chosen yet.
    OutputName,
    /// IPv4 (2) or IPv6 (10), one byte.
    Family,
    /// TCP, UDP, ..., one byte.
    Transport,
}

/// Where a payload's offset counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    Network,
    Transport,
}

/// One step of a rule. A step that does not hold ends the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    Meta {
        key: Meta,
        to: Register,
    },
    Payload {
        header: Header,
        offset: u32,
        bytes: u32,
        to: Register,
    },
    /// Writes the register into the packet and corrects the checksum that stands `checksum` bytes into the same header.
    SetPayload {
        header: Header,
        offset: u32,
        bytes: u32,
        checksum: u32,
        from: Register,
    },
    /// Loads bytes that are the same for every packet.
    Value {
        to: Register,
        value: Vec<u8>,
    },
    /// The state of the packet's connection as a set of bits (established 2, related 4, new 8).
    ConnectionState {
        to: Register,
    },
    /// What happened to the connection, as bits (its destination was changed: 32).
    ConnectionStatus {
        to: Register,
    },
    /// What kind of address the destination is to this host: local is 2.
    DestinationKind {
        to: Register,
    },
    /// Keeps the bits of `mask`.
    Mask {
        register: Register,
        mask: Vec<u8>,
    },
    Equal {
        register: Register,
        value: Vec<u8>,
    },
    NotEqual {
        register: Register,
        value: Vec<u8>,
    },
    /// The registers are a key of the set.
    In {
        set: &'static str,
        id: u32,
        key: Register,
    },
    NotIn {
        set: &'static str,
        id: u32,
        key: Register,
    },
    /// Loads what the map has for the key.
    Map {
        map: &'static str,
        id: u32,
        key: Register,
        to: Register,
    },
    Verdict(Verdict),
    /// Changes the connection's destination; the family is 2 or 10.
    DestinationNat {
        family: u8,
        address: Register,
        port: Register,
    },
    /// Changes the connection's source to the address of the interface it leaves by.
    Masquerade,
}

impl Expression {
    pub(crate) fn write(&self, out: &mut Request) {
        out.text(1, self.name());
        out.nest(2, |fields| self.fields(fields));
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Meta { .. } => "meta",
            Self::Payload { .. } | Self::SetPayload { .. } => "payload",
            Self::ConnectionState { .. } | Self::ConnectionStatus { .. } => "ct",
            Self::DestinationKind { .. } => "fib",
            Self::Mask { .. } => "bitwise",
            Self::Equal { .. } | Self::NotEqual { .. } => "cmp",
            Self::In { .. } | Self::NotIn { .. } | Self::Map { .. } => "lookup",
            Self::Verdict(_) | Self::Value { .. } => "immediate",
            Self::DestinationNat { .. } => "nat",
            Self::Masquerade => "masq",
        }
    }

    fn fields(&self, out: &mut Request) {
        match self {
            Self::Meta { key, to } => {
                out.big(1, to.0);
                out.big(
                    2,
                    match key {
                        Meta::InputName => 6,
                        Meta::OutputName => 7,
                        Meta::Family => 15,
                        Meta::Transport => 16,
                    },
                );
            }
            Self::Payload { header, offset, bytes, to } => {
                out.big(1, to.0);
                out.big(2, if *header == Header::Network { 1 } else { 2 });
                out.big(3, *offset);
                out.big(4, *bytes);
            }
            Self::SetPayload { header, offset, bytes, checksum, from } => {
                /// A sum of the kind that IPv4, UDP and TCP have.
                const INTERNET_CHECKSUM: u32 = 1;
                out.big(2, if *header == Header::Network { 1 } else { 2 });
                out.big(3, *offset);
                out.big(4, *bytes);
                out.big(5, from.0);
                out.big(6, INTERNET_CHECKSUM);
                out.big(7, *checksum);
            }
            Self::Value { to, value } => {
                out.big(1, to.0);
                out.nest(2, |data| data.attribute(1, value));
            }
            Self::ConnectionState { to } => {
                out.big(1, to.0);
                out.big(2, 0);
            }
            Self::ConnectionStatus { to } => {
                out.big(1, to.0);
                out.big(2, 2);
            }
            Self::DestinationKind { to } => {
                const ADDRESS_TYPE: u32 = 3;
                const OF_DESTINATION: u32 = 2;
                out.big(1, to.0);
                out.big(2, ADDRESS_TYPE);
                out.big(3, OF_DESTINATION);
            }
            Self::Mask { register, mask } => {
                out.big(1, register.0);
                out.big(2, register.0);
                out.big(3, mask.len() as u32);
                out.nest(4, |value| value.attribute(1, mask));
                out.nest(5, |value| value.attribute(1, &vec![0; mask.len()]));
            }
            Self::Equal { register, value } => compare(out, *register, 0, value),
            Self::NotEqual { register, value } => compare(out, *register, 1, value),
            Self::In { set, id, key } => lookup(out, set, *id, *key, None, false),
            Self::NotIn { set, id, key } => lookup(out, set, *id, *key, None, true),
            Self::Map { map, id, key, to } => lookup(out, map, *id, *key, Some(*to), false),
            Self::Verdict(verdict) => {
                out.big(1, 0);
                out.nest(2, |data| {
                    data.nest(2, |fields| {
                        fields.big(1, verdict.code() as u32);
                        match verdict {
                            Verdict::Jump(chain) => fields.text(2, chain),
                            Verdict::JumpTo(chain) => fields.text(2, chain),
                            _ => {}
                        }
                    });
                });
            }
            Self::DestinationNat { family, address, port } => {
                out.big(1, 1);
                out.big(2, u32::from(*family));
                out.big(3, address.0);
                out.big(5, port.0);
            }
            Self::Masquerade => {}
        }
    }
}

fn compare(out: &mut Request, register: Register, operation: u32, value: &[u8]) {
    out.big(1, register.0);
    out.big(2, operation);
    out.nest(3, |data| data.attribute(1, value));
}

fn lookup(out: &mut Request, set: &str, id: u32, key: Register, to: Option<Register>, inverted: bool) {
    out.text(1, set);
    out.big(2, key.0);
    if let Some(to) = to {
        out.big(3, to.0);
    }
    out.big(4, id);
    if inverted {
        out.big(5, 1);
    }
}
