//! Making the host a router for its containers, and for nobody else.

use crate::Error;
use crate::host::Forwarding;
use crate::segment::Segment;
use crate::sysctl;

const V4_FORWARD: &str = "net/ipv4/ip_forward";

/// Switches forwarding on as the segment needs it. True when it was off before: then strangers' packets must not pass because of us.
pub(crate) fn prepare(setting: Forwarding, segment: &Segment) -> Result<bool, Error> {
    if setting == Forwarding::LeaveAlone || segment.internal {
        return Ok(false);
    }
    let kernel = || Error::kernel("make the host forward packets");
    let mut was_off = false;
    if sysctl::read(V4_FORWARD) == Some(0) {
        sysctl::write(V4_FORWARD, 1).map_err(kernel())?;
        was_off = true;
    }
    let all = sysctl::of_interface(true, "all", "forwarding");
    if segment.has_v6() && sysctl::read(&all) == Some(0) {
        keep_learned_routes();
        sysctl::write(&all, 1).map_err(kernel())?;
        was_off = true;
    }
    Ok(was_off)
}

/// True when bridged packets pass the firewall too (`br_netfilter`); a forwarded packet may then leave by the bridge port it came from.
pub(crate) fn bridges_ask_the_firewall() -> bool {
    ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"].iter().any(|name| sysctl::read(name) == Some(1))
}

/// The same of IPv6 alone.
pub(crate) fn bridges_ask_the_firewall_of_v6() -> bool {
    sysctl::read("net/bridge/bridge-nf-call-ip6tables") == Some(1)
}

/// True when the host forwards packets of the family.
pub(crate) fn is_on(v6: bool) -> bool {
    let name = if v6 { sysctl::of_interface(true, "all", "forwarding") } else { V4_FORWARD.to_owned() };
    sysctl::read(&name).is_some_and(|value| value != 0)
}

/// A host that forwards IPv6 stops to learn its own default route from routers, unless told that it may do both (accept_ra 2).
fn keep_learned_routes() {
    let Ok(interfaces) = std::fs::read_dir("/proc/sys/net/ipv6/conf") else { return };
    for interface in interfaces.flatten() {
        let Some(name) = interface.file_name().to_str().map(str::to_owned) else { continue };
        let setting = sysctl::of_interface(true, &name, "accept_ra");
        if sysctl::read(&setting) == Some(1)
            && let Err(error) = sysctl::write(&setting, 2)
        {
            tracing::warn!(%error, interface = name, "this host may lose its IPv6 default route");
        }
    }
}
