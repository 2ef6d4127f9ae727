//! `--network` in its short and long forms (C-03), with the addresses and names that belong to it.

use super::*;

/// NetworkMode, and endpoint settings by network.
pub(super) fn networking(flags: &ContainerFlags) -> Outcome<(String, Value)> {
    let mut endpoints = Map::new();
    let mut mode = None;
    for text in &flags.network {
        let (name, settings) = one(text)?;
        if mode.is_none() {
            refuse_twice(flags, &settings)?;
            mode = Some(name.clone());
        }
        if endpoints.contains_key(&name) {
            return Err(Failure::usage(format!("network \"{name}\" is specified multiple times")));
        }
        endpoints.insert(name, Value::Object(settings));
    }
    if endpoints.keys().any(|name| is_user_defined(name)) && endpoints.keys().any(|name| !is_user_defined(name)) {
        let failure = Failure::usage("conflicting options: cannot attach both user-defined and non-user-defined network-modes");
        return Err(failure.hint("bridge, host, none and container:NAME stand alone; join more networks by network connect"));
    }
    let mode = mode.unwrap_or_else(|| "default".to_owned());
    let user_defined = is_user_defined(&mode);
    let mut extra = Map::new();
    if !flags.network_alias.is_empty() {
        extra.insert("Aliases".to_owned(), json!(flags.network_alias));
    }
    if flags.ip.is_some() || flags.ip6.is_some() || !flags.link_local_ip.is_empty() {
        extra.insert("IPAMConfig".to_owned(), json!({"IPv4Address": flags.ip.clone().unwrap_or_default(), "IPv6Address": flags.ip6.clone().unwrap_or_default(), "LinkLocalIPs": flags.link_local_ip}));
    }
    if user_defined && !flags.link.is_empty() {
        extra.insert("Links".to_owned(), json!(flags.link));
    }
    if let Some(address) = &flags.mac_address {
        extra.insert("MacAddress".to_owned(), Value::from(address.as_str()));
    }
    let extra_empty = extra.is_empty();
    if !extra_empty || user_defined {
        let slot = endpoints.entry(mode.clone()).or_insert_with(|| Value::Object(Map::new()));
        if let Some(settings) = slot.as_object_mut() {
            settings.extend(extra);
        }
    }
    // Settings nobody asked for are not sent: older daemons refuse an endpoint for "host".
    endpoints.retain(|name, settings| {
        !(["default", "bridge", "host", "none"].contains(&name.as_str()) && settings.as_object().is_some_and(Map::is_empty))
    });
    endpoints.retain(|name, _| !name.starts_with("container:"));
    Ok((mode, Value::Object(endpoints)))
}

/// True for networks that people made.
fn is_user_defined(name: &str) -> bool {
    !["default", "bridge", "host", "none"].contains(&name) && !name.starts_with("container:")
}

/// What belongs to the first network is said in one of two places.
fn refuse_twice(flags: &ContainerFlags, first: &Map<String, Value>) -> Outcome {
    let said = |pointer: &str| Value::Object(first.clone()).pointer(pointer).is_some();
    for (flag, pointer, what) in [
        (!flags.network_alias.is_empty(), "/Aliases", "--network-alias and per-network alias"),
        (flags.ip.is_some(), "/IPAMConfig/IPv4Address", "--ip and per-network IPv4 address"),
        (flags.ip6.is_some(), "/IPAMConfig/IPv6Address", "--ip6 and per-network IPv6 address"),
        (flags.mac_address.is_some(), "/MacAddress", "--mac-address and per-network MAC address"),
        (!flags.link_local_ip.is_empty(), "/IPAMConfig/LinkLocalIPs", "--link-local-ip and per-network link-local IP addresses"),
    ] {
        if flag && said(pointer) {
            return Err(Failure::usage(format!("conflicting options: cannot specify both {what}")));
        }
    }
    Ok(())
}

fn one(text: &str) -> Outcome<(String, Map<String, Value>)> {
    let mut settings = Map::new();
    if text.is_empty() {
        return Err(Failure::usage("no name set for network"));
    }
    if !text.contains('=') {
        return Ok((text.to_owned(), settings));
    }
    let mut name = String::new();
    let mut link_local: Vec<String> = Vec::new();
    let mut aliases: Vec<String> = Vec::new();
    let mut addresses = Map::new();
    let mut options = Map::new();
    let fields = shipway_model::mount::split_fields(text);
    let fields = fields.map_err(|error| Failure::usage(format!("invalid argument \"{text}\" for \"--network\" flag: {error}")))?;
    for field in &fields {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("invalid argument \"{text}\" for \"--network\" flag: invalid field {field}")))?;
        match key.trim().to_lowercase().as_str() {
            "name" => name = value.to_owned(),
            "alias" => aliases.push(value.to_owned()),
            "ip" => drop(addresses.insert("IPv4Address".to_owned(), Value::from(value))),
            "ip6" => drop(addresses.insert("IPv6Address".to_owned(), Value::from(value))),
            "link-local-ip" => link_local.push(value.to_owned()),
            "mac-address" => drop(settings.insert("MacAddress".to_owned(), Value::from(value))),
            "gw-priority" => {
                let priority: i64 = value.parse().map_err(|_| Failure::usage(format!("invalid gw-priority: {value}")))?;
                settings.insert("GwPriority".to_owned(), Value::from(priority));
            }
            "driver-opt" => {
                let (option, value) =
                    value.split_once('=').ok_or_else(|| Failure::usage("invalid key value pair format in driver options"))?;
                options.insert(option.to_owned(), Value::from(value));
            }
            other => {
                let failure =
                    Failure::usage(format!("invalid argument \"{text}\" for \"--network\" flag: unexpected key '{other}' in '{field}'"));
                let known = ["name", "alias", "ip", "ip6", "link-local-ip", "mac-address", "gw-priority", "driver-opt"];
                return Err(match crate::cli::nearest::near(other, known) {
                    Some(near) => failure.hint(format!("did you mean {near}=?")),
                    None => failure,
                });
            }
        }
    }
    if name.is_empty() {
        return Err(Failure::usage(format!("invalid argument \"{text}\" for \"--network\" flag: network name is required")));
    }
    if !aliases.is_empty() {
        settings.insert("Aliases".to_owned(), json!(aliases));
    }
    if !link_local.is_empty() {
        addresses.insert("LinkLocalIPs".to_owned(), json!(link_local));
    }
    if !addresses.is_empty() {
        settings.insert("IPAMConfig".to_owned(), Value::Object(addresses));
    }
    if !options.is_empty() {
        settings.insert("DriverOpts".to_owned(), Value::Object(options));
    }
    Ok((name, settings))
}

/// `host:ip` or `host=ip`, sent with a colon.
pub(crate) fn extra_hosts(given: &[String]) -> Outcome<Vec<String>> {
    let mut hosts = Vec::new();
    for text in given {
        let parted = text.split_once('=').or_else(|| text.split_once(':'));
        let Some((host, address)) = parted.filter(|(host, _)| !host.is_empty()) else {
            return Err(Failure::usage(format!(
                "invalid argument \"{text}\" for \"--add-host\" flag: bad format for add-host: \"{text}\""
            )));
        };
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        if bare != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
            return Err(Failure::usage(format!(
                "invalid argument \"{text}\" for \"--add-host\" flag: invalid IP address in add-host: \"{address}\""
            )));
        }
        hosts.push(format!("{host}:{bare}"));
    }
    Ok(hosts)
}
