//! Segments on the kernel's side: the bridge, its addresses and settings.

use std::net::Ipv6Addr;

use shipway_sys::netlink::link::Link;
use shipway_sys::netlink::route::{Address, NeighbourPatience, NewRoute, Via};
use shipway_sys::netlink::{Request, Socket};

use crate::Error;
use crate::naming::Naming;
use crate::segment::Segment;
use crate::{sysctl, wire};

/// Makes or repairs the bridge; answers its number.
///
/// A bridge that somebody else made under the name people chose is used as it is, but for the addresses it lacks; it will never be deleted.
pub(crate) fn apply(socket: &Socket, naming: &Naming, segment: &Segment) -> Result<u32, Error> {
    let name = segment.bridge.as_str();
    let doing = || format!("set up bridge {name}");
    let kernel = || Error::kernel(doing());
    let found = match socket.link(name).map_err(kernel())? {
        Some(link) => link,
        None => create(socket, naming, segment)?,
    };
    if found.kind != "bridge" {
        return Err(Error::Unsupported { doing: doing(), reason: "an interface of that name exists and is no bridge".to_owned() });
    }
    let ours = is_ours(naming, &found);
    if ours {
        settings(segment).map_err(kernel())?;
    }
    let has: Vec<Address> = socket.addresses().map_err(kernel())?.into_iter().filter(|own| own.link == found.index).collect();
    let wants: Vec<Address> =
        segment.addresses.iter().map(|own| Address { link: found.index, address: own.address, prefix: own.prefix }).collect();
    let mut request = Request::new();
    for stray in has.iter().filter(|own| ours && !wants.contains(own) && !is_link_local(own)) {
        request.delete_address(stray);
    }
    for missing in wants.iter().filter(|own| !has.contains(own)) {
        request.add_address(missing);
    }
    if ours && segment.mtu != 0 && segment.mtu != found.mtu {
        request.link_mtu(found.index, segment.mtu);
    }
    if !found.up {
        request.link_up(found.index);
    }
    if ours {
        request.neighbour_patience(false, NeighbourPatience { link: found.index, ..wire::PATIENCE });
        if segment.has_v6() {
            request.neighbour_patience(true, NeighbourPatience { link: found.index, ..wire::PATIENCE });
        }
    }
    socket.perform(request).map_err(kernel())?;
    if ours && segment.has_v6() && !segment.internal {
        answers_to_loopback(socket, found.index).map_err(kernel())?;
    }
    Ok(found.index)
}

/// Lets the answer to what the host asked at `[::1]:port`, and the firewall forwarded, come back in by the bridge.
///
/// IPv6 has no `route_localnet`: it looks for ::1 among the routes of the interface where the packet came in. This one is asked after the loopback's
/// own and opens nothing: the kernel drops packets that have ::1 on the wire before any route is asked (ip6_input.c, RFC 4291 2.5.3). For the same
/// reason it does not help where `br_netfilter` translates the answer back before that look.
fn answers_to_loopback(socket: &Socket, bridge: u32) -> Result<(), shipway_sys::Error> {
    const AFTER_ALL_OTHERS: u32 = 1 << 20;
    let mut request = Request::new();
    let via = Via::ThisHost { priority: AFTER_ALL_OTHERS + bridge };
    request.add_route(&NewRoute { destination: Ipv6Addr::LOCALHOST.into(), prefix: 128, link: bridge, via });
    match socket.perform(request) {
        Err(error) if error.errno != rustix::io::Errno::EXIST => Err(error),
        _ => Ok(()),
    }
}

/// Removes the bridge if it is ours; gone already is fine.
pub(crate) fn withdraw(socket: &Socket, naming: &Naming, segment: &Segment) -> Result<(), Error> {
    let kernel = || Error::kernel(format!("remove bridge {}", segment.bridge));
    let Some(found) = socket.link(segment.bridge.as_str()).map_err(kernel())?.filter(|link| is_ours(naming, link)) else { return Ok(()) };
    let mut request = Request::new();
    request.delete_link(found.index);
    match socket.perform(request) {
        Err(error) if error.errno != rustix::io::Errno::NODEV => Err(kernel()(error)),
        _ => Ok(()),
    }
}

/// True for a bridge that this daemon made, whatever name people chose for it.
pub(crate) fn is_ours(naming: &Naming, link: &Link) -> bool {
    link.kind == "bridge" && (naming.owns(&link.name) || link.alias.starts_with(&naming.alias("")))
}

fn create(socket: &Socket, naming: &Naming, segment: &Segment) -> Result<Link, Error> {
    let name = segment.bridge.as_str();
    let kernel = || Error::kernel(format!("make bridge {name}"));
    let mut request = Request::new();
    request.create_bridge(name, segment.mac().bytes());
    socket.perform(request).map_err(kernel())?;
    let gone = || Error::Unsupported { doing: format!("make bridge {name}"), reason: "somebody removed it at once".to_owned() };
    let mut made = socket.link(name).map_err(kernel())?.ok_or_else(gone)?;
    let mut request = Request::new();
    made.alias = naming.alias(&segment.network.short());
    request.link_alias(made.index, &made.alias);
    socket.perform(request).map_err(kernel())?;
    Ok(made)
}

/// What an interface that only containers are behind must and must not do (S-302, S-303, S-306).
fn settings(segment: &Segment) -> Result<(), shipway_sys::Error> {
    let name = segment.bridge.as_str();
    let v4 = |setting| sysctl::of_interface(false, name, setting);
    let v6 = |setting| sysctl::of_interface(true, name, setting);
    // Lets the host reach 127.0.0.1:port through the bridge; the firewall keeps containers away from 127.0.0.0/8.
    sysctl::ensure(&v4("route_localnet"), i64::from(!segment.internal))?;
    sysctl::ensure(&v6("accept_ra"), 0)?;
    sysctl::ensure(&v6("autoconf"), 0)?;
    sysctl::ensure(&v6("disable_ipv6"), i64::from(!segment.has_v6()))
}

fn is_link_local(own: &Address) -> bool {
    matches!(own.address, std::net::IpAddr::V6(address) if address.segments()[0] & 0xffc0 == 0xfe80)
}
