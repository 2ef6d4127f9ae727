//! Claims of the host's ports: taken before any process exists, so that a taken port fails early and names its owner.
//!
//! A claim holds a bound socket that listens to nothing: foreign programs cannot take the port meanwhile, and what is not forwarded gets a reset.
//! What must stay true: a request is granted whole or not at all; two containers never hold one port of one address.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use shipway_model::{Port, PortBinding, Protocol};
use shipway_sys::socket::{self, HeldProtocol};

use crate::Error;
use crate::doctor::ContestedPort;

mod holder;
#[cfg(test)]
mod tests;

/// Sockets held at most: beyond it (huge ranges) a port is only tried, so that claims cannot use up the daemon's descriptors.
const MAX_HELD: usize = 4096;
/// Ports looked at for foreign owners: each may cost a walk over all processes.
const MOST_CONTESTED: usize = 32;
/// Automatic ports when the kernel does not tell its own range.
const EPHEMERAL: (u16, u16) = (32768, 60999);

/// Who holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortOwner {
    /// A container of this daemon, by name.
    Container(String),
    /// A process of this host.
    Process { pid: u32, name: String },
    /// Somebody who cannot be seen from here.
    Unknown,
}

impl fmt::Display for PortOwner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(out, "container \"{name}\""),
            Self::Process { pid, name } => write!(out, "process {pid} ({name})"),
            Self::Unknown => out.write_str("a program of this host"),
        }
    }
}

/// Who reaches containers of a network at their own addresses, their published ports alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Routed {
    /// Families in which whoever has a route does (gateway mode `routed`).
    pub v4: bool,
    pub v6: bool,
    /// What comes in by interfaces of the host that the network trusts does ([`crate::Segment::trusted`]).
    #[serde(default)]
    pub to_trusted: bool,
}

impl Routed {
    /// Whether everybody does, in the family of `address`.
    pub fn has(self, address: IpAddr) -> bool {
        if address.is_ipv6() { self.v6 } else { self.v4 }
    }

    /// True when nobody does.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A binding with its host port decided. Belongs into the container's record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClaimedPort {
    /// The host's address; `None` means all of both families.
    pub host_ip: Option<IpAddr>,
    /// 0 where it is reached at the container's own address alone, so that no port of the host is taken.
    pub host_port: u16,
    pub container: Port,
}

impl ClaimedPort {
    /// What the firewall forwards for this port to a container with these addresses, or opens at them: one entry per family that both sides have.
    pub fn published(&self, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>, routed: Routed) -> Vec<Published> {
        let targets = [v4.map(IpAddr::from), v6.map(IpAddr::from)].into_iter().flatten();
        let wanted = targets.filter(|target| self.host_ip.is_none_or(|address| address.is_ipv6() == target.is_ipv6()));
        wanted.flat_map(|target| [self.entry(target, routed.has(target)), self.entry_for_trusted(target, routed)]).flatten().collect()
    }

    /// The port at the container's own address for interfaces that are trusted, wherever on the host it is published.
    fn entry_for_trusted(&self, target: IpAddr, routed: Routed) -> Option<Published> {
        let Port { number, protocol } = self.container;
        let target = SocketAddr::new(target, number);
        (routed.to_trusted && !routed.has(target.ip())).then_some(Published {
            host_ip: Some(target.ip()),
            host_port: number,
            protocol,
            target,
            to_trusted: true,
        })
    }

    fn entry(&self, target: IpAddr, routed: bool) -> Option<Published> {
        let Port { number, protocol } = self.container;
        let host = if routed {
            // Published on the loopback, it is the host's own, which reaches its containers anyway.
            self.host_ip.is_none_or(|address| !address.is_loopback()).then_some((Some(target), number))?
        } else {
            (self.host_port != 0).then_some((self.host_ip.filter(|address| !address.is_unspecified()), self.host_port))?
        };
        Some(Published { host_ip: host.0, host_port: host.1, protocol, target: SocketAddr::new(target, number), to_trusted: false })
    }
}

/// One forwarding of the firewall: host address and port to a container's. Where both are one, nothing is changed and the port is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Published {
    /// `None` means every address of this host in the target's family.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub protocol: Protocol,
    pub target: SocketAddr,
    /// Open at the container's own address, but only to what comes in by interfaces that its network trusts.
    pub to_trusted: bool,
}

