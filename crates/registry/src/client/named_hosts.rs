//! Lists of registries as an administrator writes them: names, names with ports, and networks.

use std::net::IpAddr;

use crate::{Error, Host, Origin};

/// `host` for every port of it, `host:port`, or a network in CIDR form.
#[derive(Debug, Clone, Default)]
pub(super) struct NamedHosts {
    names: Vec<String>,
    networks: Vec<(IpAddr, u8)>,
}

impl NamedHosts {
    /// Reads a list; `what` names an entry of it in errors.
    ///
    /// # Errors
    /// `Settings` for an entry that is none of the three.
    pub(super) fn new(what: &str, entries: &[String]) -> Result<Self, Error> {
        let mut hosts = Self::default();
        for entry in entries {
            match network(entry) {
                Some(network) => hosts.networks.push(network),
                None if entry.contains('/') => {
                    return Err(Error::Settings { reason: format!("{what} \"{entry}\" is neither host:port nor a network") });
                }
                None => hosts.names.push(entry.to_ascii_lowercase()),
            }
        }
        Ok(hosts)
    }

    pub(super) fn holds(&self, origin: &Origin) -> bool {
        let (host, authority) = (origin.host.to_string(), origin.authority());
        let is_named = self.names.iter().any(|name| *name == host || *name == authority);
        is_named
            || match origin.host {
                Host::Name(_) => false,
                Host::Address(address) => self.networks.iter().any(|(network, bits)| contains(*network, *bits, address)),
            }
    }
}

/// A network in CIDR form.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some((address, bits))
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let bits = u32::from(bits);
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u32::from(network) ^ u32::from(address)).checked_shr(32 - bits).unwrap_or_default() == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (u128::from(network) ^ u128::from(address)).checked_shr(128 - bits).unwrap_or_default() == 0
        }
        _ => false,
    }
}
