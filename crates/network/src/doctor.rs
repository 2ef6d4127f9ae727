//! What is wrong with the host's network, why, and the command that mends it: judged from the facts alone.
//!
//! What must stay true: pure; every finding names the party that causes it; a command mends what it is given for and nothing else.

use crate::facts::{Facts, NetworkFacts, OtherChain};
use crate::ports::{PortOwner, Published};

#[cfg(test)]
mod tests;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Containers miss something that they were promised.
    Broken,
    /// They may miss something, depending on others.
    Doubtful,
    /// Nothing is missed; it explains what people wonder about.
    Remark,
}

/// One thing that people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub what: String,
    pub because: String,
    /// A command that mends it.
    pub mend: Option<String>,
}

/// A host port that a container has and a program of the host too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContestedPort {
    pub port: shipway_model::Port,
    pub owner: String,
    pub other: PortOwner,
}

/// What is to be said about `facts`, the worst first.
pub fn findings(facts: &Facts, contested: &[ContestedPort]) -> Vec<Finding> {
    let mut found = Vec::new();
    host(facts, &mut found);
    facts.networks.iter().for_each(|network| of_network(facts, network, &mut found));
    facts.others.iter().filter(|chain| chain.drops).for_each(|chain| found.extend(of_chain(facts, chain)));
    found.extend(contested.iter().map(of_port));
    found.sort_by_key(|finding| finding.severity);
    found
}

fn finding(severity: Severity, what: impl Into<String>, because: impl Into<String>, mend: impl Into<Option<String>>) -> Finding {
    Finding { severity, what: what.into(), because: because.into(), mend: mend.into() }
}

fn host(facts: &Facts, found: &mut Vec<Finding>) {
    use Severity::{Broken, Doubtful, Remark};
    let outgoing =
        |v6: bool| facts.networks.iter().any(|network| !network.internal && network.subnets.iter().any(|subnet| subnet.is_v6() == v6));
    if facts.table_wanted && !facts.table_present {
        let what = format!("the firewall table {} is missing", facts.table);
        found.push(finding(Broken, what, "somebody deletes it again and again: the daemon puts it back within a second", None));
    }
    for (v6, forwards, uplink) in [(false, facts.forwards_v4, &facts.uplink_v4), (true, facts.forwards_v6, &facts.uplink_v6)] {
        if !outgoing(v6) {
            continue;
        }
        let (family, sysctl) = if v6 { ("IPv6", "net.ipv6.conf.all.forwarding") } else { ("IPv4", "net.ipv4.ip_forward") };
        if !forwards {
            let what = format!("containers reach nothing outside by {family}, and nobody outside reaches published ports");
            found.push(finding(Broken, what, format!("{sysctl} is 0: this host forwards no packets"), format!("sysctl -w {sysctl}=1")));
        }
        if uplink.is_none() {
            let word = if v6 { "ip -6" } else { "ip" };
            let what = format!("this host has no default route of {family}");
            let because = "containers reach this host and its neighbours, nothing beyond";
            found.push(finding(if v6 { Remark } else { Doubtful }, what, because, format!("{word} route add default via ROUTER")));
        }
    }
    if facts.legacy_iptables {
        let because = "the kernel asks them too, and they cannot be seen here";
        found.push(finding(Doubtful, "there are rules of iptables-legacy", because, "iptables-legacy -S".to_owned()));
    }
    let published_v6 = facts.published.iter().any(|port| port.published.target.is_ipv6());
    if facts.bridge_filter_v6 && published_v6 {
        found.push(finding(
            Remark,
            "programs of this host do not reach published ports at [::1]",
            "net.bridge.bridge-nf-call-ip6tables is 1: the kernel drops the answer; 127.0.0.1 works",
            "sysctl -w net.bridge.bridge-nf-call-ip6tables=0".to_owned(),
        ));
    }
    if facts.guarded {
        found.push(finding(
            Remark,
            "this host forwards packets of containers only",
            "it forwarded none before this daemon came, so strangers' packets are dropped still",
            None,
        ));
    }
}

