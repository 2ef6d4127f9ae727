//! Where the name of a registry leads: the addresses to ask, in order.
//!
//! What must stay true: plain http only to registries the administrator listed and to this machine itself; credentials only to the registry they name.

use std::net::IpAddr;

use crate::{Error, Host, Origin, Url};

/// The registry that names without a host mean, and where it is really reached.
const HUB: &str = "docker.io";
const HUB_SERVER: &str = "registry-1.docker.io";

/// One address to ask.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Scheme, host, port and perhaps a path below which `/v2/` is.
    pub base: Url,
    /// A copy of the registry: what it lacks or refuses is asked of the next.
    pub is_mirror: bool,
    /// Whether it may be written to.
    pub may_push: bool,
    /// Whether plain http is tried when https is not spoken there.
    pub may_fall_to_http: bool,
    /// Whether the user's credentials are meant for it.
    pub sends_credentials: bool,
}

/// The administrator's word about registries.
#[derive(Debug, Clone, Default)]
pub struct HostSettings {
    /// `host`, `host:port` or a network in CIDR form: https unchecked, plain http allowed.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub, asked first.
    pub registry_mirrors: Vec<String>,
}

/// Registries by name.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    insecure: Vec<String>,
    networks: Vec<(IpAddr, u8)>,
    mirrors: Vec<Url>,
}

impl Endpoint {
    /// The origins that may see the user's credentials.
    pub(super) fn homes(&self) -> Result<Vec<Origin>, Error> {
        if !self.sends_credentials {
            return Ok(Vec::new());
        }
        let mut homes = vec![self.base.origin()];
        if self.may_fall_to_http {
            homes.push(self.base.as_plain()?.origin());
        }
        Ok(homes)
    }
}

impl Hosts {
    /// What these settings mean.
    ///
    /// # Errors
    /// `Settings` for an address that is none.
    pub fn new(settings: &HostSettings) -> Result<Self, Error> {
        let mut hosts = Self::default();
        for entry in &settings.insecure_registries {
            match network(entry) {
                Some(network) => hosts.networks.push(network),
                None if entry.contains('/') => {
                    return Err(Error::Settings { reason: format!("insecure registry \"{entry}\" is neither host:port nor a network") });
                }
                None => hosts.insecure.push(entry.to_ascii_lowercase()),
            }
        }
        for mirror in &settings.registry_mirrors {
            let url = Url::parse(mirror).map_err(|error| Error::Settings { reason: format!("a registry mirror: {error}") })?;
            hosts.mirrors.push(url);
        }
        Ok(hosts)
    }

    /// The addresses of the registry called `domain` (of a reference), in the order to try.
    ///
    /// # Errors
    /// `InvalidUrl` for a name that is no host.
    pub fn endpoints(&self, domain: &str, for_push: bool) -> Result<Vec<Endpoint>, Error> {
        let mut endpoints = Vec::new();
        if domain == HUB && !for_push {
            endpoints.extend(self.mirrors.iter().map(|base| Endpoint {
                base: base.clone(),
                is_mirror: true,
                may_push: false,
                may_fall_to_http: false,
                sends_credentials: false,
            }));
        }
        let host = if domain == HUB { HUB_SERVER } else { domain };
        let base = Url::parse(&format!("https://{host}/"))?;
        let may_fall_to_http = self.is_insecure(&base);
        endpoints.push(Endpoint { base, is_mirror: false, may_push: true, may_fall_to_http, sends_credentials: true });
        Ok(endpoints)
    }

    /// Whether neither certificate nor encryption is insisted on: this machine itself, and what the administrator listed.
    pub fn is_insecure(&self, base: &Url) -> bool {
        let host = base.host();
        let listed = |name: &str| self.insecure.iter().any(|entry| entry == name);
        if listed(&host.to_string()) || listed(&base.origin().authority()) {
            return true;
        }
        match host {
            Host::Name(name) => name == "localhost",
            Host::Address(address) => {
                address.is_loopback() || self.networks.iter().any(|(network, bits)| contains(*network, *bits, address))
            }
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

#[cfg(test)]
mod tests {
    use super::{HostSettings, Hosts};

    #[test]
    fn plain_http_only_here_and_where_it_was_allowed() {
        let settings = HostSettings { insecure_registries: vec!["10.1.0.0/16".into(), "Old.test:5000".into()], ..HostSettings::default() };
        let hosts = Hosts::new(&settings).unwrap();
        for (domain, allowed) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.3.0.1:5000", true),
            ("[::1]:5000", true),
            ("10.1.2.3:5000", true),
            ("10.2.2.3:5000", false),
            ("old.test:5000", true),
            ("old.test", false),
            ("docker.io", false),
        ] {
            let endpoints = hosts.endpoints(domain, false).unwrap();
            assert_eq!(endpoints.len(), 1, "{domain}");
            assert_eq!(endpoints[0].may_fall_to_http, allowed, "{domain}");
        }
        assert!(Hosts::new(&HostSettings { insecure_registries: vec!["http://x/".into()], ..HostSettings::default() }).is_err());
    }

    #[test]
    fn mirrors_stand_in_front_of_the_hub_and_are_never_written_to() {
        let settings = HostSettings { registry_mirrors: vec!["https://mirror.test/hub".into()], ..HostSettings::default() };
        let hosts = Hosts::new(&settings).unwrap();
        let shown = |domain, for_push| -> Vec<String> {
            hosts.endpoints(domain, for_push).unwrap().iter().map(|endpoint| endpoint.base.exposed().to_owned()).collect()
        };
        assert_eq!(shown("docker.io", false), ["https://mirror.test/hub", "https://registry-1.docker.io/"]);
        assert_eq!(shown("docker.io", true), ["https://registry-1.docker.io/"]);
        assert_eq!(shown("quay.test", false), ["https://quay.test/"]);
    }
}
