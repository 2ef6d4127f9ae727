//! Links: bridges, pairs, macvlan and ipvlan, their settings, and the list of them.
//!
//! Source: rtnetlink(7), linux/if_link.h.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::{ACK, Attributes, CREATE, DUMP, EXCL, Request, Socket, attribute, number_of, text_of};
use crate::Error;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const LINK: u16 = 5;
const MASTER: u16 = 10;
const INFO: u16 = 18;
const ALIAS: u16 = 20;
const AF_SPEC: u16 = 26;
const NAMESPACE_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const PEER: u16 = 1;
const PORT_HAIRPIN: u16 = 4;
const PORT_ISOLATED: u16 = 33;
const V6_ADDRESS_MODE: u16 = 8;
const V6_ADDRESS_NONE: u8 = 1;
const UP: u32 = libc::IFF_UP as u32;

/// A link as the kernel lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// "bridge", "veth", ...; empty for hardware.
    pub kind: String,
    pub alias: String,
    pub master: Option<u32>,
    pub mtu: u32,
    pub up: bool,
    pub mac: Option<[u8; 6]>,
}

/// A pair whose one end is a port of a bridge here and whose other end is born inside a namespace.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    pub name: &'a str,
    /// The bridge's number.
    pub bridge: u32,
    pub mtu: u32,
    pub peer_name: &'a str,
    /// The number the other end gets inside; 0 lets the kernel choose.
    pub peer_index: u32,
    pub peer_mac: [u8; 6],
    pub namespace: BorrowedFd<'a>,
    /// Frames may leave by the port they came from.
    pub hairpin: bool,
    /// No frames between this port and others like it.
    pub isolated: bool,
}

/// A link on top of one of the host's, born inside a namespace.
#[derive(Debug, Clone, Copy)]
pub struct Stacked<'a> {
    pub name: &'a str,
    pub parent: u32,
    pub kind: StackedKind,
    pub mtu: u32,
    pub mac: [u8; 6],
    pub index: u32,
    pub namespace: BorrowedFd<'a>,
}

/// The modes of linux/if_link.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackedKind {
    Macvlan { mode: u32 },
    Ipvlan { mode: u16, flags: u16 },
}

