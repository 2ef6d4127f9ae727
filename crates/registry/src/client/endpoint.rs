//! Where the name of a registry leads: the addresses to ask, in order.
//!
//! What must stay true: plain http only to registries the administrator listed and to this machine itself; credentials only to the registry they name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;

use super::hosts::file::{self, Listed};
use super::hosts::{HostTrust, TrustSource, certs};
use super::named_hosts::NamedHosts;
use crate::{Error, Host, Origin, Url};

/// The registry that names without a host mean, and where it is really reached.
const HUB: &str = "docker.io";
pub(crate) const HUB_SERVER: &str = "registry-1.docker.io";

/// One address to ask.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Scheme, host, port and perhaps a path below which `/v2/` is.
    pub base: Url,
    /// A copy of the registry: what it lacks or refuses is asked of the next.
    pub is_mirror: bool,
    /// Whether what is named by digest may be asked for, and whether tags may.
    pub may_pull: bool,
    pub may_resolve: bool,
    /// Whether it may be written to.
    pub may_push: bool,
    /// Whether plain http is tried when https is not spoken there.
    pub may_fall_to_http: bool,
    /// Whether the user's credentials are meant for it.
    pub sends_credentials: bool,
    /// The base is the whole way to the protocol: no `/v2/` is added to it.
    pub override_path: bool,
    /// Told with every request.
    pub headers: HeaderMap,
    /// It stands in for several registries and is told for which.
    pub namespace: Option<String>,
}

/// The administrator's word about registries.
#[derive(Debug, Clone, Default)]
pub struct HostSettings {
    /// `host`, `host:port` or a network in CIDR form: https unchecked, plain http allowed.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub, asked first.
    pub registry_mirrors: Vec<String>,
    /// Folders with `HOST/hosts.toml`, the first that has one for a registry wins.
    pub hosts_folders: Vec<PathBuf>,
    /// Folders with `HOST/*.crt` and client certificates, likewise.
    pub certs_folders: Vec<PathBuf>,
    /// Token servers, as `host` or `host:port`, that may see credentials although they are outside the registry's domain.
    pub trusted_token_servers: Vec<String>,
    /// Whether layers that a registry does not have are fetched from where their manifest says.
    pub fetch_foreign_layers: bool,
    /// Registries, as in `insecure_registries`, that get layers whose type says that they are not to be distributed.
    pub nondistributable_artifacts: Vec<String>,
}

/// Registries by name.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    insecure: NamedHosts,
    mirrors: Vec<Url>,
    hosts_folders: Vec<PathBuf>,
    certs_folders: Vec<PathBuf>,
    trusted_token_servers: Vec<String>,
    fetch_foreign_layers: bool,
    nondistributable: NamedHosts,
    /// What `hosts.toml` said about the TLS of the hosts it names.
    named: Arc<Mutex<HashMap<Origin, HostTrust>>>,
}

impl Endpoint {
    /// The registry itself at `base`.
    fn itself(base: Url, may_fall_to_http: bool) -> Self {
        Self {
            base,
            is_mirror: false,
            may_pull: true,
            may_resolve: true,
            may_push: true,
            may_fall_to_http,
            sends_credentials: true,
            override_path: false,
            headers: HeaderMap::new(),
            namespace: None,
        }
    }

    /// A copy at `base`.
    fn mirror(base: Url) -> Self {
        Self { is_mirror: true, may_push: false, sends_credentials: false, ..Self::itself(base, false) }
    }

    /// What a file says about a copy.
    fn listed(listed: Listed, domain: &str) -> Self {
        Self {
            may_pull: listed.may_pull,
            may_resolve: listed.may_resolve,
            may_push: listed.may_push,
            override_path: listed.override_path,
            headers: listed.headers,
            namespace: Some(domain.to_owned()),
            ..Self::mirror(listed.base)
        }
    }

