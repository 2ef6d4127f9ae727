//! Networks and endpoints: Docker's JSON into the engine's wishes, and the engine's records into Docker's JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;

use shipway_engine::networks::{AddressRecord, EndpointRecord, EndpointWish, NetworkRecord, NetworkSpec, NetworkView};
use shipway_engine::values::PlanRequest;
use shipway_wire::ApiVersion;
use shipway_wire::containers::{EndpointIpamConfig, EndpointSettings};
use shipway_wire::networks::{ConfigFrom, Ipam, IpamPool, Network, NetworkContainer, NetworkCreateBody};

use crate::error::ApiError;

/// What the body of create asks for.
pub(crate) fn spec(body: NetworkCreateBody) -> Result<NetworkSpec, ApiError> {
    if body.ingress {
        return Err(ApiError::invalid("Ingress network can only be global scope network"));
    }
    if body.scope == "swarm" {
        return Err(ApiError::invalid("cannot create a swarm scoped network when swarm is not active"));
    }
    if !matches!(body.scope.as_str(), "" | "local") {
        return Err(ApiError::not_supported_yet(&format!("a network of scope \"{}\"", body.scope)));
    }
    let ipam = body.ipam.unwrap_or_default();
    let pools = ipam.config.iter().flatten().map(pool).collect::<Result<_, _>>()?;
    Ok(NetworkSpec {
        name: body.name,
        driver: body.driver,
        internal: body.internal,
        attachable: body.attachable,
        ipv4: body.enable_ipv4,
        ipv6: body.enable_ipv6.unwrap_or(false),
        ipam_driver: ipam.driver,
        ipam_options: ipam.options,
        pools,
        options: body.options.unwrap_or_default(),
        labels: body.labels.unwrap_or_default(),
        config_only: body.config_only,
        config_from: body.config_from.map(|from| from.network).filter(|name| !name.is_empty()),
    })
}

fn pool(pool: &IpamPool) -> Result<PlanRequest, ApiError> {
    let address = |what: &str, text: &str| {
        // Docker's client writes an auxiliary address with a prefix when people do.
        let bare = text.split('/').next().unwrap_or(text);
        bare.parse::<IpAddr>().map_err(|_| ApiError::invalid(format!("invalid {what} address: {text}")))
    };
    let range = |what: &str, text: &str| {
        let parsed = text.parse().map_err(|_| ApiError::invalid(format!("Invalid {what} {text} : invalid CIDR address: {text}")));
        parsed.map(Some)
    };
    Ok(PlanRequest {
        subnet: if pool.subnet.is_empty() { None } else { range("subnet", &pool.subnet)? },
        ip_range: if pool.ip_range.is_empty() { None } else { range("ip-range", &pool.ip_range)? },
        gateway: Some(pool.gateway.as_str()).filter(|text| !text.is_empty()).map(|text| address("gateway", text)).transpose()?,
        auxiliary: pool
            .auxiliary_addresses
            .iter()
            .flatten()
            .map(|(name, text)| Ok((name.clone(), address("auxiliary", text)?)))
            .collect::<Result<_, ApiError>>()?,
    })
}

/// A network as list and inspect answer it.
pub(crate) fn network(view: &NetworkView, version: ApiVersion) -> Network {
    let record = &view.record;
    let containers = view.members.iter().map(|member| {
        let cidr = |text: Option<String>| text.unwrap_or_default();
        let told = NetworkContainer {
            name: member.name.to_string(),
            endpoint_id: member.endpoint.to_string(),
            mac_address: member.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            ipv4_address: cidr(member.ipv4.map(|found| format!("{}/{}", found.address, found.prefix))),
            ipv6_address: cidr(member.ipv6.map(|found| format!("{}/{}", found.address, found.prefix))),
        };
        (member.container.to_string(), told)
    });
    Network {
        name: record.name.to_string(),
        id: record.id.to_string(),
        created: record.created.to_rfc3339_nano(),
        scope: "local".to_owned(),
        driver: record.driver.word().to_owned(),
        enable_ipv4: version.at_least(47).then_some(record.ipv4),
        enable_ipv6: record.ipv6,
        ipam: ipam(record, version),
        internal: record.internal,
        attachable: record.attachable,
        containers: containers.collect(),
        options: record.options.clone(),
        labels: record.labels.clone(),
        config_only: record.config_only,
        config_from: ConfigFrom { network: record.config_from.clone().unwrap_or_default() },
        ..Network::default()
    }
}

