//! The host's resolvers, followed as its resolv.conf changes, and which servers lately gave no answer.
//!
//! What must stay true: a text that names no usable server leads to none, not to a guess; at most a few servers are ever asked.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// As resolv.conf(5) has it (MAXNS).
const MOST_SERVERS: usize = 3;
/// How long the file is trusted without another look.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a silent server stays last in the row.
const AVOID: Duration = Duration::from_secs(10);
/// Above this many silent servers the oldest are forgotten.
const MOST_SILENT: usize = 256;
/// No sane resolv.conf is longer.
const LONGEST_FILE: u64 = 64 << 10;

/// The servers of the host.
#[derive(Debug)]
pub(super) struct HostResolvers {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    looked: Option<Instant>,
    stamp: Option<(u64, i64, i64, u64)>,
    servers: Arc<[SocketAddr]>,
}

impl HostResolvers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::default() }
    }

    /// The servers as the file names them now, or named them a second ago.
    pub(super) fn servers(&self) -> Arc<[SocketAddr]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_none_or(|when| when.elapsed() >= LOOK_AGAIN) {
            known.looked = Some(Instant::now());
            let stamp = std::fs::metadata(&self.path).ok().map(|file| (file.ino(), file.mtime(), file.mtime_nsec(), file.len()));
            if stamp.is_none() || stamp != known.stamp {
                known.stamp = stamp;
                let fits = stamp.is_some_and(|(.., length)| length <= LONGEST_FILE);
                let text = if fits { std::fs::read_to_string(&self.path).unwrap_or_default() } else { String::new() };
                known.servers = servers_in(&text).into();
            }
        }
        Arc::clone(&known.servers)
    }
}

/// The name servers of a resolv.conf(5).
fn servers_in(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    named.filter_map(address).take(MOST_SERVERS).collect()
}

/// An address, with the name of an interface where it only means something there (`fe80::1%eth0`).
fn address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, super::PORT));
    }
    let (address, interface) = text.split_once('%')?;
    let index = std::fs::read_to_string(PathBuf::from("/sys/class/net").join(plain(interface)?).join("ifindex")).ok()?;
    let address = std::net::SocketAddrV6::new(address.parse().ok()?, super::PORT, 0, index.trim().parse().ok()?);
    Some(address.into())
}

/// An interface name that is no path.
fn plain(name: &str) -> Option<&str> {
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))).then_some(name)
}

/// Servers that lately gave no answer.
#[derive(Debug, Default)]
pub(super) struct Silent(Mutex<HashMap<SocketAddr, Instant>>);

impl Silent {
    /// `servers` with the silent ones last.
    pub(super) fn in_order(&self, servers: &[SocketAddr]) -> Vec<SocketAddr> {
        let silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ordered: Vec<_> = servers.iter().copied().take(MOST_SERVERS).collect();
        ordered.sort_by_key(|server| silent.get(server).is_some_and(|since| since.elapsed() < AVOID));
        ordered
    }

    pub(super) fn spoke(&self, server: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&server);
    }

    pub(super) fn said_nothing(&self, server: SocketAddr) {
        let mut silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if silent.len() >= MOST_SILENT {
            silent.retain(|_, since| since.elapsed() < AVOID);
        }
        if silent.len() < MOST_SILENT {
            silent.insert(server, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_counts_and_nonsense_names_nobody() {
        let text = "# nameserver 9.9.9.9\nnameserver 10.1.1.1\n nameserver ::1 trailing\nnameserver\nnameserver six\nsearch lan\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        let servers: Vec<_> = servers_in(text).iter().map(SocketAddr::ip).collect();
        let expected: Vec<IpAddr> = ["10.1.1.1", "::1", "10.0.0.2"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(servers, expected);
        assert!(servers_in("nameserver fe80::1%../../etc\n").is_empty());
    }

    #[test]
    fn silent_servers_come_last_until_they_speak() {
        let silent = Silent::default();
        let servers: Vec<SocketAddr> = ["10.0.0.1:53", "10.0.0.2:53"].iter().map(|text| text.parse().unwrap()).collect();
        silent.said_nothing(servers[0]);
        assert_eq!(silent.in_order(&servers), [servers[1], servers[0]]);
        silent.spoke(servers[0]);
        assert_eq!(silent.in_order(&servers), servers);
    }
}
