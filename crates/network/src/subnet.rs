//! A range of addresses with a common beginning: "172.18.0.0/16", "fd00:1::/64".
//!
//! What must stay true: the address of a `Subnet` has no bits beyond its prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use shipway_model::serialize_as_text;

use crate::Error;

/// A network prefix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// The subnet of `prefix` bits in which `address` lies; a longer prefix than the family has is cut.
    pub fn around(address: IpAddr, prefix: u8) -> Self {
        let bits = width(address);
        let prefix = prefix.min(bits);
        let low = low_bits(bits - prefix);
        Self { address: number_to_address(address_to_number(address) & !low, address), prefix }
    }

    /// Its first address, the network's own.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its prefix length in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Its last address; for IPv4 that is the broadcast address.
    pub fn last(&self) -> IpAddr {
        number_to_address(self.last_number(), self.address)
    }

    /// True for IPv6.
    pub fn is_v6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// True when `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_v6() && Self::around(address, self.prefix).address == self.address
    }

    /// True when all of `other` lies in it.
    pub fn contains_subnet(&self, other: &Self) -> bool {
        other.prefix >= self.prefix && self.contains(other.address)
    }

    /// True when both have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// The `index`th subnet of `prefix` bits inside; `None` beyond the end.
    pub fn part(&self, prefix: u8, index: u128) -> Option<Self> {
        let bits = width(self.address);
        if prefix < self.prefix || prefix > bits {
            return None;
        }
        let shift = u32::from(bits - prefix);
        if u32::from(prefix - self.prefix) < 128 && index >= 1u128 << (prefix - self.prefix) {
            return None;
        }
        let start = self.first_number() + index.checked_shl(shift)?;
        Some(Self { address: number_to_address(start, self.address), prefix })
    }

    pub(crate) fn first_number(&self) -> u128 {
        address_to_number(self.address)
    }

    pub(crate) fn last_number(&self) -> u128 {
        self.first_number() | low_bits(width(self.address) - self.prefix)
    }

    pub(crate) fn number_to_address(&self, number: u128) -> IpAddr {
        number_to_address(number, self.address)
    }
}

/// The address as a number; both families start at 0.
pub(crate) fn address_to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn number_to_address(number: u128, family_of: IpAddr) -> IpAddr {
    match family_of {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(number as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn low_bits(count: u8) -> u128 {
    if count >= 128 { u128::MAX } else { (1u128 << count) - 1 }
}

impl FromStr for Subnet {
    type Err = Error;

    /// Bits beyond the prefix are dropped, as Docker does: "172.18.0.9/16" is 172.18.0.0/16.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason| Error::Subnet { text: text.chars().take(80).collect(), reason };
        let (address, prefix) = text.split_once('/').ok_or_else(|| wrong("a prefix length is missing, e.g. /24"))?;
        let address: IpAddr = address.parse().map_err(|_| wrong("that is no address"))?;
        let digits = !prefix.is_empty() && prefix.len() <= 3 && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|bits: &u8| digits && *bits <= width(address));
        Ok(Self::around(address, prefix.ok_or_else(|| wrong("that is no prefix length"))?))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Debug for Subnet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

serialize_as_text!(Subnet, "a range of addresses like 10.0.0.0/24");

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_parse_compare_and_split() {
        assert_eq!(subnet("172.18.0.9/16").to_string(), "172.18.0.0/16");
        assert_eq!(subnet("fd00:1::5/64").to_string(), "fd00:1::/64");
        assert_eq!(subnet("10.0.0.0/8").last(), "10.255.255.255".parse::<IpAddr>().unwrap());
        assert_eq!(subnet("::/0").last(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse::<IpAddr>().unwrap());
        assert!(subnet("10.0.0.0/8").overlaps(&subnet("10.1.0.0/16")) && subnet("10.1.0.0/16").overlaps(&subnet("10.0.0.0/8")));
        assert!(!subnet("10.0.0.0/16").overlaps(&subnet("10.1.0.0/16")) && !subnet("::/0").overlaps(&subnet("0.0.0.0/0")));
        assert!(
            subnet("10.0.0.0/8").contains_subnet(&subnet("10.1.0.0/16")) && !subnet("10.1.0.0/16").contains_subnet(&subnet("10.0.0.0/8"))
        );
        assert_eq!(subnet("192.168.0.0/16").part(24, 255), Some(subnet("192.168.255.0/24")));
        assert_eq!(subnet("192.168.0.0/16").part(24, 256), None);
        assert_eq!(subnet("::/0").part(128, 1), Some(subnet("::1/128")));
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "x/8", "10.0.0.0/+8", "::/129", "10.0.0.0/", "10.0.0.0/8;"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad:?}");
        }
    }
}
