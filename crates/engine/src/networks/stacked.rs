//! The options of the drivers macvlan and ipvlan (`-o parent=eth0 -o macvlan_mode=bridge`): networks that are a host interface's own.

use std::collections::BTreeMap;

use shipway_model::NetworkId;
use shipway_network::{Attachment, IpvlanFlag, IpvlanMode, MacvlanMode, Naming, Parent};

use super::record::{NetworkDriver, NetworkRecord};
use crate::{Error, Result};

/// Docker's keys.
const PARENT: &str = "parent";
const MACVLAN_MODE: &str = "macvlan_mode";
const IPVLAN_MODE: &str = "ipvlan_mode";
const IPVLAN_FLAG: &str = "ipvlan_flag";

/// What the options of such a network say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stacked {
    /// The interface that it is on.
    pub(super) parent: Parent,
    /// How its endpoints are made.
    pub(super) attachment: Attachment,
}

impl Stacked {
    /// Whether the parent routes for its containers: they have no neighbours, and a default route to the link itself.
    pub(super) fn is_routed(&self) -> bool {
        matches!(self.attachment, Attachment::Ipvlan { mode: IpvlanMode::L3 | IpvlanMode::L3s, .. })
    }
}

/// What the options of a macvlan or ipvlan network say.
pub(super) fn of(network: &NetworkRecord) -> Result<Stacked> {
    read(network.driver, &network.options, network.id)
}

/// True for a network that names an interface of the host; one without is on its own, and closed.
pub(super) fn has_parent(options: &BTreeMap<String, String>) -> bool {
    options.get(PARENT).is_some_and(|text| !text.is_empty())
}

/// # Errors
/// `Invalid` for a mode that there is not, or an interface that cannot be.
pub(super) fn read(driver: NetworkDriver, options: &BTreeMap<String, String>, network: NetworkId) -> Result<Stacked> {
    let option = |key: &str| options.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let word = driver.word();
    let parent = match option(PARENT) {
        Some("lo") => return Err(Error::invalid(format!("loopback interface is not a valid {word} parent link"))),
        Some(text) => Parent::parse(text)?,
        None => {
            let (name, far_end) = Naming::own_parent(network);
            Parent::Own { name, far_end }
        }
    };
    let on = parent.name().clone();
    let wrong = |what: &str, given: &str, default: &str| {
        Error::invalid(format!("requested {word} {what} '{given}' is not valid, '{default}' {what} is the {word} driver default"))
    };
    let attachment = if driver == NetworkDriver::Ipvlan {
        let mode = match option(IPVLAN_MODE).unwrap_or("l2") {
            "l2" => IpvlanMode::L2,
            "l3" => IpvlanMode::L3,
            "l3s" => IpvlanMode::L3s,
            other => return Err(wrong("mode", other, "l2")),
        };
        let flag = match option(IPVLAN_FLAG).unwrap_or("bridge") {
            "bridge" => IpvlanFlag::Bridge,
            "private" => IpvlanFlag::Private,
            "vepa" => IpvlanFlag::Vepa,
            other => return Err(wrong("flag", other, "bridge")),
        };
        Attachment::Ipvlan { parent: on, mode, flag }
    } else {
        let mode = match option(MACVLAN_MODE).unwrap_or("bridge") {
            "bridge" => MacvlanMode::Bridge,
            "private" => MacvlanMode::Private,
            "vepa" => MacvlanMode::Vepa,
            "passthru" => MacvlanMode::Passthru,
            other => return Err(wrong("mode", other, "bridge")),
        };
        Attachment::Macvlan { parent: on, mode }
    };
    Ok(Stacked { parent, attachment })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn read(driver: NetworkDriver, list: &[(&str, &str)]) -> Result<Stacked> {
        super::read(driver, &options(list), NetworkId::from_random([0xab; 32]))
    }

    #[test]
    fn modes_are_values_or_refused() {
        use NetworkDriver::{Ipvlan, Macvlan};
        let parent = || "eth0".parse().unwrap();
        let private = read(Macvlan, &[("parent", "eth0"), ("macvlan_mode", "private")]).unwrap();
        assert_eq!(private.attachment, Attachment::Macvlan { parent: parent(), mode: MacvlanMode::Private });
        let plain = read(Ipvlan, &[("parent", "eth0")]).unwrap();
        assert_eq!(plain.attachment, Attachment::Ipvlan { parent: parent(), mode: IpvlanMode::L2, flag: IpvlanFlag::Bridge });
        assert!(!plain.is_routed() && read(Ipvlan, &[("parent", "eth0"), ("ipvlan_mode", "l3s")]).unwrap().is_routed());
        let alone = read(Macvlan, &[]).unwrap();
        assert!(matches!(alone.parent, Parent::Own { .. }) && alone.parent.name().as_str() == "dm-abababababab");
        assert!(has_parent(&options(&[("parent", "x")])) && !has_parent(&options(&[("parent", "")])));
        for (driver, options, words) in [
            (Macvlan, &[("parent", "eth0"), ("macvlan_mode", "odd")][..], "requested macvlan mode 'odd' is not valid"),
            (Ipvlan, &[("parent", "eth0"), ("ipvlan_mode", "odd")], "'l2' mode is the ipvlan driver default"),
            (Ipvlan, &[("parent", "eth0"), ("ipvlan_flag", "odd")], "requested ipvlan flag 'odd' is not valid"),
            (Macvlan, &[("parent", "lo")], "loopback interface is not a valid macvlan parent link"),
            (Macvlan, &[("parent", "eth0.x")], "unable to parse a valid vlan id from: x"),
            (Macvlan, &[("parent", "a;b")], "invalid interface name"),
        ] {
            let error = read(driver, options).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
