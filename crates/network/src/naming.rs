//! The names our kernel objects carry, so that several daemons on one machine never touch each other's.
//!
//! The default daemon gets plain names (`shipway0`, `sw-<id>`, table `shipway`), every other one names with a tag made from its data root.
//! What must stay true: no name is longer than the 15 bytes the kernel takes, and a tag holds no dash, so that `owns` never takes a stranger's.

use std::fmt;
use std::str::FromStr;

use shipway_model::{Digest, NetworkId, serialize_as_text};

use crate::Error;

#[cfg(test)]
mod tests;

/// Longest name of an interface (IFNAMSIZ without the closing zero).
const LONGEST_INTERFACE: usize = 15;
/// Letters of a tag: 25 bits, enough for the daemons of one machine.
const TAG_LETTERS: usize = 5;

/// The name of a network interface, valid for the kernel and harmless in texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `eth0`, `eth1`, ...: the names inside containers.
    pub fn ethernet(number: u16) -> Self {
        Self(format!("eth{number}"))
    }
}

impl FromStr for InterfaceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason| Error::InterfaceName { text: text.chars().take(40).collect(), reason };
        if text.is_empty() || text.len() > LONGEST_INTERFACE {
            return Err(wrong("it must have 1 to 15 letters"));
        }
        if text == "." || text == ".." || text == "all" || text == "default" || text == "lo" {
            return Err(wrong("the name is reserved"));
        }
        // The kernel allows more; these are what people use, and they need no quoting anywhere.
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(wrong("only letters, digits, \"-\", \"_\" and \".\" are allowed"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// From its six bytes.
    pub const fn from_bytes(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// Its six bytes.
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// The address that belongs to an endpoint with this IPv4 address: 02:42 and its four bytes, as Docker's.
    ///
    /// Made from the address, so that whoever gets an address again also gets its hardware address, and nobody's neighbour table goes stale.
    pub fn of_address(address: std::net::Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// A local unicast address from a seed, for endpoints without IPv4 and for bridges.
    pub fn of_seed(seed: &str) -> Self {
        let digest = Digest::sha256_of(seed.as_bytes()).hex();
        let byte = |index: usize| u8::from_str_radix(&digest[index * 2..index * 2 + 2], 16).unwrap_or(0);
        Self([0x02, byte(0), byte(1), byte(2), byte(3), byte(4)])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for MacAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::MacAddress { text: text.chars().take(40).collect() };
        let mut bytes = [0; 6];
        let parts: Vec<&str> = text.split([':', '-']).collect();
        if parts.len() != 6 {
            return Err(wrong());
        }
        for (byte, part) in bytes.iter_mut().zip(parts) {
            if part.len() != 2 || !part.bytes().all(|letter| letter.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        // A group address cannot be an interface's own; all zero means none.
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(wrong());
        }
        Ok(Self(bytes))
    }
}

serialize_as_text!(InterfaceName, "a name of a network interface");
serialize_as_text!(MacAddress, "a hardware address like 02:42:ac:11:00:02");

/// How one daemon names its kernel objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    tag: Option<String>,
}

impl Naming {
    /// Both ends of the interface that a network without one of the host's is on. Like its id they are nobody else's.
    pub fn own_parent(network: NetworkId) -> (InterfaceName, InterfaceName) {
        let end = |head: &str| InterfaceName(format!("{head}-{}", network.short()));
        (end("dm"), end("dn"))
    }

    /// Plain names, for the daemon at the default data root.
    pub fn plain() -> Self {
        Self { tag: None }
    }

    /// Names with a tag made from `seed`, the data root's path.
    pub fn tagged(seed: &str) -> Self {
        Self { tag: Some(letters(&Digest::sha256_of(seed.as_bytes()).hex(), TAG_LETTERS)) }
    }

    /// The nftables table.
    pub fn table(&self) -> String {
        match &self.tag {
            None => "shipway".to_owned(),
            Some(tag) => format!("shipway-{tag}"),
        }
    }

    /// The default network's bridge.
    pub fn default_bridge(&self) -> InterfaceName {
        InterfaceName(match &self.tag {
            None => "shipway0".to_owned(),
            Some(tag) => format!("sw{tag}-0"),
        })
    }

    /// The bridge of a network that people made.
    pub fn bridge(&self, network: NetworkId) -> InterfaceName {
        InterfaceName(match &self.tag {
            None => format!("sw-{}", network.short()),
            Some(tag) => format!("sw{tag}-{}", &network.short()[..7]),
        })
    }

    /// A name for the host's end of an endpoint, from fresh random bytes: an old end may still be dying under its name when its container starts again.
    pub fn endpoint(&self, random: [u8; 8]) -> InterfaceName {
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        InterfaceName(match &self.tag {
            None => format!("sv-{}", letters(&hex, 12)),
            Some(tag) => format!("sv{tag}-{}", letters(&hex, 7)),
        })
    }

    /// What every bridge of ours carries as its alias, whatever its name.
    pub fn alias(&self, network: &str) -> String {
        format!("{}:{network}", self.table())
    }

    /// True for names that only this daemon makes. A bridge that a user named is known by its alias instead.
    pub fn owns(&self, interface: &str) -> bool {
        match &self.tag {
            None => interface == "shipway0" || interface.starts_with("sw-") || interface.starts_with("sv-"),
            Some(tag) => [format!("sw{tag}-"), format!("sv{tag}-")].iter().any(|prefix| interface.starts_with(prefix.as_str())),
        }
    }
}

/// `count` letters of base 32 (0-9, a-v) from hexadecimal digits, five bits each.
fn letters(hex: &str, count: usize) -> String {
    let bits: Vec<u8> = hex
        .bytes()
        .flat_map(|digit| {
            let value = (digit as char).to_digit(16).unwrap_or(0) as u8;
            [value >> 3 & 1, value >> 2 & 1, value >> 1 & 1, value & 1]
        })
        .collect();
    let five = |chunk: &[u8]| chunk.iter().fold(0u32, |value, bit| value << 1 | u32::from(*bit));
    bits.chunks_exact(5).take(count).filter_map(|chunk| char::from_digit(five(chunk), 32)).collect()
}
