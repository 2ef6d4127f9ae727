//! Addresses of links, and routes.
//!
//! Source: rtnetlink(7), linux/if_addr.h, linux/rtnetlink.h.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Attributes, CREATE, DUMP, EXCL, REPLACE, Request, Socket, number_of};
use crate::Error;

const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const OWN: u16 = 1;
const LOCAL: u16 = 2;
const BROADCAST: u16 = 4;
/// No duplicate address detection: the address is ours to give, and usable at once.
const NO_DETECTION: u8 = 0x02;
const DESTINATION: u16 = 1;
const OUTPUT: u16 = 4;
const GATEWAY: u16 = 5;
const TABLE: u16 = 15;
const PRIORITY: u16 = 6;
const TABLE_MAIN: u8 = 254;
const TABLE_LOCAL: u8 = 255;
const LOCAL_DELIVERY: u8 = 2;
const PROTOCOL_STATIC: u8 = 4;
const UNICAST: u8 = 1;

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub link: u32,
    pub address: IpAddr,
    pub prefix: u8,
}

/// A unicast route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The table; 254 is the main one, 255 the local one.
    pub table: u32,
    pub destination: IpAddr,
    pub prefix: u8,
    pub link: Option<u32>,
    pub gateway: Option<IpAddr>,
}

/// How patiently a link's neighbours are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighbourPatience {
    pub link: u32,
    /// Milliseconds between two questions.
    pub between_ms: u64,
    /// Questions until the neighbour counts as absent.
    pub questions: u32,
}

/// A route to add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewRoute {
    pub destination: IpAddr,
    pub prefix: u8,
    pub link: u32,
    pub via: Via,
}

/// How a route goes on from its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The destination itself is there.
    Link,
    /// Through a neighbour in one of the link's subnets.
    Neighbour(IpAddr),
    /// Through a neighbour that is there though in none of the link's subnets.
    NeighbourOnLink(IpAddr),
    /// The destination is this host, also for what comes in by the link; the higher the priority's number, the later it is asked.
    ThisHost { priority: u32 },
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv6() { libc::AF_INET6 as u8 } else { libc::AF_INET as u8 }
}

fn with_bytes<T>(address: IpAddr, take: impl FnOnce(&[u8]) -> T) -> T {
    match address {
        IpAddr::V4(address) => take(&address.octets()),
        IpAddr::V6(address) => take(&address.octets()),
    }
}

fn address_of(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(*value.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*value.first_chunk::<16>()?).into()),
        _ => None,
    }
}

impl Request {
    /// Gives a link an address; having it already is fine.
    pub fn add_address(&mut self, own: &Address) {
        self.address("add address", NEW_ADDRESS, CREATE | REPLACE, own);
    }

    /// Takes an address away.
    pub fn delete_address(&mut self, own: &Address) {
        self.address("delete address", DELETE_ADDRESS, 0, own);
    }

    fn address(&mut self, doing: &'static str, kind: u16, flags: u16, own: &Address) {
        let mut head = [family(own.address), own.prefix, NO_DETECTION, 0, 0, 0, 0, 0];
        head[4..8].copy_from_slice(&own.link.to_ne_bytes());
        self.message(doing, kind, flags, &head);
        with_bytes(own.address, |bytes| {
            self.attribute(LOCAL, bytes);
            self.attribute(OWN, bytes);
        });
        if let (IpAddr::V4(address), 0..=30) = (own.address, own.prefix) {
            let broadcast = u32::from(address) | (u32::MAX.checked_shr(u32::from(own.prefix)).unwrap_or(0));
            self.attribute(BROADCAST, &broadcast.to_be_bytes());
        }
    }

    /// Sets how neighbours are asked for, by ARP and, `v6`, by neighbour discovery.
    pub fn neighbour_patience(&mut self, v6: bool, patience: NeighbourPatience) {
        const SET_TABLE: u16 = 67;
        let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        self.message("set neighbour table", SET_TABLE, 0, &[family as u8, 0, 0, 0]);
        self.text(1, if v6 { "ndisc_cache" } else { "arp_cache" });
        self.nest(6, |parameters| {
            parameters.number(1, patience.link);
            parameters.attribute(5, &patience.between_ms.to_ne_bytes());
            parameters.number(11, patience.questions);
        });
    }

