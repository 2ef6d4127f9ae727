//! Ranges of addresses and hardware addresses: "172.18.0.0/24", "02:42:ac:11:00:02".
//!
//! What must stay true: a subnet's bits behind the prefix are zero, so two texts of one range are one value.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::kind::{Classified, ErrorKind};
use crate::text::serialize_as_text;

/// A range of addresses that share a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no range or hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    #[error("invalid CIDR address: {text}")]
    Subnet { text: String },
    #[error("{text} is not a valid mac address")]
    Mac { text: String },
}

impl Classified for SubnetError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Subnet { .. } => Some("a range is an address and the number of bits that all share, e.g. 172.30.0.0/24".to_owned()),
            Self::Mac { .. } => Some("a hardware address is six pairs of hexadecimal digits, e.g. 02:42:ac:11:00:02".to_owned()),
        }
    }
}

impl Subnet {
    /// The range of the addresses that share the first `prefix` bits of `address`; `None` when it has not so many.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        if u32::from(prefix) > width(address) {
            return None;
        }
        let bits = bits_of(address) & mask(width(address), prefix);
        Some(Self { address: from_bits(address.is_ipv6(), bits), prefix })
    }

    /// Its first address, which names the range and belongs to nobody.
    pub fn network(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits its addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Its last address; of an IPv4 range of more than two that of everybody.
    pub fn last(&self) -> IpAddr {
        let width = width(self.address);
        from_bits(self.is_ipv6(), bits_of(self.address) | (!mask(width, self.prefix) & full(width)))
    }

    /// The address `offset` behind the first one, while it is inside.
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        let wanted = bits_of(self.address).checked_add(offset)?;
        (wanted <= bits_of(self.last())).then(|| from_bits(self.is_ipv6(), wanted))
    }

    /// How far behind the first address `address` is, when it is inside.
    pub fn offset_of(&self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| bits_of(address) - bits_of(self.address))
    }

    /// Whether it is a range of IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// Whether `address` is inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_ipv6() && (bits_of(address) & mask(width(address), self.prefix)) == bits_of(self.address)
    }

    /// Whether any address is in both.
    pub fn overlaps(&self, other: &Subnet) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Whether every address of `other` is inside.
    pub fn holds(&self, other: &Subnet) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn full(width: u32) -> u128 {
    if width == 128 { u128::MAX } else { (1 << width) - 1 }
}

fn mask(width: u32, prefix: u8) -> u128 {
    let host = width - u32::from(prefix);
    let below = if host == 128 { u128::MAX } else { (1 << host) - 1 };
    full(width) & !below
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn from_bits(is_ipv6: bool, bits: u128) -> IpAddr {
    match u32::try_from(bits) {
        Ok(bits) if !is_ipv6 => IpAddr::V4(Ipv4Addr::from_bits(bits)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    /// Bits behind the prefix are dropped, as Docker does.
    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let wrong = || SubnetError::Subnet { text: text.chars().take(80).collect() };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let digits = !prefix.is_empty() && prefix.len() <= 3 && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        Self::new(address.parse().map_err(|_| wrong())?, prefix).ok_or_else(wrong)
    }
}

serialize_as_text!(Subnet, "a range of addresses like 172.18.0.0/24");

/// A hardware address of an Ethernet interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The one Docker gives the owner of an IPv4 address: unique where the address is.
    pub fn of_ipv4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// True for one that an interface can have: not for many, not nobody's.
    pub fn is_usable(&self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let wrong = || SubnetError::Mac { text: text.chars().take(80).collect() };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(part.ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(bytes)) }
    }
}

serialize_as_text!(MacAddress, "a hardware address like 02:42:ac:11:00:02");

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_is_its_prefix_whatever_stands_behind_it() {
        assert_eq!(subnet("10.8.0.1/24"), subnet("10.8.0.0/24"));
        assert_eq!(subnet("fd00:9::5/64").to_string(), "fd00:9::/64");
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "a/8", "10.0.0.0/", "10.0.0.0/8\n"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_know_what_is_in_them() {
        let net = subnet("172.18.0.0/16");
        assert_eq!((net.nth(1), net.last()), ("172.18.0.1".parse().ok(), "172.18.255.255".parse().unwrap()));
        assert_eq!(net.nth(1 << 16), None);
        assert_eq!(net.offset_of("172.18.1.0".parse().unwrap()), Some(256));
        assert!(
            net.overlaps(&subnet("172.18.5.0/24")) && subnet("172.18.5.0/24").overlaps(&net) && !net.overlaps(&subnet("172.19.0.0/16"))
        );
        assert!(net.holds(&subnet("172.18.5.0/24")) && !subnet("172.18.5.0/24").holds(&net));
        assert!(subnet("0.0.0.0/0").holds(&net) && !subnet("::/0").overlaps(&net));
        assert_eq!(subnet("::/0").last().to_string(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    }

    #[test]
    fn a_hardware_address_prints_and_parses_the_same() {
        let mac: MacAddress = "02-42-AC-11-00-02".parse().unwrap();
        assert_eq!((mac.to_string().as_str(), mac), ("02:42:ac:11:00:02", MacAddress::of_ipv4(Ipv4Addr::new(172, 17, 0, 2))));
        assert!(mac.is_usable() && !"01:00:5e:00:00:01".parse::<MacAddress>().unwrap().is_usable());
        for bad in ["", "zz", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "2:42:ac:11:00:02", "+2:42:ac:11:00:02"] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }
}
