//! Who has which address of a subnet. In memory: the engine tells it, at boot, what its records say.
//!
//! What must stay true: an address belongs to one owner; the lowest free one is handed out first, so that the order of requests decides and not chance.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::Error;
use crate::plan::SubnetPlan;
use crate::subnet::{Subnet, address_to_number};

#[cfg(test)]
mod tests;

/// The addresses of one subnet of a network.
#[derive(Debug, Clone)]
pub struct AddressSpace {
    subnet: Subnet,
    range: Subnet,
    claims: BTreeMap<u128, String>,
    /// Every address of the range below this one is claimed.
    lowest: u128,
}

impl AddressSpace {
    /// Nothing claimed but what the plan reserves: the gateway and the auxiliary addresses.
    pub fn new(plan: &SubnetPlan) -> Self {
        let range = plan.ip_range.unwrap_or(plan.subnet);
        let mut claims = BTreeMap::from([(address_to_number(plan.gateway), "the gateway".to_owned())]);
        claims.extend(plan.auxiliary.iter().map(|(name, address)| (address_to_number(*address), format!("auxiliary address \"{name}\""))));
        Self { subnet: plan.subnet, range, claims, lowest: range.first_number() }
    }

    /// The subnet.
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// Takes the lowest free address for `owner`, which messages will name ("container \"web\"").
    ///
    /// # Errors
    /// `AddressesExhausted`.
    pub fn claim_any(&mut self, owner: &str) -> Result<IpAddr, Error> {
        let (first, last) = self.bounds();
        let mut number = self.lowest.max(first);
        while number <= last && self.claims.contains_key(&number) {
            number += 1;
        }
        if number > last {
            self.lowest = number;
            return Err(Error::AddressesExhausted { range: self.range, count: last.saturating_sub(first).saturating_add(1) });
        }
        self.lowest = number + 1;
        self.claims.insert(number, owner.to_owned());
        Ok(self.subnet.number_to_address(number))
    }

    /// Takes this very address for `owner`; taking it again for the same owner is fine.
    ///
    /// # Errors
    /// `AddressOutside` of the subnet, `AddressTaken` with its owner.
    pub fn claim(&mut self, address: IpAddr, owner: &str) -> Result<(), Error> {
        let nobodys = address == self.subnet.address() || (!self.subnet.is_v6() && address == self.subnet.last());
        if !self.subnet.contains(address) || nobodys {
            return Err(Error::AddressOutside { what: "address", address, subnets: self.subnet.to_string() });
        }
        match self.claims.get(&address_to_number(address)) {
            Some(other) if other != owner => Err(Error::AddressTaken { address, owner: other.clone() }),
            Some(_) => Ok(()),
            None => {
                self.claims.insert(address_to_number(address), owner.to_owned());
                Ok(())
            }
        }
    }

    /// Gives `address` back if it is `owner`'s; twice is fine, and nobody can give away the gateway.
    pub fn release(&mut self, address: IpAddr, owner: &str) {
        let number = address_to_number(address);
        if self.subnet.contains(address) && self.claims.get(&number).is_some_and(|holder| holder == owner) {
            self.claims.remove(&number);
            self.lowest = self.lowest.min(number.max(self.range.first_number()));
        }
    }

    /// Whose address it is.
    pub fn owner(&self, address: IpAddr) -> Option<&str> {
        self.claims.get(&address_to_number(address)).map(String::as_str).filter(|_| self.subnet.contains(address))
    }

    /// The first and last number that may be handed out: never the subnet's own address nor, in IPv4, its broadcast address.
    fn bounds(&self) -> (u128, u128) {
        let first = self.range.first_number().max(self.subnet.first_number() + 1);
        let end = if self.subnet.is_v6() { self.subnet.last_number() } else { self.subnet.last_number() - 1 };
        (first, self.range.last_number().min(end))
    }
}
