//! What /etc/hosts and /etc/resolv.conf say.
//!
//! # Source
//! hosts(5), resolv.conf(5).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const DNS_PORT: u16 = 53;
/// glibc asks no more than three servers (MAXNS).
const MOST_SERVERS: usize = 3;

/// How to ask name servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolverSettings {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    /// Names with at least this many dots are first taken as complete.
    pub(super) ndots: usize,
    /// For one answer of one server.
    pub(super) timeout: Duration,
    /// Rounds through all servers.
    pub(super) attempts: usize,
}

/// The addresses that the text of /etc/hosts gives `name`, in the order of its lines.
pub(super) fn addresses_in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else {
            continue;
        };
        if words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// The settings that the text of /etc/resolv.conf means. Without a server, the one on this machine is asked, as glibc does.
pub(super) fn resolver_settings(text: &str) -> ResolverSettings {
    let mut settings = ResolverSettings { servers: Vec::new(), search: Vec::new(), ndots: 1, timeout: Duration::from_secs(5), attempts: 2 };
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                // A zone ("%eth0") needs the interface's number; link-local servers without one cannot be reached, others do not need it.
                let address = words.next().and_then(|word| word.split('%').next()).and_then(|word| word.parse::<IpAddr>().ok());
                settings.servers.extend(address.map(|address| SocketAddr::new(address, DNS_PORT)));
            }
            // The last of these lines counts.
            Some("search" | "domain") => {
                settings.search = words.map(|word| word.trim_end_matches('.').to_owned()).filter(|word| !word.is_empty()).collect()
            }
            Some("options") => words.for_each(|word| option(&mut settings, word)),
            _ => {}
        }
    }
    settings.servers.truncate(MOST_SERVERS);
    if settings.servers.is_empty() {
        settings.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT)));
    }
    settings
}

/// One word of an `options` line, within glibc's bounds.
fn option(settings: &mut ResolverSettings, word: &str) {
    let Some((name, Ok(value))) = word.split_once(':').map(|(name, value)| (name, value.parse::<usize>())) else {
        return;
    };
    match name {
        "ndots" => settings.ndots = value.min(15),
        "timeout" => settings.timeout = Duration::from_secs(value.clamp(1, 30) as u64),
        "attempts" => settings.attempts = value.clamp(1, 5),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{addresses_in_hosts, resolver_settings};

    #[test]
    fn hosts_are_found_by_any_of_their_names() {
        let text = "# 9.9.9.9 a\n127.0.0.1 localhost a # b\n::1\tlocalhost a.\nnonsense a\n10.0.0.1 A\n10.0.0.1 a\n";
        let found = |name| addresses_in_hosts(text, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("a"), ["127.0.0.1", "::1", "10.0.0.1"]);
        assert_eq!(found("b"), Vec::<String>::new());
    }

    #[test]
    fn resolver_settings_are_read_within_bounds() {
        let text = "nameserver 10.0.0.1\n#nameserver 10.0.0.9\nnameserver fe80::1%eth0\nnameserver x\nsearch a b.\noptions ndots:99 timeout:0 attempts:3 rotate\n";
        let settings = resolver_settings(text);
        assert_eq!(settings.servers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1:53", "[fe80::1]:53"]);
        assert_eq!(
            (settings.search, settings.ndots, settings.timeout.as_secs(), settings.attempts),
            (vec!["a".to_owned(), "b".to_owned()], 15, 1, 3)
        );
        assert_eq!(resolver_settings("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }
}
