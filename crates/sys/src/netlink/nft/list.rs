//! What others have in nftables: their base chains and policies, for telling people what decides about their packets.

use super::super::{DUMP, Request, Socket, attribute, text_of};
use super::{GET_CHAIN, Hook, NEW_CHAIN, big_of, head};
use crate::Error;

/// A base chain of any table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    /// "ip", "ip6", "inet" or a number.
    pub family: String,
    pub table: String,
    pub chain: String,
    /// "filter", "nat" or "route".
    pub kind: String,
    pub hook: Hook,
    pub priority: i32,
    /// True when packets that no rule decides are dropped.
    pub drops: bool,
}

impl Socket {
    /// The base chains of all tables for IPv4, IPv6 or both. Rules of the older iptables-legacy are not among them.
    pub fn base_chains(&self) -> Result<Vec<BaseChain>, Error> {
        let mut request = Request::new();
        request.message("list chains", GET_CHAIN, DUMP, &head(0, 0));
        let mut chains = Vec::new();
        self.dump(request, |kind, body| {
            if kind == NEW_CHAIN {
                chains.extend(parse(body));
            }
        })?;
        Ok(chains)
    }
}

fn parse(body: &[u8]) -> Option<BaseChain> {
    let family = match body.first()? {
        1 => "inet".to_owned(),
        2 => "ip".to_owned(),
        10 => "ip6".to_owned(),
        _ => return None,
    };
    let rest = body.get(4..)?;
    let hook = attribute(rest, 4)?;
    let number = attribute(hook, 1).and_then(big_of)?;
    let place = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting]
        .into_iter()
        .find(|place| place.number() == number)?;
    Some(BaseChain {
        family,
        table: text_of(attribute(rest, 1)?),
        chain: text_of(attribute(rest, 3)?),
        kind: attribute(rest, 7).map(text_of).unwrap_or_default(),
        hook: place,
        priority: attribute(hook, 2).and_then(big_of).unwrap_or(0) as i32,
        drops: attribute(rest, 5).and_then(big_of) == Some(0),
    })
}
