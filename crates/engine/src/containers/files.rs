//! The files the engine writes for a container: /etc/hosts, /etc/hostname and /etc/resolv.conf.
//!
//! Their texts are made by the network hand from values already parsed; nothing a user typed reaches them unvalidated (S-218).

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use shipway_network::files::{self, ExtraHost, Hosts, ResolvConf, ResolverKind};

use super::ContainerRecord;
use crate::{Engine, Error, Result};

/// The three generated files of a container and where they are mounted.
pub(crate) struct GeneratedFiles {
    pub(crate) hosts: PathBuf,
    pub(crate) hostname: PathBuf,
    pub(crate) resolv_conf: PathBuf,
}

/// What the files are made from; build steps use the same.
pub(crate) struct NameSettings<'a> {
    pub(crate) hostname: &'a str,
    pub(crate) domainname: Option<&'a str>,
    pub(crate) extra_hosts: &'a [String],
    /// The host's own stack is used.
    pub(crate) shares_host: bool,
    /// Who answers questions for names.
    pub(crate) resolver: ResolverKind,
    /// Its own addresses.
    pub(crate) own: Vec<IpAddr>,
    /// The address that `host-gateway` stands for.
    pub(crate) host_gateway: Vec<IpAddr>,
    /// Containers it is linked to on the default bridge: address and names.
    pub(crate) links: Vec<(IpAddr, Vec<String>)>,
    pub(crate) dns: &'a [String],
    pub(crate) dns_search: &'a [String],
    pub(crate) dns_options: &'a [String],
}

impl NameSettings<'_> {
    /// The text of /etc/hosts.
    pub(crate) fn hosts(&self) -> Result<String> {
        let extra = self.extra_hosts.iter().map(|line| line.parse()).collect::<shipway_network::Result<Vec<ExtraHost>>>()?;
        let of_host = self.shares_host.then(|| std::fs::read_to_string("/etc/hosts").unwrap_or_default());
        // A container without any address still finds itself by its name: programs that look it up (Java) work.
        let alone = self.own.is_empty() && !self.shares_host;
        let own = if alone { vec![IpAddr::from([127, 0, 0, 1])] } else { self.own.clone() };
        Ok(files::hosts(&Hosts {
            of_host: of_host.as_deref(),
            extra: &extra,
            host_gateway: &self.host_gateway,
            links: &self.links,
            own: &own,
            hostname: self.hostname,
            domainname: self.domainname,
        })?)
    }

    /// The text of /etc/resolv.conf: the host's, without servers that only the host reaches, unless the caller names its own.
    pub(crate) fn resolv_conf(&self) -> Result<String> {
        let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let of_host = match files::host_resolv_conf(&host) {
            "/etc/resolv.conf" => host,
            behind if !self.shares_host => std::fs::read_to_string(behind).unwrap_or(host),
            _ => host,
        };
        let servers = self.dns.iter().map(|text| server(text)).collect::<Result<Vec<_>>>()?;
        let (search, options) = (self.dns_search, self.dns_options);
        Ok(files::resolv_conf(&ResolvConf { kind: self.resolver, of_host: &of_host, servers: &servers, search, options })?)
    }
}

/// A name server as people give it.
pub(super) fn server(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| Error::invalid(format!("{text:?} is not an IP address of a DNS server")))
}

impl Engine {
    /// Where the engine keeps its files of a container.
    pub(crate) fn container_dir(&self, id: shipway_model::ContainerId) -> PathBuf {
        self.inner.config.data_root.join("containers").join(id.to_string())
    }

    /// Paths of the generated files, written or not.
    pub(crate) fn generated_files(&self, id: shipway_model::ContainerId) -> GeneratedFiles {
        let dir = self.container_dir(id);
        GeneratedFiles { hosts: dir.join("hosts"), hostname: dir.join("hostname"), resolv_conf: dir.join("resolv.conf") }
    }

    /// What a container's files are made from.
    pub(super) fn name_settings<'a>(&self, record: &'a ContainerRecord) -> Result<NameSettings<'a>> {
        let host = &record.spec.host;
        let shares_host = self.network_of_mode(&host.network) == Some(crate::networks::HOST);
        let attached: Vec<_> = record.endpoints.iter().filter_map(|endpoint| endpoint.attached.as_ref()).collect();
        let own = attached.iter().flat_map(|found| {
            let v4 = found.ipv4.map(|own| IpAddr::from(own.address));
            v4.into_iter().chain(found.ipv6.map(|own| IpAddr::from(own.address)))
        });
        let own: Vec<IpAddr> = own.collect();
        let default = attached.iter().find(|found| found.is_default);
        let gateways = default.map_or((None, None), |found| {
            (found.ipv4.and_then(|own| own.gateway).map(IpAddr::from), found.ipv6.and_then(|own| own.gateway).map(IpAddr::from))
        });
        let host_gateway =
            if shares_host { vec![IpAddr::from([127, 0, 0, 1])] } else { gateways.0.into_iter().chain(gateways.1).collect() };
        let resolver = if self.has_name_server(record) {
            ResolverKind::Embedded
        } else if own.is_empty() {
            ResolverKind::Host
        } else {
            ResolverKind::Direct
        };
        Ok(NameSettings {
            hostname: &record.process.hostname,
            domainname: record.spec.domainname.as_deref(),
            extra_hosts: &host.extra_hosts,
            shares_host,
            resolver,
            own,
            host_gateway,
            links: self.legacy_links(record)?,
            dns: if host.dns.is_empty() { &[] } else { &host.dns },
            dns_search: &host.dns_search,
            dns_options: &host.dns_options,
        })
    }
}

/// Writes the generated files of a container below `dir`. They are made anew at each start, so nothing is synced.
pub(crate) fn write(files: &GeneratedFiles, settings: &NameSettings<'_>) -> Result<()> {
    let put = |path: &Path, text: &str| {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(Error::io(format!("create {}", dir.display())))?;
        }
        std::fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
    };
    put(&files.hosts, &settings.hosts()?)?;
    put(&files.hostname, &format!("{}\n", settings.hostname))?;
    put(&files.resolv_conf, &settings.resolv_conf()?)
}
