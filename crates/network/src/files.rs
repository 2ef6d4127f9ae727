//! The text of /etc/hosts and /etc/resolv.conf in a container, as Docker writes them.
//!
//! What must stay true: every word in either text was parsed or checked here first, so that no line, no second word and no comment can be smuggled in; the
//! functions read no file and know no clock. Servers that only the host reaches never appear in a container with a network of its own.
//!
//! # Source
//! hosts(5), resolv.conf(5). Docker Engine 20.10 and 28 for order and defaults.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// What every /etc/hosts starts with.
const LOOPBACK_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
/// Servers of a container that has a network but would have none: the host's are all on its loopback. The same that Docker falls back to.
const LAST_RESORT: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4))];
/// Longest name or domain (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 255;

/// One `--add-host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address; `None` stands for `host-gateway`, the address by which this container reaches the host.
    pub address: Option<IpAddr>,
}

impl std::str::FromStr for ExtraHost {
    type Err = Error;

    /// Reads `name:address`, `name=address` and either with brackets or `host-gateway`.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::BadSetting { what: "extra host", text: text.to_owned(), expected: "name:address or name:host-gateway" };
        let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
        let address = match address {
            "host-gateway" => None,
            text => {
                let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
                Some(inner.parse().map_err(|_| bad())?)
            }
        };
        if is_name(name) { Ok(Self { name: name.to_owned(), address }) } else { Err(bad()) }
    }
}

/// What /etc/hosts is made from.
#[derive(Debug, Clone, Default)]
pub struct Hosts<'a> {
    /// The host's own text, for a container that shares its network; it takes the place of the usual head.
    pub of_host: Option<&'a str>,
    /// `--add-host`, in order.
    pub extra: &'a [ExtraHost],
    /// The addresses that `host-gateway` stands for.
    pub host_gateway: &'a [IpAddr],
    /// `--link` on the default bridge: address and names of the other container.
    pub links: &'a [(IpAddr, Vec<String>)],
    /// The container's own addresses, network by network.
    pub own: &'a [IpAddr],
    /// `--hostname`.
    pub hostname: &'a str,
    /// `--domainname`.
    pub domainname: Option<&'a str>,
}

/// The text of /etc/hosts.
///
/// # Errors
/// `BadSetting` for a name that is no name, and for `host-gateway` where there is no such address.
pub fn hosts(settings: &Hosts<'_>) -> Result<String> {
    let mut text = settings.of_host.unwrap_or(LOOPBACK_HOSTS).to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for extra in settings.extra {
        check_name("extra host", &extra.name)?;
        match extra.address {
            Some(address) => line(&mut text, address, &extra.name),
            None if settings.host_gateway.is_empty() => {
                return Err(Error::BadSetting {
                    what: "extra host",
                    text: format!("{}:host-gateway", extra.name),
                    expected: "an address, because this container has no network through which it reaches the host",
                });
            }
            None => settings.host_gateway.iter().for_each(|address| line(&mut text, *address, &extra.name)),
        }
    }
    for (address, names) in settings.links {
        names.iter().try_for_each(|name| check_name("link", name))?;
        line(&mut text, *address, &names.join(" "));
    }
    let own = own_names(settings.hostname, settings.domainname)?;
    settings.own.iter().for_each(|address| line(&mut text, *address, &own));
    Ok(text)
}

/// The text of /etc/hosts after the container's addresses, or its links, which were `before`, have changed: the lines that say so are made anew at the
/// end, every other line of `current` stays, because programs inside may have added some.
///
/// # Errors
/// As [`hosts`].
pub fn hosts_again(current: &str, before: &[(IpAddr, Vec<String>)], settings: &Hosts<'_>) -> Result<String> {
    let own = own_names(settings.hostname, settings.domainname)?;
    let mut stale: Vec<String> = settings.links.iter().chain(before).map(|(_, names)| names.join(" ")).collect();
    stale.push(own);
    let is_stale = |line: &str| line.split_once('\t').is_some_and(|(_, names)| stale.iter().any(|stale| stale == names));
    let kept: String = current.lines().filter(|line| !is_stale(line)).flat_map(|line| [line, "\n"]).collect();
    hosts(&Hosts { of_host: Some(&kept), extra: &[], ..settings.clone() })
}

fn line(text: &mut String, address: IpAddr, names: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{address}\t{names}");
}

/// `web.example.org web` for a host name with a domain, whether it came in one word or two.
fn own_names(hostname: &str, domainname: Option<&str>) -> Result<String> {
    check_name("hostname", hostname)?;
    let full = match domainname.filter(|domain| !domain.is_empty()) {
        Some(domain) => {
            check_name("domain name", domain)?;
            format!("{hostname}.{domain}")
        }
        None => hostname.to_owned(),
    };
    Ok(match full.split_once('.') {
        Some((short, _)) if !short.is_empty() => format!("{full} {short}"),
        _ => full,
    })
}

/// Which network a container's resolv.conf is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolverKind {
    /// The host's own, or none: the host's text counts as it is.
    Host,
    /// The default bridge: no name server of ours, so the container asks the host's resolvers itself.
    Direct,
    /// A network with names: our server at 127.0.0.11 asks on.
    Embedded,
}

