//! The options of the bridge driver (`-o com.docker.network.*`), read once into values.
//!
//! Unknown names are kept and mean nothing, as with dockerd; known names with values that make no sense are refused.

use std::collections::BTreeMap;
use std::net::IpAddr;

use shipway_network::{InterfaceName, Routed};

use crate::{Error, Result};

/// What the options of a bridge say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeOptions {
    /// The name of the kernel's bridge; made from the network's id when `None`.
    pub(crate) name: Option<String>,
    /// Containers of this network reach each other.
    pub(crate) icc: bool,
    /// What leaves is told to come from the host.
    pub(crate) masquerade: bool,
    pub(crate) mtu: Option<u32>,
    /// Where ports are published that name no address.
    pub(crate) host_binding: Option<IpAddr>,
    /// Outgoing traffic is told to come from this address of the host.
    pub(crate) host_source: Option<IpAddr>,
    /// The bridge has no address of its own.
    pub(crate) inhibit_ipv4: bool,
    /// What a gateway does for packets from and to containers, by family.
    pub(crate) gateway_v4: GatewayMode,
    pub(crate) gateway_v6: GatewayMode,
    /// Interfaces of the host by which published ports are reached at the containers' own addresses.
    pub(crate) trusted: Vec<InterfaceName>,
    /// What names the containers' interfaces: `eth` gives eth0, eth1...
    pub(crate) prefix: String,
}

/// What a bridge does for packets between its containers and others (`gateway_mode_ipv4`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GatewayMode {
    /// Containers borrow the host's address; only published ports are reached.
    Nat,
    /// The same, but whoever routes to a container's address reaches every port of it.
    NatUnprotected,
    /// Containers keep their own addresses outside, and whoever routes to those reaches the ports that are published.
    Routed,
    /// The bridge has no address, so the host is not in the network; for internal networks.
    Isolated,
}

/// Longest name of an interface (IFNAMSIZ less its end).
const LONGEST_NAME: usize = 15;
/// Least MTU that IPv4 works with (RFC 791); IPv6 needs 1280.
const LEAST_MTU: u32 = 68;

impl BridgeOptions {
    /// Who reaches containers at their own addresses.
    pub(crate) fn routed(&self) -> Routed {
        let (v4, v6) = (self.gateway_v4 == GatewayMode::Routed, self.gateway_v6 == GatewayMode::Routed);
        Routed { v4, v6, to_trusted: !self.trusted.is_empty() }
    }

    /// Reads `options`.
    ///
    /// # Errors
    /// `Invalid` for a known option whose value makes no sense.
    pub(crate) fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut read = Self {
            name: None,
            icc: true,
            masquerade: true,
            mtu: None,
            host_binding: None,
            host_source: None,
            inhibit_ipv4: false,
            gateway_v4: GatewayMode::Nat,
            gateway_v6: GatewayMode::Nat,
            trusted: Vec::new(),
            prefix: "eth".to_owned(),
        };
        for (key, value) in options {
            let wrong = |why: &str| Error::invalid(format!("failed to parse {key} value: {value} ({why})"));
            let flag = || match value.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                _ => Err(wrong(&format!("strconv.ParseBool: parsing \"{value}\": invalid syntax"))),
            };
            let address = || value.parse::<IpAddr>().map_err(|_| wrong("it is no IP address"));
            match key.as_str() {
                "com.docker.network.bridge.name" if is_interface_name(value) => read.name = Some(value.clone()),
                "com.docker.network.bridge.name" => return Err(wrong("a name has 1 to 15 letters, digits, '.', '_' or '-'")),
                "com.docker.network.bridge.enable_icc" => read.icc = flag()?,
                "com.docker.network.bridge.enable_ip_masquerade" => read.masquerade = flag()?,
                "com.docker.network.bridge.inhibit_ipv4" => read.inhibit_ipv4 = flag()?,
                "com.docker.network.bridge.host_binding_ipv4" => read.host_binding = Some(address()?),
                "com.docker.network.host_ipv4" => read.host_source = Some(address()?),
                "com.docker.network.container_iface_prefix" if is_interface_name(value) && value.len() <= LONGEST_NAME - 3 => {
                    read.prefix.clone_from(value);
                }
                "com.docker.network.container_iface_prefix" => return Err(wrong("it has 1 to 12 letters, digits, '.', '_' or '-'")),
                "com.docker.network.driver.mtu" => {
                    let mtu = value.parse().map_err(|_| wrong(&format!("strconv.Atoi: parsing \"{value}\": invalid syntax")))?;
                    if !(LEAST_MTU..=65535).contains(&mtu) && mtu != 0 {
                        return Err(wrong("it is from 68 to 65535"));
                    }
                    read.mtu = Some(mtu).filter(|mtu| *mtu != 0);
                }
                "com.docker.network.bridge.gateway_mode_ipv4" => read.gateway_v4 = gateway_mode(key, value)?,
                "com.docker.network.bridge.gateway_mode_ipv6" => read.gateway_v6 = gateway_mode(key, value)?,
                "com.docker.network.bridge.trusted_host_interfaces" => {
                    let names = value.split(':').filter(|name| !name.is_empty());
                    let names = names.map(|name| name.parse().map_err(|error: shipway_network::Error| wrong(&error.to_string())));
                    read.trusted = names.collect::<Result<_>>()?;
                }
                _ => {}
            }
        }
        Ok(read)
    }
}

