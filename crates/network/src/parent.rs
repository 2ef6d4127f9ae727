//! The interfaces of the host that macvlan and ipvlan networks are on: found, or made where people asked for one that does not exist.
//!
//! What must stay true: only interfaces made here are ever removed; the alias tells.

use shipway_sys::netlink::link::Link;
use shipway_sys::netlink::{Request, Socket};

use crate::host::{Host, lock};
use crate::naming::{InterfaceName, Naming};
use crate::{Error, sysctl};

/// Numbers of VLANs (IEEE 802.1Q: 0 and 4095 are reserved).
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;

/// The interface that a network is on, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    /// One of the host's.
    Interface(InterfaceName),
    /// A VLAN of one of the host's, `eth0.50`: used where it exists, made where it does not.
    Vlan { name: InterfaceName, on: InterfaceName, id: u16 },
    /// The network's own, which leads nowhere: its containers reach each other alone.
    Own { name: InterfaceName, far_end: InterfaceName },
}

impl Parent {
    /// What `-o parent=TEXT` means: with a dot it may be a VLAN.
    ///
    /// # Errors
    /// `InterfaceName`; `Vlan` for a number that none has.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let name: InterfaceName = text.parse()?;
        let Some((on, number)) = text.rsplit_once('.') else { return Ok(Self::Interface(name)) };
        let wrong = |reason: String| Error::Vlan { reason };
        let id: u16 =
            number.parse().map_err(|_| wrong(format!("unable to parse a valid vlan id from: {number} (ex. eth0.10 for vlan 10)")))?;
        if !VLANS.contains(&id) {
            return Err(wrong(format!("vlan id must be between 1-4094, received: {id}")));
        }
        Ok(Self::Vlan { on: on.parse()?, id, name })
    }

    /// The interface's name.
    pub fn name(&self) -> &InterfaceName {
        match self {
            Self::Interface(name) | Self::Vlan { name, .. } | Self::Own { name, .. } => name,
        }
    }
}

impl Host {
    /// Sees to it that the interface is there and, where this daemon made it, up. Twice is fine. True when it was made now.
    ///
    /// # Errors
    /// `NoInterface`; `Unsupported` by a kernel without VLANs.
    pub fn apply_parent(&self, parent: &Parent) -> Result<bool, Error> {
        let inner = &self.inner;
        let socket = lock(&inner.links);
        apply(&socket, &inner.naming, parent)
    }

    /// Removes the interface if this daemon made it; gone already is fine.
    pub fn withdraw_parent(&self, parent: &Parent) -> Result<(), Error> {
        let inner = &self.inner;
        self.forget(parent.name());
        let socket = lock(&inner.links);
        let kernel = || Error::kernel(format!("remove interface {}", parent.name()));
        let Some(found) = socket.link(parent.name().as_str()).map_err(kernel())? else { return Ok(()) };
        if !is_ours(&inner.naming, &found) {
            return Ok(());
        }
        let mut request = Request::new();
        request.delete_link(found.index);
        match socket.perform(request) {
            Err(error) if error.errno != rustix::io::Errno::NODEV => Err(kernel()(error)),
            _ => Ok(()),
        }
    }
}

fn apply(socket: &Socket, naming: &Naming, parent: &Parent) -> Result<bool, Error> {
    let name = parent.name();
    let kernel = || Error::kernel(format!("make interface {name}"));
    if let Some(found) = socket.link(name.as_str()).map_err(kernel())? {
        if is_ours(naming, &found) && !found.up {
            switch_on(socket, parent, found.index)?;
        }
        return Ok(false);
    }
    let mut request = Request::new();
    match parent {
        Parent::Interface(name) => return Err(Error::NoInterface { name: name.clone() }),
        Parent::Vlan { name, on, id } => {
            let below = socket.link(on.as_str()).map_err(kernel())?.ok_or_else(|| Error::NoInterface { name: on.clone() })?;
            request.create_vlan(name.as_str(), below.index, *id);
        }
        Parent::Own { name, far_end } => request.create_loose_pair(name.as_str(), far_end.as_str()),
    }
    socket.perform(request).map_err(kernel())?;
    let gone = || Error::Unsupported { doing: format!("make interface {name}"), reason: "somebody removed it at once".to_owned() };
    let made = socket.link(name.as_str()).map_err(kernel())?.ok_or_else(gone)?;
    let mut request = Request::new();
    request.link_alias(made.index, &naming.alias(name.as_str()));
    socket.perform(request).map_err(kernel())?;
    switch_on(socket, parent, made.index)?;
    Ok(true)
}

/// The interface is up; one that leads nowhere has no addresses of the host's.
fn switch_on(socket: &Socket, parent: &Parent, index: u32) -> Result<(), Error> {
    let kernel = || Error::kernel(format!("switch interface {} on", parent.name()));
    let mut request = Request::new();
    request.link_up(index);
    if let Parent::Own { name, far_end } = parent {
        for end in [name, far_end] {
            sysctl::ensure(&sysctl::of_interface(true, end.as_str(), "disable_ipv6"), 1).map_err(kernel())?;
        }
        if let Some(other) = socket.link(far_end.as_str()).map_err(kernel())? {
            request.link_up(other.index);
        }
    }
    socket.perform(request).map_err(kernel())
}

fn is_ours(naming: &Naming, link: &Link) -> bool {
    link.alias.starts_with(&naming.alias(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_dot_is_a_vlan() {
        let vlan = |name: &str, on: &str, id| Parent::Vlan { name: name.parse().unwrap(), on: on.parse().unwrap(), id };
        assert_eq!(Parent::parse("eth0").unwrap(), Parent::Interface("eth0".parse().unwrap()));
        assert_eq!(Parent::parse("eth0.50").unwrap(), vlan("eth0.50", "eth0", 50));
        assert_eq!(Parent::parse("eth0.50.7").unwrap(), vlan("eth0.50.7", "eth0.50", 7));
        for (text, words) in [
            ("eth0.x", "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)"),
            ("eth0.", "unable to parse a valid vlan id from:  (ex. eth0.10 for vlan 10)"),
            ("eth0.4095", "vlan id must be between 1-4094, received: 4095"),
            ("eth0.0", "vlan id must be between 1-4094, received: 0"),
            (".5", "invalid interface name"),
            ("lo", "the name is reserved"),
        ] {
            let error = Parent::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
