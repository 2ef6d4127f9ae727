//! What `driver-opt=` says about one endpoint: the name of its interface, and kernel settings of it.
//!
//! Other keys are kept and mean nothing, as with dockerd.

use shipway_network::{InterfaceName, InterfaceSetting};

use super::record::{EndpointRecord, EndpointWish};
use crate::{Error, Result};

/// Docker's keys.
const INTERFACE: &str = "com.docker.network.endpoint.ifname";
const SETTINGS: &str = "com.docker.network.endpoint.sysctls";

/// The options of an endpoint as values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EndpointOptions {
    /// Its name inside, instead of eth0, eth1...
    pub(super) interface: Option<InterfaceName>,
    /// As typed; each can be read.
    pub(super) settings: Vec<String>,
}

/// Reads the options of a wish.
///
/// # Errors
/// `Invalid` for what cannot be a name of an interface or a setting of one.
pub(super) fn read(wish: &EndpointWish) -> Result<EndpointOptions> {
    let option = |key: &str| wish.driver_options.iter().find_map(|options| options.get(key)).filter(|text| !text.is_empty());
    let interface = option(INTERFACE).map(|text| text.parse()).transpose()?;
    let settings = option(SETTINGS).map(String::as_str).unwrap_or_default();
    let settings: Vec<String> = settings.split(',').filter(|text| !text.is_empty()).map(str::to_owned).collect();
    settings.iter().try_for_each(|text| text.parse::<InterfaceSetting>().map(drop))?;
    Ok(EndpointOptions { interface, settings })
}

/// What an interface is called: as `asked`, or after its slot.
///
/// # Errors
/// `Invalid` when one of the container's `others` is called so.
pub(super) fn name_of(asked: Option<InterfaceName>, prefix: &str, slot: u16, others: &[EndpointRecord]) -> Result<String> {
    let name = asked.map_or_else(|| format!("{prefix}{slot}"), |name| name.to_string());
    check_unique(&name, others.iter().filter_map(|other| Some(other.attached.as_ref()?.interface.as_str())))?;
    Ok(name)
}

fn check_unique<'a>(name: &str, mut others: impl Iterator<Item = &'a str>) -> Result<()> {
    if !name.is_empty() && others.any(|other| other == name) {
        return Err(Error::InvalidWithHint {
            reason: format!("two interfaces of the container would be called {name}"),
            hint: format!("choose another {INTERFACE}"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(key: &str, value: &str) -> Result<EndpointOptions> {
        let driver_options = Some([(key.to_owned(), value.to_owned())].into());
        read(&EndpointWish { driver_options, ..EndpointWish::default() })
    }

    #[test]
    fn options_are_values_or_refused() {
        assert_eq!(told(INTERFACE, "lan0").unwrap().interface.unwrap().as_str(), "lan0");
        assert_eq!(told(SETTINGS, "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2").unwrap().settings.len(), 2);
        assert_eq!(told("com.example.odd", "x").unwrap(), EndpointOptions::default());
        for (key, value) in [(INTERFACE, "lo"), (INTERFACE, "a b"), (SETTINGS, "net.ipv4.ip_forward=1"), (SETTINGS, "x")] {
            assert!(told(key, value).is_err(), "{key}={value}");
        }
        assert!(check_unique("eth0", ["eth1"].into_iter()).is_ok() && check_unique("", [""].into_iter()).is_ok());
        assert!(check_unique("eth0", ["eth1", "eth0"].into_iter()).is_err());
    }
}
