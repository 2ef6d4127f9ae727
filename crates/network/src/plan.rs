//! Which subnet a network gets: what people asked for is checked, and what they did not ask for is chosen from pools.
//!
//! What must stay true: everything here is pure and deterministic; the same question has the same answer. A subnet that people did not choose
//! overlaps neither another network nor a route of this host.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use shipway_model::Digest;

use crate::Error;
use crate::subnet::Subnet;

#[cfg(test)]
mod tests;

/// Ranges that networks get their subnets from: parts of `base`, each with `size` bits of prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    pub base: Subnet,
    pub size: u8,
}

impl AddressPool {
    /// What dockerd hands out by default, but with /24s in the last range: 15 + 256 networks where it has 15 + 16.
    pub fn defaults() -> Vec<Self> {
        let around = |a, b, prefix| Subnet::around(IpAddr::from([a, b, 0, 0]), prefix);
        let large = (17..=31).map(|second| Self { base: around(172, second, 16), size: 16 });
        large.chain([Self { base: around(192, 168, 16), size: 24 }]).collect()
    }

    /// The pool for IPv6 networks that were given no subnet: unique local addresses (RFC 4193) that belong to `seed`, this machine's data root.
    pub fn unique_local(seed: &str) -> Self {
        let digest = Digest::sha256_of(format!("unique local {seed}").as_bytes()).hex();
        let part = |index: usize| u16::from_str_radix(&digest[index * 4..index * 4 + 4], 16).unwrap_or(0);
        let address = IpAddr::from([0xfd00 | part(0) & 0xff, part(1), part(2), 0, 0, 0, 0, 0]);
        Self { base: Subnet::around(address, 48), size: 64 }
    }

    /// # Errors
    /// When parts of `size` bits do not fit in `base`, or would have no room for containers.
    pub fn new(base: Subnet, size: u8) -> Result<Self, Error> {
        let longest = if base.is_v6() { 126 } else { 30 };
        if size < base.prefix() {
            return Err(Error::TooSmall { subnet: base, reason: "the size of its parts is larger than the pool" });
        }
        if size > longest {
            return Err(Error::TooSmall { subnet: base, reason: "its parts would have no room for containers" });
        }
        Ok(Self { base, size })
    }
}

/// A range that is taken, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    pub subnet: Subnet,
    /// As messages name it: `network "nat"`, `route of eth0`.
    pub owner: String,
    /// True for routes and addresses of the host: they repel what is chosen, and do not forbid what people ask for, as in Docker (a VPN's route
    /// may well be meant to be hidden).
    pub of_host: bool,
}

/// What people asked for about one family of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRequest {
    /// `--subnet`.
    pub subnet: Option<Subnet>,
    /// `--ip-range`: only addresses of it are handed out.
    pub ip_range: Option<Subnet>,
    /// `--gateway`.
    pub gateway: Option<IpAddr>,
    /// `--aux-address NAME=ADDRESS`: never handed out.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// The addresses of a network in one family, decided. Belongs into the network's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetPlan {
    pub subnet: Subnet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<Subnet>,
    pub gateway: IpAddr,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary: BTreeMap<String, IpAddr>,
}

