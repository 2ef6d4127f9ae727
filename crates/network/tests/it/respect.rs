//! The host's own firewall decides about published ports too (W-02). Written with nft(8) and iptables(8), as admins do.

use std::time::{Duration, Instant};

use shipway_network::{Forwarding, Host, HostFirewall, HostSettings, Naming};
use shipway_sys::netlink::{Family, Socket};

use crate::world::{World, admin};

/// Waits until the neighbour's view of a port is the expected one; a change is followed within a second.
fn becomes(world: &World, target: &str, open: bool) {
    let start = Instant::now();
    while world.neighbour.tcp(target).is_some() != open {
        assert!(start.elapsed() < Duration::from_secs(5), "{target} does not become {}", if open { "open" } else { "closed" });
    }
}

#[test]
fn a_port_that_the_hosts_rules_close_is_closed_when_published() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let (_server, client) = (world.container(&network, 2), world.container(&network, 3));
    world.publish(&network, 2, &["8080:80", "8081:80", "8082:80"]);
    becomes(&world, "192.0.2.1:8080", true);
    admin("nft", &["add table inet admin; add set inet admin good { type inet_service; }; add chain inet admin more"]);
    admin("nft", &["add element inet admin good { 8081 }; add rule inet admin more tcp dport { 9, 8082 } accept"]);
    admin("nft", &["add chain inet admin input { type filter hook input priority 0; policy drop; }"]);
    admin("nft", &["add rule inet admin input ct state established,related accept; add rule inet admin input tcp dport @good accept"]);
    admin("nft", &["add rule inet admin input meta nfproto ipv4 jump more; add rule inet admin input meta l4proto icmpv6 accept"]);
    becomes(&world, "192.0.2.1:8080", false);
    becomes(&world, "192.0.2.1:8081", true);
    becomes(&world, "[fd00:9::1]:8081", true);
    becomes(&world, "192.0.2.1:8082", true);
    becomes(&world, "[fd00:9::1]:8082", false);
    // The host itself and its containers are not outside.
    assert!(world.here.seen("127.0.0.1:8080").is_some() && client.seen("192.0.2.1:8080").is_some());
    // A port published later, and one more the admin allows.
    world.publish(&network, 2, &["8083:80"]);
    assert_eq!(world.neighbour.tcp("192.0.2.1:8083"), None);
    admin("nft", &["add element inet admin good { 8083 }"]);
    becomes(&world, "192.0.2.1:8083", true);
    // Gone with its original.
    admin("nft", &["delete table inet admin"]);
    becomes(&world, "192.0.2.1:8080", true);
    let tables = Socket::open(Family::Netfilter).unwrap().tables().unwrap();
    assert!(tables.iter().all(|(_, table)| table == "shipway"), "{tables:?}");
}

#[test]
fn rules_of_iptables_hold_as_well() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let _server = world.container(&network, 2);
    for rule in [
        &["-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"][..],
        &["-A", "INPUT", "-p", "tcp", "-m", "tcp", "--dport", "8081", "-j", "ACCEPT"],
        &["-A", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", "8082,8083", "-j", "ACCEPT"],
        &["-A", "INPUT", "-p", "tcp", "-m", "tcp", "--dport", "8084", "-j", "REJECT"],
        &["-P", "INPUT", "DROP"],
    ] {
        admin("iptables", rule);
    }
    world.publish(&network, 2, &["8080:80", "8081:80", "8083:80", "8084:80"]);
    becomes(&world, "192.0.2.1:8081", true);
    becomes(&world, "192.0.2.1:8083", true);
    becomes(&world, "192.0.2.1:8080", false);
    becomes(&world, "192.0.2.1:8084", false);
    becomes(&world, "[fd00:9::1]:8080", true);
}

#[test]
fn the_switch_gives_dockers_meaning() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let _server = world.container(&network, 2);
    admin("nft", &["add table inet admin; add chain inet admin input { type filter hook input priority 0; policy drop; }"]);
    let published = world.publish(&network, 2, &["8080:80"]);
    becomes(&world, "192.0.2.1:8080", false);
    let settings = HostSettings { forwarding: Forwarding::Enable, host_firewall: HostFirewall::Bypass };
    let World { host, here, neighbour, bridge_filter } = world;
    drop(host);
    let host = Host::open(Naming::plain(), settings).unwrap();
    let world = World { host, here, neighbour, bridge_filter };
    let ends: Vec<_> =
        Socket::open(Family::Route).unwrap().links().unwrap().into_iter().filter(|link| link.name.starts_with("sv-")).collect();
    let ends: Vec<_> = ends.iter().map(|link| link.name.parse().unwrap()).collect();
    world.host.reconcile(&[network], &ends, &published).unwrap();
    becomes(&world, "192.0.2.1:8080", true);
}
