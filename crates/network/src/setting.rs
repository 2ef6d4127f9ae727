//! Kernel settings of one interface, as people write them: `net.ipv4.conf.IFNAME.log_martians=1`.
//!
//! What must stay true: such a setting is one of the named interface alone; no text leads out of its folder.

use std::str::FromStr;

use crate::Error;
use crate::naming::InterfaceName;

/// What stands for the interface's name in Docker's form.
const PLACE: &str = "IFNAME";

/// A setting and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceSetting {
    /// "ipv4", "ipv6" or "mpls".
    protocol: String,
    /// "conf" or "neigh".
    table: String,
    name: String,
    value: String,
}

impl InterfaceSetting {
    /// Its file below /proc/sys, for an interface.
    pub(crate) fn path(&self, interface: &InterfaceName) -> String {
        format!("net/{}/{}/{interface}/{}", self.protocol, self.table, self.name)
    }

    pub(crate) fn value(&self) -> &str {
        &self.value
    }
}

impl FromStr for InterfaceSetting {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::BadSetting {
            what: "endpoint sysctl",
            text: text.chars().take(80).collect(),
            expected: "net.ipv4.conf.IFNAME.NAME=VALUE (or ipv6, mpls; neigh)",
        };
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let ["net", protocol @ ("ipv4" | "ipv6" | "mpls"), table @ ("conf" | "neigh"), place, name] =
            key.split('.').collect::<Vec<_>>()[..]
        else {
            return Err(wrong());
        };
        // docker's client sends everything in lower case.
        if !place.eq_ignore_ascii_case(PLACE) {
            return Err(wrong());
        }
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain(name) || value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err(wrong());
        }
        Ok(Self { protocol: protocol.to_owned(), table: table.to_owned(), name: name.to_owned(), value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_one_of_its_interface() {
        let read = |text: &str| text.parse::<InterfaceSetting>().map(|setting| setting.path(&InterfaceName::ethernet(0)));
        assert_eq!(read("net.ipv4.conf.IFNAME.log_martians=1").unwrap(), "net/ipv4/conf/eth0/log_martians");
        assert_eq!(read("net.ipv6.neigh.IFNAME.gc_stale_time=10").unwrap(), "net/ipv6/neigh/eth0/gc_stale_time");
        assert!(read("net.ipv4.conf.ifname.log_martians=1").is_ok(), "as docker's client sends it");
        for bad in [
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.all.log_martians=1",
            "net.ipv4.conf.IFNAME./../../x=1",
            "net.ipv4.conf.IFNAME.log_martians",
            "net.ipv4.conf.IFNAME.log_martians=",
            "net.ipv4.conf.IFNAME.log_martians=1\n2",
            "kernel.conf.IFNAME.x=1",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
