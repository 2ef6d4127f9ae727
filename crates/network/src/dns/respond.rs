//! What a question gets: an answer from the zones, a no, or its way outside.
//!
//! What must stay true: names of the container's own networks never leave the machine, whatever record is asked for; of other networks nothing is told.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::DNSClass;

use super::question::Question;
use super::zone::{Addresses, Zones};
use super::{Outside, View, answer};

/// What to do with a question.
#[derive(Debug)]
pub(super) enum Decision {
    /// Say this.
    Answer(Message),
    /// Ask the servers of the view.
    Forward,
}

/// Decides by zones and view alone; no clock, no socket.
pub(super) fn decide(zones: &Zones, view: &View, question: &Question) -> Decision {
    if question.query.query_class() == DNSClass::IN {
        if let Some(found) = question.name().and_then(|name| find(zones, view, &name)) {
            return Decision::Answer(answer::addresses(question, &found));
        }
        if let Some(address) = question.reverse_address()
            && let Some(name) = view.networks.iter().find_map(|network| zones.name_of(*network, address))
        {
            return Decision::Answer(answer::owner(question, &name));
        }
    }
    match &view.outside {
        // "No such name" and not "try later": askers that are told to try later do so for many seconds.
        Outside::Nowhere => Decision::Answer(answer::code(question, ResponseCode::NXDomain)),
        Outside::Servers(servers) if servers.is_empty() => Decision::Answer(answer::code(question, ResponseCode::NXDomain)),
        Outside::Host | Outside::Servers(_) => Decision::Forward,
    }
}

/// Links first: they are the container's own words.
fn find(zones: &Zones, view: &View, name: &str) -> Option<Addresses> {
    let linked = view.links.iter().filter(|link| is_link(zones, link, name));
    let linked = linked.filter_map(|link| zones.addresses(link.network, &link.target.to_ascii_lowercase())).next();
    linked.or_else(|| view.networks.iter().find_map(|network| zones.addresses(*network, name)))
}

fn is_link(zones: &Zones, link: &super::Link, name: &str) -> bool {
    let alias = link.alias.to_ascii_lowercase();
    if name == alias {
        return true;
    }
    let network = zones.network_name(link.network).unwrap_or_default();
    name.strip_prefix(alias.as_str()).and_then(|rest| rest.strip_prefix('.')) == Some(network)
}
