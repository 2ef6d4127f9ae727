//! Sockets that belong to a container's network namespace, made by the daemon.
//!
//! What must stay true: only a thread that ends right after enters the namespace; no thread of the async runtime ever does.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use shipway_sys::namespace;

use super::{ADDRESS, PORT, redirect};
use crate::{Error, Result};

/// Both sockets of a listener, not blocking.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// How often a port is chosen that turns out to be free for one protocol only.
const TRIES: usize = 8;

/// Opens both inside `netns`: on a port of chance to which port 53 is led, or on port 53 itself where the kernel has no nftables.
pub(super) fn open(netns: &OwnedFd) -> Result<Sockets> {
    let wrong = |error: io::Error| shipway_sys::Error::from_io(format!("bind({ADDRESS})"), &error);
    let open = || {
        let chosen = (0..TRIES).find_map(|_| open_here(SocketAddr::from((ADDRESS, 0))).ok());
        let led = |sockets: &Sockets| sockets.udp.local_addr().is_ok_and(|address| redirect::install(address.port()).is_ok());
        match chosen.filter(led) {
            Some(sockets) => Ok(sockets),
            None => open_here(SocketAddr::from((ADDRESS, PORT))),
        }
    };
    within(netns, open).map_err(|error| Error::kernel("hear the questions of a container")(wrong(error)))
}

/// The same in the namespace of the caller.
pub(super) fn open_here(address: SocketAddr) -> io::Result<Sockets> {
    let udp = UdpSocket::bind(address)?;
    let tcp = TcpListener::bind(udp.local_addr()?)?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok(Sockets { udp, tcp })
}

/// A UDP socket inside `netns` that talks to `server` only, not blocking.
pub(super) fn connected_udp(netns: Option<&OwnedFd>, server: SocketAddr) -> io::Result<UdpSocket> {
    let connect = || {
        let any =
            if server.is_ipv4() { SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)) } else { SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)) };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    match netns {
        Some(netns) => within(netns, connect),
        None => connect(),
    }
}

/// A TCP socket inside `netns`, not connected and not blocking.
pub(super) fn tcp_socket(netns: Option<&OwnedFd>, server: SocketAddr) -> io::Result<std::net::TcpStream> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let open = || Ok(rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?.into());
    match netns {
        Some(netns) => within(netns, open),
        None => open(),
    }
}

/// Runs `work` on a thread of its own that stands in `netns`.
fn within<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("in-netns".to_owned()).spawn_scoped(scope, || {
            namespace::enter(netns.as_fd(), namespace::NETWORK)?;
            work()
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread in a network namespace panicked")))
    })
}
