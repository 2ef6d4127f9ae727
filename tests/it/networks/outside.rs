//! What other machines reach: the host's own firewall with and without the switch, and containers that are routed to.

use shipway_testkit::{Daemon, Netns, Setup, eventually};

use super::{inspect, server, shipway};
use crate::BINARY;

/// Another machine on a cable to the host of `daemon`: 192.0.2.1 there, 192.0.2.9 here. It sends everything through that host.
fn neighbour(daemon: &Daemon) -> Netns {
    let other = Netns::new();
    let mut inside = other.command("sleep").arg("60").spawn().expect("sleep");
    let space = std::fs::read_link(other.path()).expect("a namespace");
    eventually("somebody in the other namespace", 10, || {
        let path = format!("/proc/{}/ns/net", inside.id());
        std::fs::read_link(path).is_ok_and(|found| found == space).then_some(())
    });
    daemon.netns().run(&format!(
        "ip link add wan0 type veth peer name wan1; ip link set dev wan1 netns {}; ip link set dev wan0 up; ip addr add 192.0.2.1/24 dev wan0",
        inside.id()
    ));
    inside.kill().expect("kill");
    inside.wait().expect("wait");
    other.run("ip link set dev wan1 up; ip addr add 192.0.2.9/24 dev wan1; ip route add default via 192.0.2.1");
    other
}

/// What the other machine reads from `target`, when it becomes `expected`.
#[track_caller]
fn becomes(other: &Netns, target: &str, expected: &str) {
    let mut last = String::new();
    for _ in 0..20 {
        let output = other.try_run(&format!("busybox nc -w 1 {target} </dev/null"));
        last = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if last == expected {
            return;
        }
    }
    panic!("{target} says {last:?} instead of {expected:?}");
}

const CLOSED_HOST: &str = "nft 'add table inet admin; add chain inet admin input { type filter hook input priority 0; policy drop; }; \
                           add rule inet admin input ct state established,related accept; add rule inet admin input iif lo accept'";

#[test]
fn published_ports_follow_the_hosts_firewall_and_pass_it_by_with_the_switch() {
    for (switch, expected) in [("--host-firewall=respect", ""), ("--host-firewall=bypass", "hello from web")] {
        let daemon = Setup::new(BINARY).with_networks().argument(switch).start();
        daemon.import_busybox("box");
        let other = neighbour(&daemon);
        server(&daemon, "web", "-p 8080:80");
        becomes(&other, "192.0.2.1 8080", "hello from web");
        daemon.netns().run(CLOSED_HOST);
        becomes(&other, "192.0.2.1 8080", expected);
        let doctor = shipway(&daemon, "network doctor");
        let names_the_chain = doctor.contains("the host's own chain inet admin input must accept port 8080");
        assert_eq!(names_the_chain, expected.is_empty(), "{switch}: {doctor}");
        daemon.netns().run("nft add rule inet admin input tcp dport 8080 accept");
        becomes(&other, "192.0.2.1 8080", "hello from web");
    }
}

#[test]
fn an_interface_that_a_network_trusts_reaches_its_published_ports_directly() {
    let mut daemon = Setup::new(BINARY).with_networks().start();
    daemon.import_busybox("box");
    let other = neighbour(&daemon);
    let option = "com.docker.network.bridge.trusted_host_interfaces";
    shipway(&daemon, &format!("network create --subnet 10.9.0.0/24 -o {option}=vxlan.1:wan0 trusting"));
    let refused = daemon.shipway(&["network", "create", "-o", &format!("{option}=wan0 eth0"), "wrong"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains(&format!("failed to parse {option} value: wan0 eth0")), "{words}");
    server(&daemon, "web", "--network trusting --ip 10.9.0.9 -p 127.0.0.1:8080:80");
    server(&daemon, "shut", "--network trusting --ip 10.9.0.8");
    becomes(&other, "10.9.0.9 80", "hello from web");
    becomes(&other, "10.9.0.8 80", "");
    becomes(&other, "192.0.2.1 8080", "");
    assert!(shipway(&daemon, "network inspect trusting").contains("vxlan.1:wan0"));
    let doctor = shipway(&daemon, "network doctor");
    assert!(doctor.contains("trusts vxlan.1 and wan0") && doctor.contains("by an interface that its network trusts"), "{doctor}");
    daemon.kill_9();
    daemon.restart();
    becomes(&other, "10.9.0.9 80", "hello from web");
    shipway(&daemon, "rm -f web");
    becomes(&other, "10.9.0.9 80", "");
}

#[test]
fn a_routed_network_is_reached_at_its_containers_own_addresses() {
    let mut daemon = Setup::new(BINARY).with_networks().start();
    daemon.import_busybox("box");
    let other = neighbour(&daemon);
    shipway(&daemon, "network create --subnet 10.9.0.0/24 -o com.docker.network.bridge.gateway_mode_ipv4=routed routed");
    shipway(&daemon, "network create --subnet 10.8.0.0/24 nat");
    server(&daemon, "shut", "--network routed --ip 10.9.0.8");
    server(&daemon, "web", "--network routed --ip 10.9.0.9 -p 8080:80");
    becomes(&other, "10.9.0.9 80", "hello from web");
    becomes(&other, "10.9.0.8 80", "");
    becomes(&other, "192.0.2.1 8080", "");
    let ports = inspect(&daemon, "web")["Ports"]["80/tcp"].to_string();
    assert_eq!(ports, r#"[{"HostIp":"0.0.0.0","HostPort":""}]"#);
    assert_eq!(shipway(&daemon, "ps --filter name=web --format {{.Ports}}"), "80/tcp");
    // Another network, and a container with the same port of the host, which nobody took.
    assert_eq!(shipway(&daemon, "run --rm --network nat box nc -w 3 10.9.0.9 80"), "hello from web");
    server(&daemon, "same", "--network nat -p 8080:80");
    becomes(&other, "192.0.2.1 8080", "hello from same");
    // The port goes with the default route to a network that takes one of the host, and back.
    shipway(&daemon, "network create --subnet 10.7.0.0/24 again");
    server(&daemon, "roams", "--network routed --ip 10.9.0.7 -p 8081:80");
    shipway(&daemon, "network connect --ip 10.7.0.7 again roams");
    becomes(&other, "192.0.2.1 8081", "hello from roams");
    becomes(&other, "10.9.0.7 80", "");
    shipway(&daemon, "network disconnect again roams");
    becomes(&other, "10.9.0.7 80", "hello from roams");
    let doctor = shipway(&daemon, "network doctor");
    assert!(doctor.contains("it is open at the container's own address, for whoever has a route to it"), "{doctor}");
    daemon.kill_9();
    daemon.restart();
    becomes(&other, "10.9.0.9 80", "hello from web");
    becomes(&other, "10.9.0.8 80", "");
    shipway(&daemon, "rm -f web");
    becomes(&other, "10.9.0.9 80", "");
}
