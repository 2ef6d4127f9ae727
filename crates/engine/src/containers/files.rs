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
        Ok(files::hosts(&Hosts { of_host: of_host.as_deref(), extra: &extra, ..self.own_lines(&self.own_or_loopback()) })?)
    }

    /// The text of /etc/hosts of a running container, whose text was `current` and whose links were those of `before`.
    fn hosts_again(&self, current: &str, before: &NameSettings<'_>) -> Result<String> {
        Ok(files::hosts_again(current, &before.links, &self.own_lines(&self.own_or_loopback()))?)
    }

    fn own_lines<'a>(&'a self, own: &'a [IpAddr]) -> Hosts<'a> {
        Hosts {
            of_host: None,
            extra: &[],
            host_gateway: &self.host_gateway,
            links: &self.links,
            own,
            hostname: self.hostname,
            domainname: self.domainname,
        }
    }

    /// A container without any address still finds itself by its name: programs that look it up (Java) work.
    fn own_or_loopback(&self) -> Vec<IpAddr> {
        let alone = self.own.is_empty() && !self.shares_host;
        if alone { vec![IpAddr::from([127, 0, 0, 1])] } else { self.own.clone() }
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
            links: self.legacy_links(record),
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
    let resolv_conf = settings.resolv_conf()?;
    put(&files.resolv_conf, &resolv_conf)?;
    put(&seal_of(&files.resolv_conf), &digest(&resolv_conf))
}

/// Beside a resolv.conf: the digest of what was written into it. What programs inside wrote there is told from it by that, also after the host's own
/// resolvers have changed.
fn seal_of(resolv_conf: &Path) -> PathBuf {
    resolv_conf.with_extension("conf.digest")
}

fn digest(text: &str) -> String {
    shipway_model::Digest::sha256_of(text.as_bytes()).hex()
}

/// Programs inside may have written what they like into their files; what is larger is theirs.
const LONGEST_FILE: u64 = 1 << 20;

/// Makes the files of a running container follow its networks, in place: they are mounted in it. Lines and texts that programs inside wrote stay.
pub(crate) fn follow(files: &GeneratedFiles, before: &NameSettings<'_>, now: &NameSettings<'_>) -> Result<()> {
    change(&files.hosts, |current| now.hosts_again(current, before).map(Some))?;
    follow_resolvers(&files.resolv_conf, &before.resolv_conf()?, now.resolv_conf()?)
}

/// Writes `new` over a resolv.conf that nobody has changed: its digest is that of the last writing or, for containers of older daemons, its text is `old`.
fn follow_resolvers(resolv_conf: &Path, old: &str, new: String) -> Result<()> {
    let seal = seal_of(resolv_conf);
    let sealed = std::fs::read_to_string(&seal).ok();
    let fresh = digest(&new);
    let mut is_ours = false;
    change(resolv_conf, |current| {
        is_ours = sealed.as_ref().map_or(current == old, |sealed| *sealed == digest(current));
        Ok(is_ours.then_some(new))
    })?;
    if !is_ours || sealed.as_ref() == Some(&fresh) {
        return Ok(());
    }
    std::fs::write(&seal, fresh).map_err(Error::io(format!("write {}", seal.display())))
}

/// Writes what `new` makes of a file's text over it.
fn change(path: &Path, new: impl FnOnce(&str) -> Result<Option<String>>) -> Result<()> {
    use std::io::{Read, Write};
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    let wrong = || Error::io(format!("change {}", path.display()));
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut file = std::fs::OpenOptions::new().read(true).write(true).custom_flags(no_follow).open(path).map_err(wrong())?;
    let mut current = Vec::new();
    (&file).take(LONGEST_FILE).read_to_end(&mut current).map_err(wrong())?;
    let Ok(current) = String::from_utf8(current) else { return Ok(()) };
    if current.len() as u64 == LONGEST_FILE {
        return Ok(());
    }
    let Some(text) = new(&current)?.filter(|text| *text != current) else { return Ok(()) };
    file.write_all_at(text.as_bytes(), 0).map_err(wrong())?;
    file.set_len(text.len() as u64).map_err(wrong())?;
    file.flush().map_err(wrong())
}

impl Engine {
    /// What the files of `record` are made from, with what the daemon says where the container says nothing.
    pub(super) fn complete_name_settings<'a>(&'a self, record: &'a ContainerRecord) -> Result<NameSettings<'a>> {
        let mut settings = self.name_settings(record)?;
        let config = &self.inner.config;
        if settings.dns.is_empty() {
            settings.dns = &config.dns;
        }
        if settings.dns_search.is_empty() {
            settings.dns_search = &config.dns_search;
        }
        if settings.dns_options.is_empty() {
            settings.dns_options = &config.dns_options;
        }
        Ok(settings)
    }

    /// Makes the files of a running container follow its networks, which were those of `before`. Failing is logged: the next start writes them anew.
    /// Blocks.
    pub(crate) fn follow_in_files(&self, before: &ContainerRecord, now: &ContainerRecord) {
        // One at a time: a container's own change and that of one it is linked to may meet.
        static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let settings = |record| self.complete_name_settings(record);
        let followed = settings(before).and_then(|old| follow(&self.generated_files(now.id), &old, &settings(now)?));
        if let Err(error) = followed {
            tracing::warn!(%error, container = %now.name, "the files of a container do not follow its networks");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_follows_the_hosts_resolvers_of_now_unless_a_program_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let check = |text: &str, sealed: Option<&str>, expected: &str| {
            std::fs::write(&path, text).unwrap();
            let _ = std::fs::remove_file(seal_of(&path));
            if let Some(sealed) = sealed {
                std::fs::write(seal_of(&path), digest(sealed)).unwrap();
            }
            follow_resolvers(&path, "nameserver 10.0.0.2\n", "nameserver 127.0.0.11\n".to_owned()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expected, "{text:?} {sealed:?}");
        };
        // Written at the start, when the host had another resolver.
        check("nameserver 10.0.0.1\n", Some("nameserver 10.0.0.1\n"), "nameserver 127.0.0.11\n");
        assert_eq!(std::fs::read_to_string(seal_of(&path)).unwrap(), digest("nameserver 127.0.0.11\n"), "it follows the next time too");
        check("nameserver 9.9.9.9\n", Some("nameserver 10.0.0.1\n"), "nameserver 9.9.9.9\n");
        // A container that an older daemon started.
        check("nameserver 10.0.0.2\n", None, "nameserver 127.0.0.11\n");
        check("nameserver 10.0.0.1\n", None, "nameserver 10.0.0.1\n");
    }
}