impl Published {
    /// True for a port that is open at the container's own address, for whoever has a route to it or for those who are trusted.
    pub fn is_direct(&self) -> bool {
        self.host_ip == Some(self.target.ip())
    }
}

/// Every claimed port of this daemon.
#[derive(Debug, Default)]
pub struct PortClaims {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    claims: BTreeMap<(Protocol, u16), Vec<Claim>>,
    /// Where the search for an automatic port goes on, so that a port just given back rests a while.
    next: Option<u16>,
    held: usize,
}

#[derive(Debug)]
struct Claim {
    address: Option<IpAddr>,
    owner: String,
    /// Absent beyond [`MAX_HELD`], where the kernel lacks the protocol, and where a foreign program was there first at boot.
    socket: Option<OwnedFd>,
}

impl PortClaims {
    /// No claims yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Claims a host port for each binding, in their order, for the container `owner`; all or none.
    ///
    /// # Errors
    /// `PortTaken` with its owner, `PortsExhausted` for a range, `NotOurAddress`.
    ///
    /// # Cost
    /// Two system calls a port.
    pub fn claim(&self, owner: &str, bindings: &[PortBinding]) -> Result<Vec<ClaimedPort>, Error> {
        let mut state = self.lock();
        let mut granted: Vec<Option<ClaimedPort>> = vec![None; bindings.len()];
        // Exact ports first, so that no automatic choice takes one that is asked for further down.
        let mut order: Vec<usize> = (0..bindings.len()).collect();
        order.sort_by_key(|index| match (bindings[*index].host_port, bindings[*index].host_port_last) {
            (Some(_), None) => 0,
            (Some(_), Some(_)) => 1,
            (None, _) => 2,
        });
        for index in order {
            match state.claim_one(owner, &bindings[index]) {
                Ok(host_port) => {
                    let PortBinding { host_ip, container, .. } = bindings[index];
                    granted[index] = Some(ClaimedPort { host_ip, host_port, container });
                }
                Err(error) => {
                    for taken in granted.iter().flatten() {
                        state.release_one(owner, taken);
                    }
                    return Err(error);
                }
            }
        }
        Ok(granted.into_iter().flatten().collect())
    }

    /// Takes the ports of a container that already runs (boot of the daemon). They are ours whatever the kernel says; answers what it said against it.
    pub fn reclaim(&self, owner: &str, ports: &[ClaimedPort]) -> Vec<Error> {
        let mut state = self.lock();
        let mut complaints = Vec::new();
        for port in ports.iter().filter(|port| port.host_port != 0) {
            state.release_one(owner, port);
            let socket = match state.hold(port.host_ip, Port { number: port.host_port, protocol: port.container.protocol }) {
                Ok(socket) => socket,
                Err(error) => {
                    complaints.push(error);
                    None
                }
            };
            state.insert(owner, port.host_ip, port.container.protocol, port.host_port, socket);
        }
        complaints
    }

    /// Gives ports back; twice is fine.
    pub fn release(&self, owner: &str, ports: &[ClaimedPort]) {
        let mut state = self.lock();
        for port in ports {
            state.release_one(owner, port);
        }
    }

    /// Follows a container's new name.
    pub fn rename(&self, from: &str, to: &str) {
        let mut state = self.lock();
        for claim in state.claims.values_mut().flatten().filter(|claim| claim.owner == from) {
            to.clone_into(&mut claim.owner);
        }
    }

    /// Ports of running containers that programs of this host have too: they were there when this daemon came back.
    pub fn contested(&self) -> Vec<ContestedPort> {
        let state = self.lock();
        let claims = state.claims.iter().flat_map(|(key, claims)| claims.iter().map(move |claim| (key, claim)));
        let unheld = claims.filter(|(_, claim)| claim.socket.is_none()).take(MOST_CONTESTED);
        let found = unheld.filter_map(|((protocol, number), claim)| {
            let port = Port { number: *number, protocol: *protocol };
            let other = holder::find(port);
            let is_foreign = matches!(other, PortOwner::Process { pid, .. } if pid != std::process::id());
            is_foreign.then(|| ContestedPort { port, owner: claim.owner.clone(), other })
        });
        found.collect()
    }

