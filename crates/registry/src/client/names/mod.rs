//! From a host's name to addresses, without glibc: the binary is static, and a static glibc cannot load its resolver's parts.
//!
//! What must stay true: `localhost` is always this machine (RFC 6761, section 6.3), whatever a name server says; /etc/hosts goes before name servers; both
//! files are read for each look-up, so that a change counts at once.

mod dns;
mod files;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use crate::Error;

/// Where the files of the resolver are.
#[derive(Debug, Clone)]
pub struct NameFiles {
    pub hosts: PathBuf,
    pub resolv_conf: PathBuf,
}

impl Default for NameFiles {
    fn default() -> Self {
        Self { hosts: PathBuf::from("/etc/hosts"), resolv_conf: PathBuf::from("/etc/resolv.conf") }
    }
}

/// Looks names up.
pub(super) struct Names {
    files: NameFiles,
}

impl Names {
    pub(super) fn new(files: NameFiles) -> Self {
        Self { files }
    }

    /// The addresses of `name`, in the order to try them; at least one.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        let bare = name.trim_end_matches('.');
        let (hosts, settings) = self.read().await?;
        let mut found = files::addresses_in_hosts(&hosts, bare);
        if found.is_empty() && (bare == "localhost" || bare.ends_with(".localhost")) {
            found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        if found.is_empty() {
            found = dns::lookup(&files::resolver_settings(&settings), name).await?;
        }
        Ok(interleave(found))
    }

    /// The texts of both files; a missing one is empty, as glibc has it.
    async fn read(&self) -> Result<(String, String), Error> {
        let files = self.files.clone();
        let read = move || {
            let text = |path: &PathBuf| match std::fs::read(path) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) => {
                    tracing::debug!(%error, ?path, "no settings for looking up names");
                    String::new()
                }
            };
            (text(&files.hosts), text(&files.resolv_conf))
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| Error::Internal { what: format!("reading /etc/hosts ended abnormally: {error}") })
    }
}

/// Puts the two families in turn, the first one's family first, so that one that leads nowhere costs a single attempt (RFC 8305, section 4).
fn interleave(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let Some(first) = addresses.first().copied() else {
        return addresses;
    };
    let count = addresses.len();
    let (same, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv4() == first.is_ipv4());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut mixed = Vec::with_capacity(count);
    while mixed.len() < count {
        mixed.extend(same.next());
        mixed.extend(other.next());
    }
    mixed
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    #[test]
    fn families_take_turns() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert_eq!(super::interleave(addresses(&["::1", "::2", "::3", "1.1.1.1"])), addresses(&["::1", "1.1.1.1", "::2", "::3"]));
        assert_eq!(super::interleave(addresses(&["1.1.1.1"])), addresses(&["1.1.1.1"]));
        assert_eq!(super::interleave(vec![]), addresses(&[]));
    }
}