fn gateway_mode(key: &str, value: &str) -> Result<GatewayMode> {
    match value {
        "nat" => Ok(GatewayMode::Nat),
        "nat-unprotected" => Ok(GatewayMode::NatUnprotected),
        "isolated" => Ok(GatewayMode::Isolated),
        "routed" => Ok(GatewayMode::Routed),
        _ => Err(Error::invalid(format!("failed to parse {key} value: {value} (unknown gateway mode {value})"))),
    }
}

/// Names that the kernel takes and that nothing else reads a meaning into.
fn is_interface_name(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    plain && !text.is_empty() && text.len() <= LONGEST_NAME && !matches!(text, "." | ".." | "all" | "default" | "lo")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, value: &str) -> Result<BridgeOptions> {
        BridgeOptions::read(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn options_are_values_or_refused() {
        let named = read("com.docker.network.bridge.name", "br-x").unwrap();
        assert_eq!(named.name.as_deref(), Some("br-x"));
        assert!(!read("com.docker.network.bridge.enable_icc", "false").unwrap().icc);
        assert_eq!(read("com.docker.network.driver.mtu", "1400").unwrap().mtu, Some(1400));
        for (key, value) in [
            ("com.docker.network.bridge.name", "a;b"),
            ("com.docker.network.bridge.name", "a\nb"),
            ("com.docker.network.bridge.name", "sixteen-letters-"),
            ("com.docker.network.bridge.name", ".."),
            ("com.docker.network.bridge.enable_icc", "maybe"),
            ("com.docker.network.bridge.host_binding_ipv4", "1.2.3"),
            ("com.docker.network.bridge.trusted_host_interfaces", "eth0:a b"),
            ("com.docker.network.bridge.trusted_host_interfaces", "eth0 eth1"),
            ("com.docker.network.bridge.trusted_host_interfaces", "eth0\";drop"),
            ("com.docker.network.bridge.trusted_host_interfaces", "sixteen-letters-:eth0"),
            ("com.docker.network.driver.mtu", "abc"),
            ("com.docker.network.driver.mtu", "70000"),
        ] {
            let error = read(key, value).unwrap_err();
            assert!(error.to_string().starts_with(&format!("failed to parse {key} value: {value} (")), "{error}");
        }
        assert!(read("com.example.unknown", "x").is_ok());
        let trusting = read("com.docker.network.bridge.trusted_host_interfaces", "vxlan.1:eth3:").unwrap();
        assert_eq!(trusting.trusted.iter().map(ToString::to_string).collect::<Vec<_>>(), ["vxlan.1", "eth3"]);
        assert!(trusting.routed().to_trusted && !trusting.routed().v4);
    }
}
