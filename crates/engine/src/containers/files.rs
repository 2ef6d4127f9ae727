//! The files the engine writes for a container: /etc/hosts, /etc/hostname and /etc/resolv.conf.
//!
//! They are written from values already parsed; nothing a user typed reaches them unvalidated (S-218).

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::spec::{HostOptions, NetworkMode};
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
    pub(crate) network: &'a NetworkMode,
    pub(crate) dns: &'a [String],
    pub(crate) dns_search: &'a [String],
    pub(crate) dns_options: &'a [String],
}

impl<'a> NameSettings<'a> {
    pub(crate) fn of(hostname: &'a str, domainname: Option<&'a str>, host: &'a HostOptions) -> Self {
        Self {
            hostname,
            domainname,
            extra_hosts: &host.extra_hosts,
            network: &host.network,
            dns: &host.dns,
            dns_search: &host.dns_search,
            dns_options: &host.dns_options,
        }
    }

    /// The text of /etc/hosts.
    pub(crate) fn hosts(&self) -> Result<String> {
        let mut text = String::from(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
        for line in self.extra_hosts {
            let (name, address) = split_host(line)?;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{address}\t{name}");
        }
        if *self.network != NetworkMode::Host {
            let full = self.domainname.map(|domain| format!("{}.{domain} {}", self.hostname, self.hostname));
            let _ = writeln!(text, "127.0.0.1\t{}", full.as_deref().unwrap_or(self.hostname));
        }
        Ok(text)
    }

    /// The text of /etc/resolv.conf: the host's, without servers that only the host reaches, unless the caller names its own.
    pub(crate) fn resolv_conf(&self, host_text: &str) -> String {
        let shares_host = *self.network == NetworkMode::Host;
        let mut text = String::new();
        let mut kept_search = false;
        for line in host_text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if self.dns.is_empty() => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    if address.is_some_and(|address| shares_host || !address.is_loopback()) {
                        let _ = writeln!(text, "{}", line.trim());
                    }
                }
                Some("search" | "domain") if self.dns_search.is_empty() => {
                    kept_search = true;
                    let _ = writeln!(text, "{}", line.trim());
                }
                Some("options") if self.dns_options.is_empty() => {
                    let _ = writeln!(text, "{}", line.trim());
                }
                _ => {}
            }
        }
        for server in self.dns {
            let _ = writeln!(text, "nameserver {server}");
        }
        if !kept_search && !self.dns_search.is_empty() && self.dns_search != ["."] {
            let _ = writeln!(text, "search {}", self.dns_search.join(" "));
        }
        if !self.dns_options.is_empty() {
            let _ = writeln!(text, "options {}", self.dns_options.join(" "));
        }
        text
    }
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
}

/// Writes the generated files of a container below `dir`. They are made anew at each start, so nothing is synced.
pub(crate) fn write(files: &GeneratedFiles, settings: &NameSettings<'_>) -> Result<()> {
    let host_text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let put = |path: &Path, text: &str| {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(Error::io(format!("create {}", dir.display())))?;
        }
        std::fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
    };
    put(&files.hosts, &settings.hosts()?)?;
    put(&files.hostname, &format!("{}\n", settings.hostname))?;
    put(&files.resolv_conf, &settings.resolv_conf(&host_text))
}

/// Takes `name:address` or `name=address` apart.
fn split_host(line: &str) -> Result<(&str, &str)> {
    let bad = || Error::invalid(format!("invalid extra host \"{line}\": write name:address"));
    let (name, address) = line.split_once('=').or_else(|| line.split_once(':')).ok_or_else(bad)?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    // Without a bridge the host is reached through loopback, if at all.
    let address = if address == "host-gateway" { "127.0.0.1" } else { address };
    let name_is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !name_is_plain || address.parse::<IpAddr>().is_err() {
        return Err(bad());
    }
    Ok((name, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings<'a>(extra_hosts: &'a [String], network: &'a NetworkMode) -> NameSettings<'a> {
        NameSettings { hostname: "c0ffee", domainname: None, extra_hosts, network, dns: &[], dns_search: &[], dns_options: &[] }
    }

    #[test]
    fn a_newline_in_an_extra_host_never_reaches_the_file() {
        for bad in ["a\n6.6.6.6 bank:1.2.3.4", "a b:1.2.3.4", "a:not-an-address", ":1.2.3.4", "a"] {
            assert!(settings(&[bad.to_owned()], &NetworkMode::None).hosts().is_err(), "{bad}");
        }
        let text = settings(&["db:10.0.0.2".to_owned(), "six:[::2]".to_owned()], &NetworkMode::None).hosts().unwrap();
        assert!(text.contains("10.0.0.2\tdb\n") && text.contains("::2\tsix\n"), "{text}");
    }

    #[test]
    fn servers_that_only_the_host_reaches_are_left_out() {
        let host = "nameserver 127.0.0.53\nnameserver 10.1.1.1\nsearch lan\noptions ndots:2\n";
        assert_eq!(settings(&[], &NetworkMode::None).resolv_conf(host), "nameserver 10.1.1.1\nsearch lan\noptions ndots:2\n");
        assert_eq!(settings(&[], &NetworkMode::Host).resolv_conf(host), host);
    }
}
