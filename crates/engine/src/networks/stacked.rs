//! The options of the drivers macvlan and ipvlan (`-o parent=eth0 -o macvlan_mode=bridge`): networks that are a host interface's own.

use std::collections::BTreeMap;

use shipway_network::{Attachment, InterfaceName, IpvlanMode, MacvlanMode};

use super::record::NetworkDriver;
use crate::{Error, Result};

/// Docker's keys.
const PARENT: &str = "parent";
const MACVLAN_MODE: &str = "macvlan_mode";
const IPVLAN_MODE: &str = "ipvlan_mode";

/// How endpoints of such a network are made.
///
/// # Errors
/// `Invalid` for a mode that there is not; `NotSupportedYet` without a parent, and for the modes of ipvlan that route.
pub(super) fn attachment(driver: NetworkDriver, options: &BTreeMap<String, String>) -> Result<Attachment> {
    let option = |key: &str| options.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let word = driver.word();
    let Some(parent) = option(PARENT) else {
        return Err(Error::NotSupportedYet { what: format!("a {word} network without an interface of the host (-o parent=INTERFACE)") });
    };
    let parent: InterfaceName = parent.parse()?;
    if driver == NetworkDriver::Ipvlan {
        return match option(IPVLAN_MODE).unwrap_or("l2") {
            "l2" => Ok(Attachment::Ipvlan { parent, mode: IpvlanMode::L2 }),
            later @ ("l3" | "l3s") => Err(Error::NotSupportedYet { what: format!("ipvlan mode \"{later}\"") }),
            other => Err(Error::invalid(format!("requested ipvlan mode '{other}' is not valid, 'l2' mode is the ipvlan driver default"))),
        };
    }
    let mode = match option(MACVLAN_MODE).unwrap_or("bridge") {
        "bridge" => MacvlanMode::Bridge,
        "private" => MacvlanMode::Private,
        "vepa" => MacvlanMode::Vepa,
        "passthru" => MacvlanMode::Passthru,
        other => {
            return Err(Error::invalid(format!(
                "requested macvlan mode '{other}' is not valid, 'bridge' mode is the macvlan driver default"
            )));
        }
    };
    Ok(Attachment::Macvlan { parent, mode })
}

/// The host's interface that such a network is on.
pub(super) fn parent_of(attachment: &Attachment) -> Option<&InterfaceName> {
    match attachment {
        Attachment::Macvlan { parent, .. } | Attachment::Ipvlan { parent, .. } => Some(parent),
        Attachment::Bridge { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(driver: NetworkDriver, options: &[(&str, &str)]) -> Result<Attachment> {
        attachment(driver, &options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn modes_are_values_or_refused() {
        use NetworkDriver::{Ipvlan, Macvlan};
        let parent = || "eth0".parse().unwrap();
        let private = read(Macvlan, &[("parent", "eth0"), ("macvlan_mode", "private")]).unwrap();
        assert_eq!(private, Attachment::Macvlan { parent: parent(), mode: MacvlanMode::Private });
        assert_eq!(read(Ipvlan, &[("parent", "eth0")]).unwrap(), Attachment::Ipvlan { parent: parent(), mode: IpvlanMode::L2 });
        for (driver, options, words) in [
            (Macvlan, &[("parent", "eth0"), ("macvlan_mode", "odd")][..], "requested macvlan mode 'odd' is not valid"),
            (Ipvlan, &[("parent", "eth0"), ("ipvlan_mode", "odd")], "requested ipvlan mode 'odd' is not valid"),
            (Ipvlan, &[("parent", "eth0"), ("ipvlan_mode", "l3")], "ipvlan mode \"l3\" is not supported yet"),
            (Macvlan, &[], "without an interface of the host"),
            (Macvlan, &[("parent", "a;b")], "invalid interface name"),
        ] {
            let error = read(driver, options).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