/// struct ifinfomsg.
fn head(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

impl Request {
    /// Makes a bridge, down and without ports.
    pub fn create_bridge(&mut self, name: &str, mac: [u8; 6]) {
        self.message("create bridge", NEW_LINK, CREATE | EXCL, &head(0, 0, 0));
        self.text(NAME, name);
        self.attribute(ADDRESS, &mac);
        self.nest(INFO, |info| info.text(INFO_KIND, "bridge"));
    }

    /// Makes a pair: this end a port of the bridge and up, without IPv6 of its own; the other end down.
    ///
    /// The inner end is the one asked for and the outer one its peer: only so does the kernel take a number for the inner one.
    pub fn create_pair(&mut self, pair: &Pair<'_>) {
        self.message("create veth pair", NEW_LINK, CREATE | EXCL, &head(pair.peer_index, 0, 0));
        self.text(NAME, pair.peer_name);
        self.attribute(ADDRESS, &pair.peer_mac);
        self.mtu(pair.mtu);
        self.number(NAMESPACE_FD, pair.namespace.as_raw_fd() as u32);
        self.nest(INFO, |info| {
            info.text(INFO_KIND, "veth");
            info.nest(INFO_DATA, |data| {
                data.nest(PEER, |peer| {
                    peer.raw(&head(0, 0, 0));
                    peer.text(NAME, pair.name);
                    peer.mtu(pair.mtu);
                });
            });
        });
        // In this order: an end that is up already keeps the address it gave itself; settings of a port need the port.
        self.message("make veth a port of its bridge", NEW_LINK, 0, &head(0, 0, 0));
        self.text(NAME, pair.name);
        self.number(MASTER, pair.bridge);
        self.nest(AF_SPEC, |families| {
            families.nest(libc::AF_INET6 as u16, |v6| v6.attribute(V6_ADDRESS_MODE, &[V6_ADDRESS_NONE]));
        });
        self.message("switch veth on", NEW_LINK, 0, &head(0, UP, UP));
        self.text(NAME, pair.name);
        if pair.hairpin || pair.isolated {
            self.nest(INFO, |info| {
                info.text(INFO_SLAVE_KIND, "bridge");
                info.nest(INFO_SLAVE_DATA, |port| {
                    port.attribute(PORT_HAIRPIN, &[u8::from(pair.hairpin)]);
                    port.attribute(PORT_ISOLATED, &[u8::from(pair.isolated)]);
                });
            });
        }
    }

    /// Bytes of the longest packet; 0 leaves the kernel's choice.
    fn mtu(&mut self, bytes: u32) {
        if bytes != 0 {
            self.number(MTU, bytes);
        }
    }

    /// Makes a macvlan or ipvlan inside a namespace, down.
    pub fn create_stacked(&mut self, stacked: &Stacked<'_>) {
        self.message("create link on its parent", NEW_LINK, CREATE | EXCL, &head(stacked.index, 0, 0));
        self.text(NAME, stacked.name);
        self.number(LINK, stacked.parent);
        self.mtu(stacked.mtu);
        self.number(NAMESPACE_FD, stacked.namespace.as_raw_fd() as u32);
        match stacked.kind {
            StackedKind::Macvlan { mode } => {
                self.attribute(ADDRESS, &stacked.mac);
                self.nest(INFO, |info| {
                    info.text(INFO_KIND, "macvlan");
                    info.nest(INFO_DATA, |data| data.number(1, mode));
                });
            }
            StackedKind::Ipvlan { mode, flags } => self.nest(INFO, |info| {
                info.text(INFO_KIND, "ipvlan");
                info.nest(INFO_DATA, |data| {
                    data.attribute(1, &mode.to_ne_bytes());
                    if flags != 0 {
                        data.attribute(2, &flags.to_ne_bytes());
                    }
                });
            }),
        }
    }

    /// Makes VLAN `id` (IEEE 802.1Q) of the link with the number `on`, down.
    pub fn create_vlan(&mut self, name: &str, on: u32, id: u16) {
        self.message("create VLAN", NEW_LINK, CREATE | EXCL, &head(0, 0, 0));
        self.text(NAME, name);
        self.number(LINK, on);
        self.nest(INFO, |info| {
            info.text(INFO_KIND, "vlan");
            info.nest(INFO_DATA, |data| data.attribute(1, &id.to_ne_bytes()));
        });
    }

    /// Makes a pair whose both ends are here, down, and in no bridge.
    pub fn create_loose_pair(&mut self, name: &str, far_end: &str) {
        self.message("create veth pair", NEW_LINK, CREATE | EXCL, &head(0, 0, 0));
        self.text(NAME, name);
        self.nest(INFO, |info| {
            info.text(INFO_KIND, "veth");
            info.nest(INFO_DATA, |data| {
                data.nest(PEER, |peer| {
                    peer.raw(&head(0, 0, 0));
                    peer.text(NAME, far_end);
                });
            });
        });
    }

    /// Switches a link on.
    pub fn link_up(&mut self, index: u32) {
        self.message("switch link on", NEW_LINK, 0, &head(index, UP, UP));
    }

    /// Sets the longest packet.
    pub fn link_mtu(&mut self, index: u32, mtu: u32) {
        self.message("set the mtu", NEW_LINK, 0, &head(index, 0, 0));
        self.number(MTU, mtu);
    }

    /// Sets the text that `ip link` shows as alias.
    pub fn link_alias(&mut self, index: u32, alias: &str) {
        self.message("set the alias", NEW_LINK, 0, &head(index, 0, 0));
        self.attribute(ALIAS, alias.as_bytes());
    }

    /// Removes a link. Waits for an RCU grace period: 16-20 ms.
    pub fn delete_link(&mut self, index: u32) {
        self.message("delete link", DELETE_LINK, 0, &head(index, 0, 0));
    }

    /// As `delete_link`, by name.
    pub fn delete_link_named(&mut self, name: &str) {
        self.message("delete link", DELETE_LINK, 0, &head(0, 0, 0));
        self.text(NAME, name);
    }
}

impl Socket {
    /// Every link of the socket's namespace.
    pub fn links(&self) -> Result<Vec<Link>, Error> {
        let mut request = Request::new();
        request.message("list links", GET_LINK, DUMP, &head(0, 0, 0));
        let mut links = Vec::new();
        self.dump(request, |kind, body| {
            if kind == NEW_LINK {
                links.extend(parse(body));
            }
        })?;
        Ok(links)
    }

    /// The link of that name.
    pub fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        let mut request = Request::new();
        request.message("look up link", GET_LINK, ACK, &head(0, 0, 0));
        request.text(NAME, name);
        let mut found = None;
        match self.ask(request, |kind, body| {
            if kind == NEW_LINK {
                found = parse(body);
            }
        }) {
            Err(error) if error.errno == rustix::io::Errno::NODEV => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(found),
        }
    }

    /// One question with one answer, then its acknowledgement.
    fn ask(&self, request: Request, take: impl FnMut(u16, &[u8])) -> Result<(), Error> {
        self.dump(request, take)
    }
}

fn parse(body: &[u8]) -> Option<Link> {
    let head = body.first_chunk::<16>()?;
    let mut link = Link {
        index: u32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
        up: u32::from_ne_bytes([head[8], head[9], head[10], head[11]]) & UP != 0,
        ..Link::default()
    };
    for (kind, value) in Attributes(&body[16..]) {
        match kind {
            NAME => link.name = text_of(value),
            ALIAS => link.alias = text_of(value),
            MTU => link.mtu = number_of(value).unwrap_or(0),
            MASTER => link.master = number_of(value),
            ADDRESS => link.mac = value.try_into().ok(),
            INFO => link.kind = attribute(value, INFO_KIND).map(text_of).unwrap_or_default(),
            _ => {}
        }
    }
    Some(link)
}