fn of_network(facts: &Facts, network: &NetworkFacts, found: &mut Vec<Finding>) {
    let bridge = network.bridge.as_str();
    if network.mtu == 0 {
        let because = "somebody deleted it; it is made again when the next container joins";
        found.push(finding(Severity::Broken, format!("bridge {bridge} does not exist"), because, None));
        return;
    }
    if !network.up {
        let because = "its containers reach nobody";
        found.push(finding(Severity::Broken, format!("bridge {bridge} is down"), because, format!("ip link set {bridge} up")));
    }
    if let Some(route) = &network.hidden_by {
        let because = format!("the route {route} takes packets to its subnet elsewhere");
        let mend = format!("ip route del {}", route.split_whitespace().next().unwrap_or_default());
        found.push(finding(Severity::Broken, format!("this host does not reach containers behind bridge {bridge}"), because, mend));
    }
    for uplink in [&facts.uplink_v4, &facts.uplink_v6].into_iter().flatten().take(1) {
        if !network.internal && network.mtu > uplink.mtu {
            let what = format!("large packets of containers behind bridge {bridge} may be lost");
            let because = format!("they have up to {} bytes, {} takes {}", network.mtu, uplink.interface, uplink.mtu);
            let mend = format!("shipway network create -o com.docker.network.driver.mtu={} NAME", uplink.mtu);
            found.push(finding(Severity::Doubtful, what, because, mend));
        }
    }
}

/// Another program's chain that drops what none of its rules accepts.
fn of_chain(facts: &Facts, chain: &OtherChain) -> Option<Finding> {
    if facts.networks.is_empty() {
        return None;
    }
    if chain.to_host {
        let ports: Vec<&Published> = facts.published.iter().map(|port| &port.published).filter(|port| !port.is_direct()).collect();
        let first = ports.first().filter(|_| facts.respects_host_firewall)?;
        let what = format!("other machines reach published ports only where chain {} accepts them", chain.name);
        let because = "published ports follow the host's own firewall (--host-firewall=bypass for Docker's way)";
        return Some(finding(Severity::Remark, what, because, opening(chain, first)));
    }
    let what = format!("packets from and to containers may be dropped by chain {}", chain.name);
    let because = "it drops forwarded packets that none of its rules accepts";
    let rules: Vec<String> = facts.networks.iter().take(3).map(|network| letting_through(chain, network.bridge.as_str())).collect();
    Some(finding(Severity::Doubtful, what, because, rules.join(" && ")))
}

/// What lets a bridge's packets through a chain of forwarded ones, in the language of the program that made it.
fn letting_through(chain: &OtherChain, bridge: &str) -> String {
    match chain.name.split(' ').collect::<Vec<_>>()[..] {
        ["ip", "filter", "FORWARD"] => format!("iptables -I FORWARD -i {bridge} -j ACCEPT && iptables -I FORWARD -o {bridge} -j ACCEPT"),
        ["ip6", "filter", "FORWARD"] => format!("ip6tables -I FORWARD -i {bridge} -j ACCEPT && ip6tables -I FORWARD -o {bridge} -j ACCEPT"),
        [_, "firewalld", _] => format!("firewall-cmd --zone=trusted --add-interface={bridge}"),
        _ => format!("nft insert rule {0} iifname {bridge} accept && nft insert rule {0} oifname {bridge} accept", chain.name),
    }
}

/// What opens a published port in a chain of packets to the host.
fn opening(chain: &OtherChain, port: &Published) -> String {
    let (number, protocol) = (port.host_port, port.protocol);
    match chain.name.split(' ').collect::<Vec<_>>()[..] {
        ["ip", "filter", "INPUT"] => format!("iptables -I INPUT -p {protocol} --dport {number} -j ACCEPT"),
        ["ip6", "filter", "INPUT"] => format!("ip6tables -I INPUT -p {protocol} --dport {number} -j ACCEPT"),
        [_, "firewalld", _] => format!("firewall-cmd --add-port={number}/{protocol}"),
        _ => format!("nft insert rule {} {protocol} dport {number} accept", chain.name),
    }
}

fn of_port(contested: &ContestedPort) -> Finding {
    let ContestedPort { port, owner, other } = contested;
    let mend = match other {
        PortOwner::Process { pid, .. } => Some(format!("kill {pid}")),
        _ => None,
    };
    let what = format!("port {port} of this host has two owners: container \"{owner}\" and {other}");
    finding(Severity::Doubtful, what, "packets go to the container; the other waits in vain", mend)
}
