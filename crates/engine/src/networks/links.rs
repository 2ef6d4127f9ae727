//! `--link` on the default bridge: lines of /etc/hosts and variables, as before there were names in networks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use shipway_model::{ContainerId, Port};

use crate::containers::{ContainerRecord, CreateSpec, NetworkMode};
use crate::{Engine, Error, Result, blocking};

/// A link with the container it leads to.
struct LegacyLink {
    alias: String,
    target: ContainerRecord,
}

impl LegacyLink {
    /// The address of the target on the default bridge, while it runs.
    fn address(&self) -> Option<IpAddr> {
        let endpoint = self.target.endpoints.iter().find(|endpoint| endpoint.wish.network == super::BRIDGE)?;
        endpoint.attached.as_ref()?.ipv4.map(|own| own.address.into())
    }

    fn names(&self) -> Vec<String> {
        let mut names = vec![self.alias.clone()];
        for name in [self.target.process.hostname.clone(), self.target.name.to_string()] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

impl Engine {
    /// Refuses a creation whose links lead nowhere.
    ///
    /// # Errors
    /// `Invalid`: an answer that something is missing would have clients fetch the image.
    pub(crate) fn check_link_targets(&self, spec: &CreateSpec) -> Result<()> {
        let host = &spec.host;
        let on_default = self.network_of_mode(&host.network) == Some(super::BRIDGE);
        for text in host.links.iter().filter(|_| on_default) {
            let (target, _) = split(text)?;
            let other = self.container(target);
            let other = other.map_err(|error| Error::invalid(format!("could not get container for {target}: {error}")))?;
            if other.record().spec.host.network == NetworkMode::Host {
                return Err(Error::invalid(
                    "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
                ));
            }
        }
        Ok(())
    }

    /// Refuses a start whose links lead to what does not run on the default bridge.
    ///
    /// # Errors
    /// `Conflict` names the other; `NoSuchContainer` when it was removed.
    pub(crate) fn check_legacy_links(&self, record: &ContainerRecord) -> Result<()> {
        for text in texts(record) {
            let (target, alias) = split(text)?;
            let link = LegacyLink { alias: alias.to_owned(), target: self.container(target)?.record() };
            let name = &link.target.name;
            if !link.target.state.is_alive() {
                return Err(Error::Conflict {
                    reason: format!("Cannot link to a non running container: /{name} AS /{}/{alias}", record.name),
                    hint: Some(format!("start it first: shipway start {name}")),
                });
            }
            if link.address().is_none() {
                return Err(Error::Conflict {
                    reason: format!("Cannot link to /{name}, as it does not belong to the default network"),
                    hint: Some("in networks of their own containers find each other by name, without a link".to_owned()),
                });
            }
        }
        Ok(())
    }

    /// The addresses and names of the containers that `record` is linked to on the default bridge, those that run.
    pub(crate) fn legacy_links(&self, record: &ContainerRecord) -> Vec<(IpAddr, Vec<String>)> {
        self.links_of(record).iter().filter_map(|link| Some((link.address()?, link.names()))).collect()
    }

    /// The variables by which a container learns of those it is linked to on the default bridge.
    pub(crate) fn legacy_environment(&self, record: &ContainerRecord) -> Vec<String> {
        let links = self.links_of(record);
        links.iter().flat_map(|link| link.address().map(|address| variables(record, link, address)).unwrap_or_default()).collect()
    }

    /// Tells containers that are linked to one that has just started where it is now. Blocks.
    pub(crate) fn tell_linked(&self, started: &ContainerRecord) {
        for container in self.inner.containers.all() {
            if !container.with_record(|other| other.state.is_alive() && texts(other).next().is_some()) {
                continue;
            }
            let other = container.record();
            if self.links_of(&other).iter().any(|link| link.target.id == started.id) {
                self.follow_in_files(&other, &other);
            }
        }
    }

    /// Takes the link `text`, which is `container/alias`, away. The container keeps what it was told at its start in its environment; its /etc/hosts
    /// follows at once.
    ///
    /// # Errors
    /// `Conflict` for a container's own name; `NoSuchContainer` where there is no such link, in a network with names too.
    ///
    /// # Durability
    /// When this answers, the link stays away.
    pub(crate) async fn remove_link(&self, text: &str) -> Result<()> {
        let Some((name, alias)) = text.trim_start_matches('/').split_once('/') else {
            self.container(text)?;
            return Err(Error::Conflict {
                reason: "Conflict, cannot remove the default link name of the container".to_owned(),
                hint: Some(format!("a link is named by both of its ends: shipway rm --link {text}/ALIAS")),
            });
        };
        let missing = |hint: Option<String>| Error::NoSuchContainer { name: text.to_owned(), hint };
        let container = self.container(name).map_err(|_| missing(None))?;
        let _turn = container.turn.lock().await;
        let before = container.record();
        let is_it = |link: &&String| split(link).is_ok_and(|(_, own)| own == alias);
        let Some(gone) = texts(&before).find(is_it).cloned() else {
            let known: Vec<String> = texts(&before).filter_map(|link| Some(format!("{}/{}", before.name, split(link).ok()?.1))).collect();
            return Err(missing((!known.is_empty()).then(|| format!("the links of {} are {}", before.name, known.join(", ")))));
        };
        let record = container.change(|record| record.spec.host.links.retain(|link| *link != gone));
        if let Err(error) = self.save(&container).await {
            container.change(|record| record.spec.host.links.clone_from(&before.spec.host.links));
            return Err(error);
        }
        if record.state.is_alive() {
            let engine = self.clone();
            blocking::files(move || {
                engine.follow_in_files(&before, &record);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// By container, the names that others have for it: `/other/alias`.
    pub fn names_by_links(&self) -> BTreeMap<ContainerId, Vec<String>> {
        let mut names: BTreeMap<ContainerId, Vec<String>> = BTreeMap::new();
        for container in self.inner.containers.all() {
            if container.with_record(|record| texts(record).next().is_none()) {
                continue;
            }
            let record = container.record();
            for link in self.links_of(&record) {
                names.entry(link.target.id).or_default().push(format!("/{}/{}", record.name, link.alias));
            }
        }
        names.values_mut().for_each(|names| names.sort_unstable());
        names
    }

    fn links_of(&self, record: &ContainerRecord) -> Vec<LegacyLink> {
        let link = |text: &String| {
            let (target, alias) = split(text).ok()?;
            let target = self.container(target).ok()?.record();
            Some(LegacyLink { alias: alias.to_owned(), target })
        };
        texts(record).filter_map(link).collect()
    }
}

/// The links of a container on the default bridge, as inspect names them: `/target:/name/alias`.
pub fn legacy_link_names(record: &ContainerRecord) -> Vec<String> {
    let links = texts(record).filter_map(|text| split(text).ok());
    links.map(|(target, alias)| format!("/{}:/{}/{alias}", target.trim_start_matches('/'), record.name)).collect()
}

/// The links of a container whose first network is the default bridge, as typed.
fn texts(record: &ContainerRecord) -> impl Iterator<Item = &String> {
    let on_default = record.endpoints.first().is_some_and(|endpoint| endpoint.wish.network == super::BRIDGE);
    record.spec.host.links.iter().filter(move |_| on_default)
}

/// Docker's variables of one link.
fn variables(record: &ContainerRecord, link: &LegacyLink, address: IpAddr) -> Vec<String> {
    let alias = link.alias.to_uppercase().replace('-', "_");
    let ports: BTreeSet<Port> = link
        .target
        .process
        .exposed_ports
        .iter()
        .copied()
        .chain(link.target.spec.host.publish.iter().map(|binding| binding.container))
        .collect();
    let mut ports: Vec<Port> = ports.into_iter().collect();
    ports.sort_by_key(|port| (port.number, port.protocol));
    let place = |port: &Port| format!("{}://{address}:{}", port.protocol, port.number);
    let mut lines = vec![format!("NAME=/{}/{}", record.name, link.alias)];
    lines.extend(ports.first().map(|first| format!("PORT={}", place(first))));
    for port in &ports {
        let head = format!("PORT_{}_{}", port.number, port.protocol.to_string().to_uppercase());
        lines.push(format!("{head}={}", place(port)));
        lines.push(format!("{head}_ADDR={address}"));
        lines.push(format!("{head}_PORT={}", port.number));
        lines.push(format!("{head}_PROTO={}", port.protocol));
    }
    for run in runs(&ports) {
        let (first, last) = run;
        let head = format!("PORT_{}_{}", first.number, first.protocol.to_string().to_uppercase());
        lines.push(format!("{head}_START={}", place(&first)));
        lines.push(format!("{head}_PORT_START={}", first.number));
        lines.push(format!("{head}_END={}", place(&last)));
        lines.push(format!("{head}_PORT_END={}", last.number));
    }
    // What every container has of its own says nothing about the other.
    let own = |entry: &&String| !matches!(entry.split('=').next(), Some("HOME" | "PATH"));
    lines.extend(link.target.process.env.iter().filter(|entry| entry.contains('=')).filter(own).map(|entry| format!("ENV_{entry}")));
    lines.into_iter().map(|line| format!("{alias}_{line}")).collect()
}

/// First and last of every row of at least three neighbouring ports of one protocol.
fn runs(ports: &[Port]) -> Vec<(Port, Port)> {
    let mut by_protocol: Vec<Port> = ports.to_vec();
    by_protocol.sort_by_key(|port| (port.protocol, port.number));
    let neighbours = |one: &Port, other: &Port| one.protocol == other.protocol && one.number.checked_add(1) == Some(other.number);
    let rows = by_protocol.chunk_by(neighbours).filter(|row| row.len() >= 3);
    rows.filter_map(|row| Some((*row.first()?, *row.last()?))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_ports_are_told_from_three_on() {
        let port = |text: &str| text.parse::<Port>().unwrap();
        let row = |texts: &[&str]| runs(&texts.iter().map(|text| port(text)).collect::<Vec<_>>());
        assert_eq!(row(&["80/tcp", "6000/tcp", "6001/tcp"]), []);
        assert_eq!(row(&["6000/tcp", "6001/udp", "6002/tcp"]), []);
        assert_eq!(row(&["53/udp", "6000/tcp", "6001/tcp", "6002/tcp"]), [(port("6000/tcp"), port("6002/tcp"))]);
    }
}