fn ipam(record: &NetworkRecord, version: ApiVersion) -> Ipam {
    let pools: Vec<IpamPool> = record
        .pools
        .iter()
        .map(|pool| {
            let auxiliary: BTreeMap<String, String> =
                pool.plan.auxiliary.iter().map(|(name, address)| (name.clone(), address.to_string())).collect();
            IpamPool {
                subnet: pool.plan.subnet.to_string(),
                ip_range: pool.plan.ip_range.map(|range| range.to_string()).unwrap_or_default(),
                gateway: pool.plan.gateway.to_string(),
                auxiliary_addresses: (!auxiliary.is_empty()).then_some(auxiliary),
            }
        })
        .collect();
    let wishes = record.config_pools.iter().map(|wish| IpamPool {
        subnet: wish.subnet.map(|subnet| subnet.to_string()).unwrap_or_default(),
        ip_range: wish.ip_range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: wish.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: None,
    });
    let pools: Vec<IpamPool> = pools.into_iter().chain(wishes).collect();
    let config = if !record.driver.is_wired() && !record.config_only && version.at_least(44) { None } else { Some(pools) };
    Ipam { driver: "default".to_owned(), options: record.ipam_options.clone(), config }
}

/// The wish that the settings of an endpoint are.
pub(crate) fn wish(network: &str, settings: Option<&EndpointSettings>) -> Result<EndpointWish, ApiError> {
    let mut wish = EndpointWish { network: network.to_owned(), ..EndpointWish::default() };
    let Some(settings) = settings else { return Ok(wish) };
    wish.aliases = settings.aliases.clone().unwrap_or_default();
    wish.links = settings.links.clone().unwrap_or_default();
    wish.driver_options.clone_from(&settings.driver_opts);
    wish.gateway_priority = settings.gw_priority.unwrap_or(0);
    if !settings.mac_address.is_empty() {
        wish.mac = Some(mac(&settings.mac_address)?);
    }
    if let Some(addresses) = &settings.ipam_config {
        wish.has_addresses = true;
        wish.ipv4 = given(&addresses.ipv4_address, "IPv4")?;
        wish.ipv6 = given(&addresses.ipv6_address, "IPv6")?;
        let link_local = addresses.link_local_ips.iter().flatten();
        let parsed = link_local.map(|text| text.parse().map_err(|_| ApiError::invalid(format!("invalid link-local IP address: {text}"))));
        wish.link_local = parsed.collect::<Result<_, _>>()?;
    }
    Ok(wish)
}

/// A hardware address as people type it.
pub(crate) fn mac(text: &str) -> Result<shipway_engine::values::MacAddress, ApiError> {
    text.parse().map_err(|_| ApiError::invalid(format!("invalid MAC address {text}")))
}

fn given<A: std::str::FromStr>(text: &str, family: &str) -> Result<Option<A>, ApiError> {
    let text = Some(text).filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|_| ApiError::invalid(format!("invalid {family} address: {text}")))).transpose()
}

/// An endpoint as inspect answers it.
pub(crate) fn endpoint(record: &EndpointRecord, short_id: &str, names: &[String], version: ApiVersion) -> EndpointSettings {
    let wish = &record.wish;
    let attached = record.attached.as_ref();
    let (ipv4, ipv6) = (attached.and_then(|attached| attached.ipv4), attached.and_then(|attached| attached.ipv6));
    let ipam = EndpointIpamConfig {
        ipv4_address: wish.ipv4.map(|address| address.to_string()).unwrap_or_default(),
        ipv6_address: wish.ipv6.map(|address| address.to_string()).unwrap_or_default(),
        link_local_ips: (!wish.link_local.is_empty()).then(|| wish.link_local.iter().map(ToString::to_string).collect()),
    };
    let with_names = !matches!(wish.network.as_str(), "bridge" | "host" | "none");
    // Until API 1.45 the short id was one of the aliases.
    let mut aliases = wish.aliases.clone();
    if with_names && attached.is_some() && !version.at_least(45) {
        aliases.push(short_id.to_owned());
    }
    EndpointSettings {
        ipam_config: wish.has_addresses.then_some(ipam),
        links: (!wish.links.is_empty()).then(|| wish.links.clone()),
        aliases: (!aliases.is_empty()).then_some(aliases),
        mac_address: attached.and_then(|attached| attached.mac).map(|mac| mac.to_string()).unwrap_or_default(),
        driver_opts: wish.driver_options.clone(),
        gw_priority: version.at_least(48).then_some(wish.gateway_priority),
        network_id: record.network.map(|id| id.to_string()).unwrap_or_default(),
        endpoint_id: attached.map(|attached| attached.id.to_string()).unwrap_or_default(),
        gateway: gateway(ipv4),
        ip_address: ipv4.map(|found| found.address.to_string()).unwrap_or_default(),
        ip_prefix_len: ipv4.map_or(0, |found| i64::from(found.prefix)),
        ipv6_gateway: gateway(ipv6),
        global_ipv6_address: ipv6.map(|found| found.address.to_string()).unwrap_or_default(),
        global_ipv6_prefix_len: ipv6.map_or(0, |found| i64::from(found.prefix)),
        dns_names: version.at_least(44).then(|| (with_names && attached.is_some()).then(|| names.to_vec())),
    }
}

fn gateway<A: ToString + Copy>(address: Option<AddressRecord<A>>) -> String {
    address.and_then(|found| found.gateway).map(|gateway| gateway.to_string()).unwrap_or_default()
}