/// What /etc/resolv.conf is made from.
#[derive(Debug, Clone, Copy)]
pub struct ResolvConf<'a> {
    /// For which network.
    pub kind: ResolverKind,
    /// The host's resolv.conf. Where it names only a local stub, the text of what stands behind it (see [`host_resolv_conf`]).
    pub of_host: &'a str,
    /// `--dns`: instead of the host's servers.
    pub servers: &'a [IpAddr],
    /// `--dns-search`: instead of the host's domains; a single `.` stands for none.
    pub search: &'a [String],
    /// `--dns-option`: instead of the host's options.
    pub options: &'a [String],
}

/// The text of /etc/resolv.conf.
///
/// # Errors
/// `BadSetting` for a domain or an option that is not one plain word.
pub fn resolv_conf(settings: &ResolvConf<'_>) -> Result<String> {
    settings.search.iter().filter(|domain| *domain != ".").try_for_each(|domain| check_search(domain))?;
    settings.options.iter().try_for_each(|option| check_option(option))?;
    let nothing_own = settings.servers.is_empty() && settings.search.is_empty() && settings.options.is_empty();
    if settings.kind == ResolverKind::Host && nothing_own {
        return Ok(settings.of_host.to_owned());
    }
    let host = HostText::parse(settings.of_host);
    let search: Vec<&str> = if settings.search.is_empty() { host.search } else { settings.search.iter().map(String::as_str).collect() };
    let mut options: Vec<&str> =
        if settings.options.is_empty() { host.options } else { settings.options.iter().map(String::as_str).collect() };
    if settings.kind == ResolverKind::Embedded && !options.iter().any(|option| option.starts_with("ndots:")) {
        // Names of containers have no dots: without this they would first be tried in every search domain.
        options.push("ndots:0");
    }

    let mut text = String::new();
    let mut server = |address: &dyn std::fmt::Display| {
        let _ = writeln!(text, "nameserver {address}");
    };
    match (settings.kind, settings.servers) {
        (ResolverKind::Embedded, _) => server(&crate::dns::ADDRESS),
        (_, [_, ..]) => settings.servers.iter().for_each(|address| server(address)),
        (ResolverKind::Host, []) => host.servers.iter().for_each(|(word, _)| server(word)),
        (ResolverKind::Direct, []) => {
            let mut reachable = host.servers.iter().filter(|(_, address)| !address.is_loopback()).peekable();
            if reachable.peek().is_none() {
                LAST_RESORT.iter().for_each(|address| server(address));
            }
            reachable.for_each(|(word, _)| server(word));
        }
    }
    if !search.is_empty() && search != ["."] {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    Ok(text)
}

/// What counts in a host's resolv.conf.
#[derive(Debug, Default)]
struct HostText<'a> {
    /// As written, and parsed.
    servers: Vec<(&'a str, IpAddr)>,
    search: Vec<&'a str>,
    options: Vec<&'a str>,
}

impl<'a> HostText<'a> {
    fn parse(text: &'a str) -> Self {
        let mut host = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let word = words.next().unwrap_or_default();
                    // An address with an interface (`fe80::1%eth0`) means nothing elsewhere and does not parse.
                    host.servers.extend(word.parse().map(|address| (word, address)));
                }
                // The last of several counts.
                Some("search" | "domain") => host.search = words.filter(|word| check_search(word).is_ok()).collect(),
                Some("options") => host.options.extend(words.filter(|word| check_option(word).is_ok())),
                _ => {}
            }
        }
        host
    }
}

/// Which file tells the servers of this host: the one behind a local stub, where resolv.conf names nothing but the stub of systemd-resolved.
pub fn host_resolv_conf(resolv_conf: &str) -> &'static str {
    let host = HostText::parse(resolv_conf);
    let stub = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));
    match host.servers[..] {
        [(_, only)] if only == stub => "/run/systemd/resolve/resolv.conf",
        _ => "/etc/resolv.conf",
    }
}

/// Refuses what is no search domain.
///
/// # Errors
/// `BadSetting`.
pub fn check_search(domain: &str) -> Result<()> {
    let inner = domain.strip_suffix('.').unwrap_or(domain);
    if is_name(inner) {
        Ok(())
    } else {
        Err(Error::BadSetting {
            what: "DNS search domain",
            text: domain.to_owned(),
            expected: "labels of letters, digits, \"-\" and \"_\"",
        })
    }
}

/// Refuses what is no option of resolv.conf(5): one word such as `ndots:2` or `use-vc`.
///
/// # Errors
/// `BadSetting`.
pub fn check_option(option: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'.');
    let fits = !option.is_empty() && option.len() <= LONGEST_NAME && option.bytes().all(plain);
    if fits {
        Ok(())
    } else {
        Err(Error::BadSetting { what: "DNS option", text: option.to_owned(), expected: "one word of resolv.conf(5), such as \"ndots:2\"" })
    }
}

/// Refuses what is no host name.
///
/// # Errors
/// `BadSetting`.
pub fn check_name(what: &'static str, name: &str) -> Result<()> {
    if is_name(name) {
        Ok(())
    } else {
        Err(Error::BadSetting { what, text: name.to_owned(), expected: "letters, digits, \".\", \"-\" and \"_\"" })
    }
}

/// One word that is neither a comment nor an address list.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
