//! Networks of other kinds than a plain bridge, the daemon's settings of networks, and the doctor.

use serde_json::json;
use shipway_testkit::{Daemon, Setup};

use super::{address, answers, daemon, server, shipway, try_shipway};
use crate::BINARY;

#[track_caller]
fn refused(daemon: &Daemon, line: &str, words: &str) {
    let (code, text) = try_shipway(daemon, line);
    assert!(code != Some(0) && text.contains(words), "{line}: {code:?} {text}");
}

#[test]
fn a_macvlan_network_is_a_neighbour_of_the_host() {
    let mut daemon = daemon();
    // What is at the other end of the cable is, here, the host too.
    daemon
        .netns()
        .run("ip link add wan0 type veth peer name wan1; ip link set wan0 up; ip link set wan1 up; ip addr add 192.0.2.9/24 dev wan1");
    let lan = "network create -d macvlan --subnet 192.0.2.0/24 --gateway 192.0.2.9";
    shipway(&daemon, &format!("{lan} -o parent=wan0 lan"));
    server(&daemon, "web", "--network lan --ip 192.0.2.77");
    answers(&daemon, "192.0.2.77 80", "hello from web");
    assert_eq!(shipway(&daemon, "run --rm --network lan box nc -w 3 web 80"), "hello from web", "names as in other networks");
    let route = shipway(&daemon, "exec web ip route");
    assert!(route.contains("default via 192.0.2.9 dev eth0"), "{route}");
    assert_eq!(shipway(&daemon, "network inspect --format {{.Driver}} lan"), "macvlan");
    refused(
        &daemon,
        "network create -d macvlan --subnet 192.0.3.0/24 -o parent=wan0 two",
        "network lan is already using parent interface wan0",
    );
    refused(&daemon, "network create -d macvlan -o parent=nowhere two", "this host has no interface \"nowhere\"");
    refused(&daemon, "network create -d macvlan -o parent=wan1 -o macvlan_mode=odd two", "requested macvlan mode 'odd' is not valid");
    // Where the kernel has no ipvlan, it says so before there is a network.
    let (code, text) = try_shipway(&daemon, "network create -d ipvlan --subnet 192.0.3.0/24 -o parent=wan1 five");
    assert!(code == Some(0) || text.contains("network driver \"ipvlan\" by this kernel is not supported yet"), "{code:?} {text}");
    shipway(&daemon, "rm -f web");
    shipway(&daemon, "network rm lan");
    // Several subnets of a family: the first one with a free address, or the one of the address that was asked for.
    let both = "network create -d macvlan --subnet 192.0.2.0/24 --subnet 198.51.100.0/24 --gateway 192.0.2.9 --gateway 198.51.100.9";
    shipway(&daemon, &format!("{both} -o parent=wan0 lan"));
    let script = "ip -4 -o addr show eth0 | grep -o 'inet [0-9.]*'; ip route | grep -o '^default via [0-9.]*'";
    let told = |address: &str| {
        let wish: &[&str] = if address.is_empty() { &[] } else { &["--ip", address] };
        let words = [&["run", "--rm", "--network", "lan"], wish, &["box", "sh", "-c", script]].concat();
        String::from_utf8_lossy(&daemon.shipway(&words).stdout).into_owned()
    };
    assert_eq!(told(""), "inet 192.0.2.1\ndefault via 192.0.2.9\n");
    assert_eq!(told("198.51.100.7"), "inet 198.51.100.7\ndefault via 198.51.100.9\n");
    let overlap = "network create -d macvlan --subnet 192.0.4.0/24 --subnet 192.0.4.0/25 -o parent=wan1 x";
    refused(&daemon, overlap, "Pool overlaps with other one on this address space");
    // Without an interface of the host: containers among themselves, on one that comes and goes with the network.
    shipway(&daemon, "network create -d macvlan --subnet 10.3.0.0/24 alone");
    server(&daemon, "hermit", "--network alone");
    assert_eq!(shipway(&daemon, "run --rm --network alone box nc -w 3 hermit 80"), "hello from hermit");
    assert_eq!(shipway(&daemon, "exec hermit ip route"), "10.3.0.0/24 dev eth0 scope link  src 10.3.0.2");
    daemon.kill_9();
    daemon.netns().run("ip link del $(ip -o link | grep -o ' dm-[0-9a-f]*')");
    daemon.restart();
    shipway(&daemon, "restart -t 0 hermit");
    assert_eq!(shipway(&daemon, "run --rm --network alone box nc -w 3 hermit 80"), "hello from hermit");
    shipway(&daemon, "rm -f hermit");
    shipway(&daemon, "network rm alone");
    assert!(!daemon.netns().run("ip -o link").contains("dm-"), "it went with its network");
    // A VLAN of an interface is made where the kernel has them, and goes with its network.
    let (code, text) = try_shipway(&daemon, "network create -d macvlan --subnet 10.4.0.0/24 -o parent=wan1.50 tagged");
    if code == Some(0) {
        assert!(daemon.netns().run("ip -d link show wan1.50").contains("vlan protocol 802.1Q id 50"));
        shipway(&daemon, "network rm tagged");
    } else {
        assert!(text.contains("a VLAN such as wan1.50 by this kernel is not supported yet"), "{text}");
    }
    assert!(!daemon.netns().run("ip -o link").contains("wan1.50"));
    refused(&daemon, "network create -d macvlan -o parent=nowhere.50 x", "this host has no interface \"nowhere\"");
    refused(&daemon, "network create -d macvlan -o parent=wan1.x x", "unable to parse a valid vlan id from: x");
    refused(&daemon, "network create --subnet 10.1.0.0/24 --subnet 10.2.0.0/24 two", "bridge driver doesn't support multiple subnets");
    shipway(&daemon, "network rm lan");
}

