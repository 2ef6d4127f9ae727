//! Endpoints on the kernel's side: interfaces made inside a container's network namespace.
//!
//! What must stay true: after an error nothing is left behind; no link is deleted on the way of a start or an exit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use shipway_sys::namespace;
use shipway_sys::netlink::link::{Pair, Stacked, StackedKind};
use shipway_sys::netlink::route::{Address, NeighbourPatience, NewRoute, Via};
use shipway_sys::netlink::{Family, Request, Socket};

use crate::Error;
use crate::endpoint::{Attachment, EndpointSpec, IpvlanFlag, IpvlanMode, MacvlanMode};
use crate::segment::IsolationBetween;
use crate::subnet::Subnet;
use crate::sysctl;

/// Numbers of interfaces inside a namespace start here: below are `lo` and what some kernels put into every new namespace.
const FIRST_INDEX: u32 = 16;
const LOOPBACK: u32 = 1;
/// As long as the kernel's own patience (three seconds), but asking ten times as often: a neighbour that starts meanwhile, or whose bridge port
/// was not awake for the first question, is found at once and not a second later.
pub(crate) const PATIENCE: NeighbourPatience = NeighbourPatience { link: 0, between_ms: 100, questions: 30 };

/// Makes the pair, or the link on its parent; its inner end is down and has no address.
pub(crate) fn create(host: &Socket, netns: BorrowedFd<'_>, spec: &EndpointSpec, outer: u32, hairpin: bool) -> Result<(), Error> {
    let mut request = Request::new();
    let index = inner_index(spec);
    let mac = spec.mac.bytes();
    match &spec.attachment {
        Attachment::Bridge { host_end, between, .. } => request.create_pair(&Pair {
            name: host_end.as_str(),
            bridge: outer,
            mtu: spec.mtu,
            peer_name: spec.name.as_str(),
            peer_index: index,
            peer_mac: mac,
            namespace: netns,
            hairpin,
            isolated: *between == IsolationBetween::Closed,
        }),
        Attachment::Macvlan { mode, .. } => {
            let kind = StackedKind::Macvlan { mode: macvlan_mode(*mode) };
            request.create_stacked(&Stacked { name: spec.name.as_str(), parent: outer, kind, mtu: spec.mtu, mac, index, namespace: netns });
        }
        Attachment::Ipvlan { mode, flag, .. } => {
            let kind = StackedKind::Ipvlan { mode: ipvlan_mode(*mode), flags: ipvlan_flags(*flag) };
            request.create_stacked(&Stacked { name: spec.name.as_str(), parent: outer, kind, mtu: spec.mtu, mac, index, namespace: netns });
        }
    }
    let made = host.perform(request);
    if let (Err(_), Attachment::Bridge { host_end, .. }) = (&made, &spec.attachment) {
        // The pair may exist and only its place in the bridge be refused (a bridge has 1023). Nobody else has this name.
        let mut request = Request::new();
        request.delete_link_named(host_end.as_str());
        let _ = host.perform(request);
    }
    made.map_err(Error::kernel(format!("make interface {}", spec.name)))
}

/// Gives the inner end its addresses and routes and switches it and the loopback on.
pub(crate) fn furnish(netns: BorrowedFd<'_>, spec: &EndpointSpec) -> Result<(), Error> {
    let doing = || format!("set interface {} up", spec.name);
    let inside = namespace::visit_network(netns, || {
        // Routers' announcements are not for containers: addresses come from us (S-302, S-303).
        sysctl::write(&sysctl::of_interface(true, spec.name.as_str(), "accept_ra"), 0)?;
        if !spec.has_v6() {
            sysctl::write(&sysctl::of_interface(true, spec.name.as_str(), "disable_ipv6"), 1)?;
        }
        for setting in &spec.settings {
            sysctl::write_text(&setting.path(&spec.name), setting.value())?;
        }
        Socket::open(Family::Route)
    });
    let inside = inside.and_then(|inside| inside).map_err(Error::kernel(doing()))?;
    let mut request = Request::new();
    let link = inner_index(spec);
    request.link_up(LOOPBACK);
    for own in &spec.addresses {
        request.add_address(&Address { link, address: own.address, prefix: own.prefix });
    }
    request.link_up(link);
    request.neighbour_patience(false, NeighbourPatience { link, ..PATIENCE });
    if spec.has_v6() {
        request.neighbour_patience(true, NeighbourPatience { link, ..PATIENCE });
    }
    for gateway in &spec.gateways {
        request.add_route(&default_route(spec, *gateway));
    }
    for (subnet, gateway) in &spec.routes {
        request.add_route(&NewRoute { destination: subnet.address(), prefix: subnet.prefix(), link, via: via(spec, *gateway) });
    }
    inside.perform(request).map_err(Error::kernel(doing()))
}

/// Gives an existing interface the default routes of `spec`, whoever had them before.
pub(crate) fn take_gateways(netns: BorrowedFd<'_>, spec: &EndpointSpec) -> Result<(), Error> {
    let doing = || format!("give the default route to interface {}", spec.name);
    let inside = Socket::open_in(Family::Route, netns).map_err(Error::kernel(doing()))?;
    let mut request = Request::new();
    for gateway in &spec.gateways {
        request.replace_route(&default_route(spec, *gateway));
    }
    inside.perform(request).map_err(Error::kernel(doing()))
}

fn default_route(spec: &EndpointSpec, gateway: IpAddr) -> NewRoute {
    let any = if gateway.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let via = if gateway.is_unspecified() { Via::Link } else { via(spec, gateway) };
    NewRoute { destination: any, prefix: 0, link: inner_index(spec), via }
}

/// Removes the inner end from a live namespace, and with it the whole link; gone already is fine.
pub(crate) fn remove(netns: BorrowedFd<'_>, spec: &EndpointSpec) -> Result<(), Error> {
    let doing = || format!("remove interface {}", spec.name);
    let inside = Socket::open_in(Family::Route, netns).map_err(Error::kernel(doing()))?;
    let mut request = Request::new();
    request.delete_link_named(spec.name.as_str());
    match inside.perform(request) {
        Err(error) if error.errno != rustix::io::Errno::NODEV => Err(Error::kernel(doing())(error)),
        _ => Ok(()),
    }
}

fn inner_index(spec: &EndpointSpec) -> u32 {
    FIRST_INDEX + u32::from(spec.slot)
}

/// A gateway outside the endpoint's own subnets is still a neighbour.
fn via(spec: &EndpointSpec, gateway: IpAddr) -> Via {
    let near = spec.addresses.iter().any(|own| Subnet::around(own.address, own.prefix).contains(gateway));
    if near { Via::Neighbour(gateway) } else { Via::NeighbourOnLink(gateway) }
}

/// linux/if_link.h, MACVLAN_MODE_*.
fn macvlan_mode(mode: MacvlanMode) -> u32 {
    match mode {
        MacvlanMode::Private => 1,
        MacvlanMode::Vepa => 2,
        MacvlanMode::Bridge => 4,
        MacvlanMode::Passthru => 8,
    }
}

/// linux/if_link.h, IPVLAN_MODE_*.
fn ipvlan_mode(mode: IpvlanMode) -> u16 {
    match mode {
        IpvlanMode::L2 => 0,
        IpvlanMode::L3 => 1,
        IpvlanMode::L3s => 2,
    }
}

/// linux/if_link.h, IPVLAN_F_*.
fn ipvlan_flags(flag: IpvlanFlag) -> u16 {
    match flag {
        IpvlanFlag::Bridge => 0,
        IpvlanFlag::Private => 1,
        IpvlanFlag::Vepa => 2,
    }
}