    /// Where `path`, which lies below `/v2/`, is when the endpoint is reached at `base`.
    pub(super) fn address(&self, base: &Url, path: &str) -> Result<Url, Error> {
        let folder = base.path_and_query().split('?').next().unwrap_or_default().trim_end_matches('/').to_owned();
        let version = if self.override_path { "" } else { "v2/" };
        let address = base.join(&format!("{folder}/{version}{path}"))?;
        match &self.namespace {
            Some(namespace) => address.with_pairs(&[("ns", namespace)]),
            None => Ok(address),
        }
    }

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
    /// Folders with what is written about single registries.
    pub(super) fn hosts_folders(&self) -> &[PathBuf] {
        &self.hosts_folders
    }

    /// What these settings mean.
    ///
    /// # Errors
    /// `Settings` for an address that is none.
    pub fn new(settings: &HostSettings) -> Result<Self, Error> {
        let mut hosts = Self {
            insecure: NamedHosts::new("insecure registry", &settings.insecure_registries)?,
            fetch_foreign_layers: settings.fetch_foreign_layers,
            nondistributable: NamedHosts::new("registry of nondistributable artifacts", &settings.nondistributable_artifacts)?,
            hosts_folders: settings.hosts_folders.clone(),
            certs_folders: settings.certs_folders.clone(),
            trusted_token_servers: settings.trusted_token_servers.clone(),
            ..Self::default()
        };
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
            endpoints.extend(self.mirrors.iter().map(|base| Endpoint::mirror(base.clone())));
        }
        let host = if domain == HUB { HUB_SERVER } else { domain };
        let base = Url::parse(&format!("https://{host}/"))?;
        let may_fall_to_http = self.is_insecure(&base);
        let mut itself = Endpoint::itself(base, may_fall_to_http);
        // A small file, and only where the administrator made such a folder: reading it at each use lets it change without a restart.
        if let Some(file) = file::find(&self.hosts_folders, domain)? {
            for listed in file.hosts.into_iter().filter(|listed| listed.may_push || !for_push) {
                self.note(&listed);
                endpoints.push(Endpoint::listed(listed, domain));
            }
            if let Some(server) = file.server {
                self.note(&server);
                let same = server.base.host() == itself.base.host();
                itself.sends_credentials = same;
                // Only its own name may lead to a registry by plain http, and only where that was allowed before.
                itself.may_fall_to_http = same && may_fall_to_http && server.base.is_secure();
                itself.override_path = server.override_path;
                itself.headers = server.headers;
                itself.base = server.base;
            }
        }
        endpoints.push(itself);
        Ok(endpoints)
    }

    /// Token servers that may see credentials of registries elsewhere.
    pub fn trusted_token_servers(&self) -> Vec<String> {
        self.trusted_token_servers.clone()
    }

    /// Whether a layer may be fetched from an address in a manifest.
    pub(super) fn fetches_foreign_layers(&self) -> bool {
        self.fetch_foreign_layers
    }

    /// Whether the registry called `domain` gets layers that are not to be distributed.
    pub(super) fn takes_nondistributable(&self, domain: &str) -> bool {
        Url::parse(&format!("https://{domain}/")).is_ok_and(|base| self.nondistributable.holds(&base.origin()))
    }

    fn note(&self, listed: &Listed) {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).insert(listed.base.origin(), listed.trust.clone());
    }

    /// Whether neither certificate nor encryption is insisted on: this machine itself, and what the administrator listed.
    pub fn is_insecure(&self, base: &Url) -> bool {
        self.is_insecure_origin(&base.origin())
    }

    fn is_insecure_origin(&self, origin: &Origin) -> bool {
        let is_here = match &origin.host {
            Host::Name(name) => name == "localhost",
            Host::Address(address) => address.is_loopback(),
        };
        is_here || self.insecure.holds(origin)
    }
}

impl TrustSource for Hosts {
    fn trust(&self, origin: &Origin) -> Result<HostTrust, Error> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner).get(origin).cloned().unwrap_or_default();
        let mut trust = certs::find(&self.certs_folders, origin)?.and(named);
        trust.unchecked |= self.is_insecure_origin(origin);
        Ok(trust)
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