#[test]
fn a_configuration_is_taken_by_other_networks_and_joined_by_nobody() {
    let daemon = daemon();
    shipway(&daemon, "network create --config-only --subnet 10.61.30.0/24 --label a=b -o com.docker.network.driver.mtu=1300 plan");
    shipway(&daemon, "network create --config-from plan real");
    let format = "{{.Driver}} {{.ConfigOnly}} {{.ConfigFrom.Network}} {{(index .IPAM.Config 0).Subnet}} {{.Labels.a}}";
    let told = |name: &str| {
        let output = daemon.shipway(&["network", "inspect", "--format", format, name]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(told("plan"), "null true  10.61.30.0/24 b");
    assert_eq!(told("real"), "bridge false plan 10.61.30.0/24 b");
    assert_eq!(shipway(&daemon, "run --rm --network real box cat /sys/class/net/eth0/mtu"), "1300");
    refused(&daemon, "run --rm --network plan box true", "cannot create endpoint on configuration-only network");
    refused(&daemon, "network create --config-from nosuch x", "configuration network \"nosuch\" does not exist");
    refused(&daemon, "network create --config-from plan --label x=y x", "user specified configurations are not supported");
    refused(&daemon, "network rm plan", "configuration network \"plan\" is in use");
    shipway(&daemon, "network rm real");
    shipway(&daemon, "network rm plan");
}

#[test]
fn the_daemon_s_settings_of_networks_count() {
    let setup = Setup::new(BINARY).with_networks();
    let flags = [
        "--default-address-pool",
        "base=10.77.0.0/16,size=24",
        "--bip",
        "10.5.0.9/24",
        "--mtu",
        "1400",
        "--icc=false",
        "--ip",
        "127.0.0.1",
    ];
    let daemon = flags.into_iter().fold(setup, Setup::argument).start();
    daemon.import_busybox("box");
    shipway(&daemon, "network create one");
    server(&daemon, "web", "-p 8080:80");
    assert_eq!(address(&daemon, "web", "bridge"), "10.5.0.1", "the first that is not the bridge's own");
    assert_eq!(shipway(&daemon, "exec web cat /sys/class/net/eth0/mtu"), "1400");
    assert_eq!(shipway(&daemon, "port web 80"), "127.0.0.1:8080");
    let (code, _) = try_shipway(&daemon, "run --rm box nc -w 1 10.5.0.1 80");
    assert_ne!(code, Some(0), "containers of the default bridge do not talk");
    let pools = daemon.get("/info")["DefaultAddressPools"].clone();
    assert_eq!(pools, json!([{"Base": "10.77.0.0/16", "Size": 24}]));
    let subnet = daemon.get("/networks/one")["IPAM"]["Config"][0]["Subnet"].clone();
    assert_eq!(subnet, json!("10.77.0.0/24"));
}

#[test]
fn gateways_have_modes() {
    let daemon = daemon();
    let mode = "com.docker.network.bridge.gateway_mode_ipv4";
    shipway(&daemon, &format!("network create --internal --subnet 10.9.0.0/24 -o {mode}=isolated alone"));
    server(&daemon, "web", "--network alone --ip 10.9.0.9");
    assert_eq!(shipway(&daemon, "run --rm --network alone box nc -w 3 web 80"), "hello from web");
    assert!(!daemon.netns().run("ip -o addr").contains("10.9.0.1"), "the host is not in it");
    refused(&daemon, &format!("network create -o {mode}=isolated x"), "gateway mode 'isolated' can only be used for an internal network");
    refused(&daemon, &format!("network create -o {mode}=odd x"), "unknown gateway mode odd");
    shipway(&daemon, &format!("network create -o {mode}=nat-unprotected open"));
}

#[test]
fn the_doctor_says_what_is_reached_from_where_and_how_to_mend_what_is_not() {
    let daemon = daemon();
    assert_eq!(shipway(&daemon, "network doctor"), "no container is in a network with a bridge\nnothing is wrong");
    shipway(&daemon, "network create --subnet 10.9.0.0/24 nat");
    server(&daemon, "web", "--network nat --ip 10.9.0.9 -p 8080:80 -p 127.0.0.1:8081:81");
    let report = shipway(&daemon, "network doctor");
    for words in
        ["nat  (", "10.9.0.0/24, MTU 1500)  up", "8080/tcp -> web (10.9.0.9:80)", "from other machines    yes", "from other machines    no"]
    {
        assert!(report.contains(words), "{words}: {report}");
    }
    assert!(report.contains("mend: ip route add default via ROUTER"), "{report}");
    daemon.netns().run("sysctl -qw net.ipv4.ip_forward=0; ip link set $(ip -o link show type bridge | cut -d: -f2 | head -1) down");
    let (code, report) = try_shipway(&daemon, "network doctor");
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("mend: sysctl -w net.ipv4.ip_forward=1") && report.contains("mend: ip link set"), "{report}");
    let facts = daemon.get("/shipway/networks/doctor");
    assert_eq!((&facts["healthy"], &facts["ports"][0]["container"]), (&json!(false), &json!("web")));
}
