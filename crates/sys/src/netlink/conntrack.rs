//! Connection tracking: forgetting connections whose forwarding has changed.
//!
//! Source: linux/netfilter/nfnetlink_conntrack.h; deleting by filter needs kernel 5.8.

use std::net::IpAddr;

use super::{Request, Socket};
use crate::Error;

const DELETE: u16 = 1 << 8 | 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const FILTER: u16 = 25;
const OF_SOURCE: u32 = 1;
const OF_PROTOCOL: u32 = 1 << 3;
const OF_DESTINATION_PORT: u32 = 1 << 5;

/// struct nfgenmsg with version 1: the filter minds the family.
fn head(v6: bool) -> [u8; 4] {
    [if v6 { libc::AF_INET6 as u8 } else { libc::AF_INET as u8 }, 1, 0, 0]
}

impl Request {
    /// Forgets every connection of the transport `protocol` whose client asked for `port`.
    pub fn forget_port(&mut self, v6: bool, protocol: u8, port: u16) {
        self.message("forget connections to a port", DELETE, 0, &head(v6));
        self.nest(ORIGINAL, |tuple| {
            tuple.nest(2, |transport| {
                transport.attribute(1, &[protocol]);
                transport.attribute(3, &port.to_be_bytes());
            });
        });
        self.nest(FILTER, |filter| filter.number(1, OF_PROTOCOL | OF_DESTINATION_PORT));
    }

    /// Forgets every connection that is answered by `address`.
    pub fn forget_server(&mut self, address: IpAddr) {
        self.message("forget connections of an address", DELETE, 0, &head(address.is_ipv6()));
        self.nest(REPLY, |tuple| {
            tuple.nest(1, |ip| match address {
                IpAddr::V4(address) => ip.attribute(1, &address.octets()),
                IpAddr::V6(address) => ip.attribute(3, &address.octets()),
            });
        });
        self.nest(FILTER, |filter| filter.number(2, OF_SOURCE));
    }
}

impl Socket {
    /// Does what `request` asks of connection tracking.
    ///
    /// # Cost
    /// A walk over all tracked connections for each request in it.
    pub fn forget(&self, request: Request) -> Result<(), Error> {
        self.perform(request)
    }
}