impl SubnetPlan {
    /// Checks what people asked for; `request.subnet` must be given.
    ///
    /// # Errors
    /// `Overlap` with another network, `AddressOutside` for a gateway or auxiliary address elsewhere, `OutsideSubnet` for a range elsewhere,
    /// `TooSmall` below four addresses, `AddressTaken` when two of the addresses are one.
    pub fn checked(request: &PlanRequest, taken: &[InUse]) -> Result<Self, Error> {
        let Some(subnet) = request.subnet else {
            let what = request.gateway.map(|gateway| ("gateway", gateway.to_string()));
            let what = what.or_else(|| request.ip_range.map(|range| ("ip-range", range.to_string())));
            let (what, address) = what.unwrap_or(("network", String::new()));
            return Err(Error::OutsideSubnet { what, address });
        };
        let smallest = if subnet.is_v6() { 126 } else { 30 };
        if subnet.prefix() > smallest {
            return Err(Error::TooSmall { subnet, reason: "a network needs at least four addresses" });
        }
        if let Some(other) = taken.iter().find(|other| !other.of_host && other.subnet.overlaps(&subnet)) {
            return Err(Error::Overlap { subnet, other: other.subnet, owner: other.owner.clone() });
        }
        if let Some(range) = request.ip_range.filter(|range| !subnet.contains_subnet(range)) {
            return Err(Error::OutsideSubnet { what: "ip-range", address: range.to_string() });
        }
        let gateway = request.gateway.unwrap_or_else(|| subnet.number_to_address(subnet.first_number() + 1));
        let mut seen = BTreeMap::from([(gateway, "the gateway".to_owned())]);
        check_usable("gateway", gateway, subnet)?;
        for (name, address) in &request.auxiliary {
            check_usable("auxiliary address", *address, subnet)?;
            if let Some(owner) = seen.insert(*address, format!("auxiliary address \"{name}\"")) {
                return Err(Error::AddressTaken { address: *address, owner });
            }
        }
        Ok(Self { subnet, ip_range: request.ip_range, gateway, auxiliary: request.auxiliary.clone() })
    }

    /// Chooses the first subnet of the pools that nobody has.
    ///
    /// # Errors
    /// `PoolsExhausted` names what is in the way.
    pub fn chosen(pools: &[AddressPool], v6: bool, taken: &[InUse]) -> Result<Self, Error> {
        let pools: Vec<&AddressPool> = pools.iter().filter(|pool| pool.base.is_v6() == v6).collect();
        for pool in &pools {
            if let Some(subnet) = first_free(pool, taken) {
                return Self::checked(&PlanRequest { subnet: Some(subnet), ..PlanRequest::default() }, &[]);
            }
        }
        let count = |pool: &&&AddressPool| 1u128 << (pool.size - pool.base.prefix()).min(64);
        let total: u128 = pools.iter().map(|pool| count(&pool)).sum();
        let list: Vec<String> = pools.iter().map(|pool| format!("{} in parts of /{}", pool.base, pool.size)).collect();
        Err(Error::PoolsExhausted { pools: shortened(&list), networks: format!("all {total} parts") })
    }

    /// The gateway with the subnet's prefix, as it stands on the bridge.
    pub fn gateway_address(&self) -> (IpAddr, u8) {
        (self.gateway, self.subnet.prefix())
    }
}

/// The first part of `pool` that touches nothing in use. Skips over what is in the way instead of trying part after part.
fn first_free(pool: &AddressPool, taken: &[InUse]) -> Option<Subnet> {
    let mut index = 0;
    while let Some(candidate) = pool.base.part(pool.size, index) {
        let in_the_way = taken.iter().filter(|other| other.subnet.overlaps(&candidate)).map(|other| other.subnet.last_number()).max();
        let Some(last) = in_the_way else { return Some(candidate) };
        let width = if pool.base.is_v6() { 128 } else { 32 };
        let shift = u32::from(width - pool.size);
        let beyond = last.min(pool.base.last_number()) - pool.base.first_number();
        index = beyond.checked_shr(shift).unwrap_or(0) + 1;
    }
    None
}

fn check_usable(what: &'static str, address: IpAddr, subnet: Subnet) -> Result<(), Error> {
    let outside = || Error::AddressOutside { what, address, subnets: subnet.to_string() };
    if !subnet.contains(address) {
        return Err(outside());
    }
    if address == subnet.address() || (!subnet.is_v6() && address == subnet.last()) {
        return Err(Error::TooSmall { subnet, reason: "its first and last address belong to nobody" });
    }
    Ok(())
}

fn shortened(list: &[String]) -> String {
    match list {
        [first, .., last] if list.len() > 2 => format!("{first} ... {last}"),
        _ => list.join(", "),
    }
}
