//! Which proxy, if any, leads to an origin.
//!
//! What must stay true: this machine itself is never reached through a proxy.
//!
//! # Source
//! No standard exists; the rules are those of Go's `httpproxy` documentation, which Docker's users know.

use std::net::IpAddr;

use crate::{Error, Host, Origin, Url};

/// Proxies as texts, the way people set them. An empty text is none.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// For http addresses.
    pub http: Option<String>,
    /// For https addresses.
    pub https: Option<String>,
    /// Who is reached directly: names, addresses, networks, with or without port, separated by commas; `*` for everybody.
    pub no_proxy: Option<String>,
}

/// The same, read.
pub(super) struct ProxyRules {
    http: Option<Url>,
    https: Option<Url>,
    exempt: Vec<Exempt>,
}

/// Who needs no proxy.
#[derive(Debug, PartialEq)]
struct Exempt {
    who: Who,
    port: Option<u16>,
}

#[derive(Debug, PartialEq)]
enum Who {
    Everybody,
    /// A name and all below it.
    Tree(String),
    /// All names below a name.
    Below(String),
    /// The addresses that agree in the first bits.
    Network(IpAddr, u8),
}

impl ProxyRules {
    pub(super) fn new(proxies: &Proxies) -> Result<Self, Error> {
        let exempt = proxies.no_proxy.as_deref().unwrap_or_default().split(',').filter_map(|entry| exempt(entry.trim())).collect();
        Ok(Self { http: proxy(proxies.http.as_deref())?, https: proxy(proxies.https.as_deref())?, exempt })
    }

    /// The proxy to go through to `origin`.
    pub(super) fn for_origin(&self, origin: &Origin) -> Option<&Url> {
        let proxy = if origin.secure { self.https.as_ref() } else { self.http.as_ref() }?;
        let here = match &origin.host {
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Address(address) => address.is_loopback(),
        };
        (!here && !self.exempt.iter().any(|exempt| exempt.covers(origin))).then_some(proxy)
    }
}

/// Reads one proxy; a bare `host:port` means http.
fn proxy(text: Option<&str>) -> Result<Option<Url>, Error> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let parsed = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    parsed.map(Some).map_err(|error| match error {
        Error::Unsupported { .. } => {
            let scheme = text.split("://").next().unwrap_or_default();
            Error::Unsupported { what: format!("a proxy that speaks \"{scheme}\"") }
        }
        other => Error::Settings { reason: format!("a proxy's {other}") },
    })
}

fn exempt(entry: &str) -> Option<Exempt> {
    let entry = entry.to_ascii_lowercase();
    if entry.is_empty() {
        return None;
    }
    if entry == "*" {
        return Some(Exempt { who: Who::Everybody, port: None });
    }
    if let Some(network) = network(&entry) {
        return Some(Exempt { who: network, port: None });
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (entry.as_str(), None),
    };
    let who = match host.strip_prefix("*.").or_else(|| host.strip_prefix('.')) {
        Some(below) => Who::Below(format!(".{below}")),
        None => network(host).unwrap_or_else(|| Who::Tree(host.trim_end_matches('.').to_owned())),
    };
    Some(Exempt { who, port })
}

/// An address or `address/bits`.
fn network(text: &str) -> Option<Who> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(all);
    (bits <= all).then_some(Who::Network(address, bits))
}

impl Exempt {
    fn covers(&self, origin: &Origin) -> bool {
        if self.port.is_some_and(|port| port != origin.port) {
            return false;
        }
        match (&self.who, &origin.host) {
            (Who::Everybody, _) => true,
            (Who::Tree(name), Host::Name(host)) => {
                host == name || host.strip_suffix(name.as_str()).is_some_and(|front| front.ends_with('.'))
            }
            (Who::Below(suffix), Host::Name(host)) => host.ends_with(suffix.as_str()),
            (Who::Network(network, bits), Host::Address(address)) => same_network(*network, *address, *bits),
            _ => false,
        }
    }
}

fn same_network(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let (one, other, all) = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    // A shift by the whole width means no bit counts.
    (one ^ other).checked_shr(all - u32::from(bits)).unwrap_or_default() == 0
}

#[cfg(test)]
mod tests {
    use super::{Proxies, ProxyRules};
    use crate::{Error, Url};

    fn goes_through(no_proxy: &str, url: &str) -> bool {
        let some = |text: &str| Some(text.to_owned());
        let rules = ProxyRules::new(&Proxies { http: some("proxy:3128"), https: some("https://proxy"), no_proxy: some(no_proxy) }).unwrap();
        rules.for_origin(&Url::parse(url).unwrap().origin()).is_some()
    }

    #[test]
    fn exempted_hosts_are_reached_directly() {
        for (no_proxy, url, proxied) in [
            ("", "http://host/", true),
            ("", "http://localhost/", false),
            ("", "http://127.0.0.9/", false),
            ("", "https://[::1]/", false),
            ("*", "http://host/", false),
            ("host", "http://host/", false),
            ("host", "https://a.HOST/", false),
            ("host", "http://ghost/", true),
            (".host", "http://host/", true),
            (".host", "http://a.host/", false),
            ("*.host", "http://a.host/", false),
            ("host:8080", "http://host/", true),
            ("host:8080", "http://host:8080/", false),
            (" a , 10.0.0.0/8", "http://10.200.1.1/", false),
            ("10.0.0.0/8", "http://11.0.0.1/", true),
            ("10.0.0.0/8", "http://host/", true),
            ("0.0.0.0/0", "http://9.9.9.9/", false),
            ("0.0.0.0/0", "http://[2001:db8::1]/", true),
            ("::/0", "http://[2001:db8::1]/", false),
            ("2001:db8::/32", "http://[2001:db8::1]/", false),
            ("[2001:db8::1]:80", "http://[2001:db8::1]/", false),
            ("192.0.2.1:81", "http://192.0.2.1/", true),
            ("host:port", "http://host/", true),
            ("10.0.0.0/99", "http://10.0.0.1/", true),
        ] {
            assert_eq!(goes_through(no_proxy, url), proxied, "{no_proxy} {url}");
        }
    }

    #[test]
    fn unreadable_proxies_are_refused_without_their_secrets() {
        let with = |text: &str| ProxyRules::new(&Proxies { http: Some(text.to_owned()), ..Proxies::default() }).err().unwrap();
        assert!(matches!(with("socks5://u:T0KEN@proxy"), Error::Unsupported { .. }));
        let error = with("http://u:T0KEN@:1");
        assert!(matches!(&error, Error::Settings { reason } if !reason.contains("T0KEN")), "{error:?}");
        assert!(ProxyRules::new(&Proxies { http: Some(" ".to_owned()), ..Proxies::default() }).unwrap().http.is_none());
    }
}
