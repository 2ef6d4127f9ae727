//! Settings of networks: address pools, the default bridge, and what is done to the host.

use std::net::IpAddr;

use serde::Deserialize;
use shipway_engine::NetworkDefaults;
use shipway_engine::values::{AddressPool, Forwarding, HostFirewall, PlanRequest, Subnet};

use super::one;

/// The flags, with dockerd's names where it has the same thing.
#[derive(Debug, clap::Args)]
pub(super) struct NetworkFlags {
    /// Range that networks get their subnets from; may be given several times
    #[arg(long = "default-address-pool", value_name = "base=CIDR,size=BITS")]
    pools: Vec<String>,
    /// Whether the host's own firewall rules also decide who reaches published ports: respect or bypass
    #[arg(long, value_name = "MODE")]
    host_firewall: Option<String>,
    /// Make the host forward packets when a network needs it (the default)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    ip_forward: Option<bool>,
    /// Host address of published ports that name none
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Containers of the default bridge reach each other (the default)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    icc: Option<bool>,
    /// Largest packet of the default bridge
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Address and subnet of the default bridge
    #[arg(long, value_name = "ADDRESS/BITS")]
    bip: Option<String>,
}

/// The same of `daemon.json`.
pub(super) struct File {
    pub(super) pools: Vec<FilePool>,
    pub(super) host_firewall: Option<String>,
    pub(super) ip_forward: Option<bool>,
    pub(super) ip: Option<String>,
    pub(super) icc: Option<bool>,
    pub(super) mtu: Option<u32>,
    pub(super) bip: Option<String>,
}

/// One pool of `daemon.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilePool {
    base: String,
    size: u8,
}

/// Finished values of both.
pub(super) fn merge(flags: NetworkFlags, file: File) -> Result<NetworkDefaults, String> {
    let mut network = NetworkDefaults::default();
    if !flags.pools.is_empty() && !file.pools.is_empty() {
        return Err("--default-address-pool is given as a flag and in the configuration file; give it once".to_owned());
    }
    let of_flags = flags.pools.iter().map(|text| split(text)).collect::<Result<Vec<_>, _>>()?;
    network.pools = pools(if of_flags.is_empty() { file.pools } else { of_flags })?;
    if let Some(mode) = one("host-firewall", flags.host_firewall, file.host_firewall)? {
        network.host_firewall = match mode.as_str() {
            "respect" => HostFirewall::Respect,
            "bypass" => HostFirewall::Bypass,
            other => return Err(format!("--host-firewall: \"{other}\" is no mode; use respect or bypass")),
        };
    }
    if one("ip-forward", flags.ip_forward, file.ip_forward)? == Some(false) {
        network.forwarding = Forwarding::LeaveAlone;
    }
    network.icc = one("icc", flags.icc, file.icc)?.unwrap_or(true);
    network.mtu = one("mtu", flags.mtu, file.mtu)?.filter(|mtu| *mtu != 0);
    if network.mtu.is_some_and(|mtu| !(68..=65535).contains(&mtu)) {
        return Err("--mtu: it is from 68 to 65535".to_owned());
    }
    let address = |text: String| text.parse::<IpAddr>().map_err(|_| format!("--ip: \"{text}\" is no IP address"));
    network.host_binding = one("ip", flags.ip, file.ip)?.map(address).transpose()?;
    network.bridge = one("bip", flags.bip, file.bip)?.map(|text| bridge(&text)).transpose()?;
    Ok(network)
}

fn split(text: &str) -> Result<FilePool, String> {
    let wrong = || format!("--default-address-pool: \"{text}\" is not base=CIDR,size=BITS");
    let (mut base, mut size) = (None, None);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("base", value)) => base = Some(value.to_owned()),
            Some(("size", value)) => size = Some(value.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        }
    }
    Ok(FilePool { base: base.ok_or_else(wrong)?, size: size.ok_or_else(wrong)? })
}

fn pools(given: Vec<FilePool>) -> Result<Vec<AddressPool>, String> {
    let mut pools: Vec<AddressPool> = Vec::new();
    for FilePool { base, size } in given {
        let told = |error: &dyn std::fmt::Display| format!("default-address-pools: {base} in parts of /{size}: {error}");
        let subnet: Subnet = base.parse().map_err(|error: shipway_engine::values::NetworkError| told(&error))?;
        let pool = AddressPool::new(subnet, size).map_err(|error| told(&error))?;
        if let Some(other) = pools.iter().find(|other| other.base.overlaps(&pool.base)) {
            return Err(told(&format!("it overlaps with {}", other.base)));
        }
        pools.push(pool);
    }
    Ok(pools)
}

/// "172.20.0.1/16": the bridge's own address, and the subnet around it.
fn bridge(text: &str) -> Result<PlanRequest, String> {
    let wrong = || format!("--bip: \"{text}\" is no address of a bridge; write it as 172.20.0.1/16");
    let subnet: Subnet = text.parse().map_err(|_| wrong())?;
    let gateway = text.split('/').next().and_then(|address| address.parse::<IpAddr>().ok()).ok_or_else(wrong)?;
    let request = PlanRequest { subnet: Some(subnet), gateway: Some(gateway), ..PlanRequest::default() };
    if gateway == subnet.address() || subnet.is_v6() { Err(wrong()) } else { Ok(request) }
}
