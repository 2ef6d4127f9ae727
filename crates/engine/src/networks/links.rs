//! `--link` on the default bridge: lines of /etc/hosts, as before there were names in networks.

use std::net::IpAddr;

use crate::containers::ContainerRecord;
use crate::{Engine, Error, Result};

impl Engine {
    /// The addresses and names of the containers that `record` is linked to on the default bridge.
    ///
    /// # Errors
    /// `Conflict` when one of them does not run.
    pub(crate) fn legacy_links(&self, record: &ContainerRecord) -> Result<Vec<(IpAddr, Vec<String>)>> {
        let on_default = record.endpoints.first().is_some_and(|endpoint| endpoint.wish.network == super::BRIDGE);
        if !on_default {
            return Ok(Vec::new());
        }
        record.spec.host.links.iter().map(|text| self.legacy_link(text)).collect()
    }

    fn legacy_link(&self, text: &str) -> Result<(IpAddr, Vec<String>)> {
        let (target, alias) = split(text)?;
        let other = self.container(target)?.record();
        let endpoint = other.endpoints.iter().find(|endpoint| endpoint.wish.network == super::BRIDGE);
        let address = endpoint.and_then(|endpoint| endpoint.attached.as_ref()).and_then(|attached| attached.ipv4).map(|own| own.address);
        let Some(address) = address else {
            return Err(Error::Conflict {
                reason: format!("Cannot link to a non running container: /{} AS {alias}", other.name),
                hint: Some(format!("start it first: shipway start {}", other.name)),
            });
        };
        let mut names = vec![alias.to_owned()];
        for name in [other.process.hostname.clone(), other.name.to_string()] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok((address.into(), names))
    }
}

/// `container:alias`, or a container that keeps its name.
pub(super) fn split(text: &str) -> Result<(&str, &str)> {
    let (target, alias) = text.split_once(':').unwrap_or((text, text.trim_start_matches('/')));
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    let bad = target.is_empty() || alias.contains(':') || !super::wishes::is_alias(alias);
    if bad { Err(Error::invalid(format!("bad format for links: {text}"))) } else { Ok((target, alias)) }
}

/// Refuses what is no `--link`.
pub(crate) fn check_link(text: &str) -> Result<()> {
    split(text).map(drop)
}
