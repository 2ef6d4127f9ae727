use super::*;
use crate::facts::{PublishedFacts, Uplink};

fn well() -> Facts {
    let uplink = || Some(Uplink { interface: "eth0".to_owned(), mtu: 1500 });
    let network = NetworkFacts {
        bridge: "sw-1".parse().unwrap(),
        up: true,
        internal: false,
        open: true,
        masquerade_v4: true,
        masquerade_v6: true,
        trusted: Vec::new(),
        mtu: 1500,
        subnets: vec!["10.1.0.0/24".parse().unwrap()],
        hidden_by: None,
    };
    let published = Published {
        host_ip: None,
        host_port: 8080,
        protocol: shipway_model::Protocol::Tcp,
        target: "[fd00:1::2]:80".parse().unwrap(),
        to_trusted: false,
    };
    Facts {
        table: "shipway".to_owned(),
        table_present: true,
        table_wanted: true,
        forwards_v4: true,
        forwards_v6: true,
        guarded: false,
        bridge_filter: false,
        bridge_filter_v6: false,
        uplink_v4: uplink(),
        uplink_v6: uplink(),
        respects_host_firewall: true,
        others: Vec::new(),
        legacy_iptables: false,
        networks: vec![network],
        published: vec![PublishedFacts { published, ways: Vec::new() }],
    }
}

#[track_caller]
fn check(change: impl FnOnce(&mut Facts), severity: Severity, what: &str, mend: Option<&str>) {
    let mut facts = well();
    change(&mut facts);
    let found = findings(&facts, &[]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].severity, found[0].what.as_str(), found[0].mend.as_deref()), (severity, what, mend));
}

fn chain(name: &str, to_host: bool) -> OtherChain {
    OtherChain { name: name.to_owned(), to_host, drops: true }
}

#[test]
fn a_host_that_is_well_has_no_findings() {
    assert_eq!(findings(&well(), &[]), []);
}

#[test]
fn every_ill_has_its_cure() {
    use Severity::{Broken, Doubtful, Remark};
    check(
        |facts| facts.forwards_v4 = false,
        Broken,
        "containers reach nothing outside by IPv4, and nobody outside reaches published ports",
        Some("sysctl -w net.ipv4.ip_forward=1"),
    );
    check(|facts| facts.networks[0].up = false, Broken, "bridge sw-1 is down", Some("ip link set sw-1 up"));
    check(|facts| facts.networks[0].mtu = 0, Broken, "bridge sw-1 does not exist", None);
    check(
        |facts| facts.networks[0].hidden_by = Some("10.1.0.0/25 of tun0".to_owned()),
        Broken,
        "this host does not reach containers behind bridge sw-1",
        Some("ip route del 10.1.0.0/25"),
    );
    check(|facts| facts.uplink_v4 = None, Doubtful, "this host has no default route of IPv4", Some("ip route add default via ROUTER"));
    check(
        |facts| facts.uplink_v4 = Some(Uplink { interface: "wg0".to_owned(), mtu: 1420 }),
        Doubtful,
        "large packets of containers behind bridge sw-1 may be lost",
        Some("shipway network create -o com.docker.network.driver.mtu=1420 NAME"),
    );
    check(
        |facts| facts.others = vec![chain("ip filter FORWARD", false)],
        Doubtful,
        "packets from and to containers may be dropped by chain ip filter FORWARD",
        Some("iptables -I FORWARD -i sw-1 -j ACCEPT && iptables -I FORWARD -o sw-1 -j ACCEPT"),
    );
    check(
        |facts| facts.others = vec![chain("inet own input", true)],
        Remark,
        "other machines reach published ports only where chain inet own input accepts them",
        Some("nft insert rule inet own input tcp dport 8080 accept"),
    );
    check(
        |facts| facts.bridge_filter_v6 = true,
        Remark,
        "programs of this host do not reach published ports at [::1]",
        Some("sysctl -w net.bridge.bridge-nf-call-ip6tables=0"),
    );
}

#[test]
fn a_port_with_two_owners_is_told_with_both() {
    let other = PortOwner::Process { pid: 812, name: "nginx".to_owned() };
    let contested = ContestedPort { port: "80/tcp".parse().unwrap(), owner: "web".to_owned(), other };
    let found = findings(&well(), &[contested]);
    assert_eq!(found[0].what, "port 80/tcp of this host has two owners: container \"web\" and process 812 (nginx)");
    assert_eq!(found[0].mend.as_deref(), Some("kill 812"));
}