    /// The container that holds a port of any address.
    pub fn owner(&self, protocol: Protocol, host_port: u16) -> Option<String> {
        self.lock().claims.get(&(protocol, host_port))?.first().map(|claim| claim.owner.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Every change is complete before anything can panic.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn claim_one(&mut self, owner: &str, binding: &PortBinding) -> Result<u16, Error> {
        let protocol = binding.container.protocol;
        let (first, last) = match (binding.host_port, binding.host_port_last) {
            (Some(port), None) => {
                let socket = self.try_port(binding.host_ip, Port { number: port, protocol })?;
                self.insert(owner, binding.host_ip, protocol, port, socket);
                return Ok(port);
            }
            (Some(first), Some(last)) => (first, last),
            (None, _) => ephemeral_range(),
        };
        let automatic = binding.host_port.is_none();
        let start = self.next.filter(|next| automatic && (first..=last).contains(next)).unwrap_or(first);
        for number in (start..=last).chain(first..start) {
            match self.try_port(binding.host_ip, Port { number, protocol }) {
                Ok(socket) => {
                    self.insert(owner, binding.host_ip, protocol, number, socket);
                    if automatic {
                        self.next = number.checked_add(1);
                    }
                    return Ok(number);
                }
                Err(Error::PortTaken { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Err(Error::PortsExhausted { first, last, protocol, bind: any_address(binding.host_ip) })
    }

    /// A socket for the port, or who has it.
    fn try_port(&self, address: Option<IpAddr>, port: Port) -> Result<Option<OwnedFd>, Error> {
        let others = self.claims.get(&(port.protocol, port.number)).map_or(&[][..], Vec::as_slice);
        if let Some(other) = others.iter().find(|other| meet(other.address, address)) {
            return Err(Error::PortTaken { port, bind: any_address(address), owner: PortOwner::Container(other.owner.clone()) });
        }
        self.hold(address, port)
    }

    fn hold(&self, address: Option<IpAddr>, port: Port) -> Result<Option<OwnedFd>, Error> {
        let protocol = match port.protocol {
            Protocol::Tcp => HeldProtocol::Tcp,
            Protocol::Udp => HeldProtocol::Udp,
            Protocol::Sctp => HeldProtocol::Sctp,
        };
        let bind = any_address(address);
        let held = match address {
            Some(_) => socket::hold_port(address, port.number, protocol),
            // One socket for both families; a host without IPv6 has only the other.
            None => socket::hold_port(None, port.number, protocol).or_else(|error| match error.errno {
                Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL => socket::hold_port(Some(bind), port.number, protocol),
                _ => Err(error),
            }),
        };
        match held {
            Ok(socket) => Ok(Some(socket).filter(|_| self.held < MAX_HELD)),
            Err(error) => match error.errno {
                Errno::ADDRINUSE => Err(Error::PortTaken { port, bind, owner: holder::find(port) }),
                Errno::ADDRNOTAVAIL => Err(Error::NotOurAddress { address: bind }),
                // No such protocol in this kernel, so nobody can hold a port of it either.
                Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT => Ok(None),
                _ => Err(Error::kernel(format!("claim port {port} of {bind}"))(error)),
            },
        }
    }

    fn insert(&mut self, owner: &str, address: Option<IpAddr>, protocol: Protocol, number: u16, socket: Option<OwnedFd>) {
        self.held += usize::from(socket.is_some());
        self.claims.entry((protocol, number)).or_default().push(Claim { address, owner: owner.to_owned(), socket });
    }

    fn release_one(&mut self, owner: &str, port: &ClaimedPort) {
        let key = (port.container.protocol, port.host_port);
        let Some(claims) = self.claims.get_mut(&key) else { return };
        let ours = |claim: &Claim| claim.owner == owner && claim.address == port.host_ip;
        if let Some(position) = claims.iter().position(ours) {
            let claim = claims.remove(position);
            self.held -= usize::from(claim.socket.is_some());
        }
        if claims.is_empty() {
            self.claims.remove(&key);
        }
    }
}

/// True when one packet could be meant for both addresses.
fn meet(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (None, _) | (_, None) => true,
        (Some(one), Some(other)) => one.is_ipv6() == other.is_ipv6() && (one == other || one.is_unspecified() || other.is_unspecified()),
    }
}

fn any_address(address: Option<IpAddr>) -> IpAddr {
    address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// The host's range for automatic ports.
fn ephemeral_range() -> (u16, u16) {
    let text = shipway_sys::fd::read_host_file("/proc/sys/net/ipv4/ip_local_port_range", 64).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first <= last => (first, last),
        _ => EPHEMERAL,
    }
}