    /// Adds a static route in the main table (this host's own destinations: in the local one); one that is there already is an error.
    pub fn add_route(&mut self, route: &NewRoute) {
        self.route("add route", EXCL, route);
    }

    /// Adds a static route, instead of the one that the main table has for the destination.
    pub fn replace_route(&mut self, route: &NewRoute) {
        self.route("replace route", REPLACE, route);
    }

    fn route(&mut self, doing: &'static str, flag: u16, route: &NewRoute) {
        const SCOPE_LINK: u8 = 253;
        let scope = if route.via == Via::Link && route.destination.is_ipv4() { SCOPE_LINK } else { 0 };
        let (table, kind) = if let Via::ThisHost { .. } = route.via { (TABLE_LOCAL, LOCAL_DELIVERY) } else { (TABLE_MAIN, UNICAST) };
        let mut head = [family(route.destination), route.prefix, 0, 0, table, PROTOCOL_STATIC, scope, kind, 0, 0, 0, 0];
        if let Via::NeighbourOnLink(_) = route.via {
            const ON_LINK: u32 = 4;
            head[8..12].copy_from_slice(&ON_LINK.to_ne_bytes());
        }
        self.message(doing, NEW_ROUTE, CREATE | flag, &head);
        if route.prefix > 0 {
            with_bytes(route.destination, |bytes| self.attribute(DESTINATION, bytes));
        }
        if let Via::Neighbour(gateway) | Via::NeighbourOnLink(gateway) = route.via {
            with_bytes(gateway, |bytes| self.attribute(GATEWAY, bytes));
        }
        self.number(OUTPUT, route.link);
        if let Via::ThisHost { priority } = route.via {
            self.number(PRIORITY, priority);
        }
    }
}

impl Socket {
    /// Every address of the socket's namespace.
    pub fn addresses(&self) -> Result<Vec<Address>, Error> {
        let mut request = Request::new();
        request.message("list addresses", GET_ADDRESS, DUMP, &[0; 8]);
        let mut addresses = Vec::new();
        self.dump(request, |kind, body| {
            if let (NEW_ADDRESS, Some(head)) = (kind, body.first_chunk::<8>()) {
                let link = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
                // On a point-to-point link the own address is LOCAL; elsewhere IPv6 has only OWN.
                let find = |wanted| Attributes(&body[8..]).find(|(kind, _)| *kind == wanted).and_then(|(_, value)| address_of(value));
                addresses.extend(find(LOCAL).or_else(|| find(OWN)).map(|address| Address { link, address, prefix: head[1] }));
            }
        })?;
        Ok(addresses)
    }

    /// Every unicast route of the socket's namespace.
    pub fn routes(&self) -> Result<Vec<Route>, Error> {
        let mut request = Request::new();
        request.message("list routes", GET_ROUTE, DUMP, &[0; 12]);
        let mut routes = Vec::new();
        self.dump(request, |kind, body| {
            if kind == NEW_ROUTE {
                routes.extend(parse_route(body));
            }
        })?;
        Ok(routes)
    }
}

fn parse_route(body: &[u8]) -> Option<Route> {
    let head = body.first_chunk::<12>()?;
    let any = match i32::from(head[0]) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    if head[7] != UNICAST {
        return None;
    }
    let mut route = Route { table: u32::from(head[4]), destination: any, prefix: head[1], link: None, gateway: None };
    for (kind, value) in Attributes(&body[12..]) {
        match kind {
            DESTINATION => route.destination = address_of(value)?,
            OUTPUT => route.link = number_of(value),
            GATEWAY => route.gateway = address_of(value),
            TABLE => route.table = number_of(value)?,
            _ => {}
        }
    }
    Some(route)
}
