//! Networks as their users see them: verbs and refusals, traffic, names, published ports, and what outlives the daemon.
//!
//! Each daemon lives in a network namespace of its own; "the host" of these tests is that namespace.

use std::time::Duration;

use serde_json::{Value, json};
use shipway_testkit::{Daemon, Setup, eventually};

use crate::BINARY;

mod crowd;
mod joining;
mod kinds;
mod outside;
mod staying;
mod storm;

/// A program that answers every connection on port 80 with its name.
const SERVER: &str = "while true; do echo hello from $NAME | nc -l -p 80; done";

fn daemon() -> Daemon {
    let daemon = Setup::new(BINARY).with_networks().start();
    daemon.import_busybox("box");
    daemon
}

/// Runs our command line; its output and errors.
#[track_caller]
fn shipway(daemon: &Daemon, line: &str) -> String {
    let (code, text) = try_shipway(daemon, line);
    assert_eq!(code, Some(0), "{line}: {text}");
    text
}

fn try_shipway(daemon: &Daemon, line: &str) -> (Option<i32>, String) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = daemon.shipway(&words);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text.trim_end().to_owned())
}

/// A running container that serves port 80 under `name`.
fn server(daemon: &Daemon, name: &str, flags: &str) -> String {
    let words: Vec<&str> = flags.split_whitespace().collect();
    let mut arguments = vec!["run", "-d", "--name", name, "-e"];
    let variable = format!("NAME={name}");
    arguments.push(&variable);
    arguments.extend(words);
    arguments.extend(["box", "sh", "-c", SERVER]);
    let output = daemon.shipway(&arguments);
    assert!(output.status.success(), "{name}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn inspect(daemon: &Daemon, name: &str) -> Value {
    daemon.get(&format!("/containers/{name}/json"))["NetworkSettings"].clone()
}

fn address(daemon: &Daemon, name: &str, network: &str) -> String {
    inspect(daemon, name)["Networks"][network]["IPAddress"].as_str().unwrap_or_default().to_owned()
}

/// What the "host" reads from `target`.
fn fetch(daemon: &Daemon, target: &str) -> String {
    let output = daemon.netns().try_run(&format!("busybox nc -w 2 {target} </dev/null"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[track_caller]
fn answers(daemon: &Daemon, target: &str, expected: &str) {
    let mut last = String::new();
    for _ in 0..50 {
        last = fetch(daemon, target);
        if last == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{target} says {last:?} instead of {expected:?}");
}

#[test]
fn the_predefined_networks_are_there_and_stay() {
    let daemon = daemon();
    assert_eq!(shipway(&daemon, "network ls --format {{.Name}}:{{.Driver}}"), "bridge:bridge\nhost:host\nnone:null");
    for name in ["bridge", "host", "none"] {
        let (code, text) = try_shipway(&daemon, &format!("network rm {name}"));
        assert!(code == Some(1) && text.contains(&format!("{name} is a pre-defined network and cannot be removed")), "{text}");
        assert_eq!(daemon.post("/networks/create", &json!({"Name": name})).status, 403);
    }
    assert_eq!(daemon.netns().run("ip -o link | wc -l").trim(), "1", "no kernel object before the first container");
}

#[test]
fn refusals_name_the_other_party_and_the_way_out() {
    let daemon = daemon();
    shipway(&daemon, "network create --subnet 10.9.0.0/24 nat");
    let (code, text) = try_shipway(&daemon, "network create nat");
    assert_eq!(code, Some(1));
    assert!(text.contains("network with name nat already exists") && text.contains("bridge 10.9.0.0/24, 0 containers"), "{text}");
    assert_eq!(shipway(&daemon, "network create --if-absent nat").len(), 64);
    for (body, status, words) in [
        (json!({"Name": "nat", "CheckDuplicate": true}), 409, "network with name nat already exists"),
        (json!({"Name": "a;b"}), 400, "Invalid network name (a;b)"),
        (json!({"Name": "x", "Driver": "foo"}), 404, "plugin \"foo\" not found"),
        (json!({"Name": "x", "Driver": "overlay"}), 404, "plugin \"overlay\" not found"),
        (json!({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.9.0.0/16"}]}}), 403, "Pool overlaps with other one on this address space"),
        (json!({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.8.0.0/33"}]}}), 400, "Invalid subnet 10.8.0.0/33 : invalid CIDR address"),
        (
            json!({"Name": "x", "Options": {"com.docker.network.driver.mtu": "abc"}}),
            400,
            "failed to parse com.docker.network.driver.mtu value: abc",
        ),
        (
            json!({"Name": "x", "Options": {"com.docker.network.bridge.name": "a b"}}),
            400,
            "failed to parse com.docker.network.bridge.name value: a b",
        ),
    ] {
        let answer = daemon.post("/networks/create", &body);
        let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == status && message.contains(words), "{body}: {} {message}", answer.status);
    }
    server(&daemon, "web", "--network nat");
    let (_, text) = try_shipway(&daemon, "network rm nat");
    assert!(text.contains("has active endpoints (name:\"web\"") && text.contains("network disconnect nat web"), "{text}");
    let (_, text) = try_shipway(&daemon, "network connect nat web");
    assert!(text.contains("endpoint with name web already exists in network nat"), "{text}");
    let (_, text) = try_shipway(&daemon, "network connect mat web");
    assert!(text.contains("network mat not found") && text.contains("did you mean nat?"), "{text}");
    for (flags, words) in [
        ("--network nosuch", "network nosuch not found"),
        ("--ip 172.17.0.9", "user specified IP address is supported on user defined networks only"),
        ("--network nat --ip 10.10.0.9", "Invalid address 10.10.0.9: It does not belong to any of this network's subnets"),
        ("--network nat --ip 10.9.0.1", "Address already in use"),
        ("--network container:web -p 80", "conflicting options: port publishing and the container type network mode"),
    ] {
        let (code, text) = try_shipway(&daemon, &format!("run --rm {flags} box true"));
        assert!(code == Some(125) && text.contains(words), "{flags}: {code:?} {text}");
    }
}

#[test]
fn containers_of_a_network_find_each_other_by_name_and_others_do_not() {
    let daemon = daemon();
    shipway(&daemon, "network create nat");
    shipway(&daemon, "network create other");
    server(&daemon, "web", "--network nat --network-alias www");
    for name in ["web", "www", "web.nat"] {
        let said = shipway(&daemon, &format!("run --rm --network nat box nc -w 3 {name} 80"));
        assert_eq!(said, "hello from web", "{name}");
    }
    let (code, _) = try_shipway(&daemon, "run --rm --network other box nslookup web");
    assert_ne!(code, Some(0), "another network's names are not known");
    let web = address(&daemon, "web", "nat");
    let (code, _) = try_shipway(&daemon, &format!("run --rm --network other box nc -w 1 {web} 80"));
    assert_ne!(code, Some(0), "another network's addresses are not reached");
    // Joined at run time, under another name; left again.
    server(&daemon, "late", "--network other");
    shipway(&daemon, "network connect --alias sea nat late");
    assert_eq!(shipway(&daemon, "run --rm --network nat box nc -w 3 sea 80"), "hello from late");
    shipway(&daemon, "rename late later");
    assert_eq!(shipway(&daemon, "run --rm --network nat box nc -w 3 later 80"), "hello from late");
    shipway(&daemon, "network disconnect nat later");
    let (code, _) = try_shipway(&daemon, "run --rm --network nat box nc -w 1 sea 80");
    assert_ne!(code, Some(0));
    assert_eq!(inspect(&daemon, "later")["Networks"].as_object().unwrap().keys().collect::<Vec<_>>(), ["other"]);
}

#[test]
fn published_ports_answer_on_the_host_and_a_taken_one_fails_before_any_process() {
    let daemon = daemon();
    server(&daemon, "iotd", "-p 800:80 -p 127.0.0.1:801:80 -p 9000-9010:81/udp");
    answers(&daemon, "127.0.0.1 800", "hello from iotd");
    answers(&daemon, "127.0.0.1 801", "hello from iotd");
    assert_eq!(shipway(&daemon, "port iotd 80/tcp"), "0.0.0.0:800\n127.0.0.1:801\n[::]:800");
    assert_eq!(shipway(&daemon, "port iotd 81/udp"), "0.0.0.0:9000\n[::]:9000");
    let ports = shipway(&daemon, "ps --format {{.Ports}}");
    assert!(ports.contains("0.0.0.0:800->80/tcp") && ports.contains("127.0.0.1:801->80/tcp"), "{ports}");
    let (code, text) = try_shipway(&daemon, "run --name second -p 800:80 box true");
    assert_eq!(code, Some(125));
    assert!(text.contains("port 800 is used by container \"iotd\"") && text.contains("port is already allocated"), "{text}");
    assert_eq!(daemon.get("/containers/second/json")["State"]["Status"], "created");
    // Through the host's own address, from another container and from another network.
    let host = inspect(&daemon, "iotd")["Gateway"].as_str().unwrap().to_owned();
    shipway(&daemon, "network create other");
    for network in ["bridge", "other"] {
        let said = shipway(&daemon, &format!("run --rm --network {network} box nc -w 3 {host} 800"));
        assert_eq!(said, "hello from iotd", "{network}");
    }
    // A port of a family that the network does not have is taken as long as its container lives, not longer.
    for _ in 0..2 {
        shipway(&daemon, "run --rm -p [::1]:802:80 box true");
    }
    // Stopped, its port is free at once; started, it has it again.
    shipway(&daemon, "stop -t 0 iotd");
    shipway(&daemon, "start second");
    shipway(&daemon, "wait second");
    shipway(&daemon, "start iotd");
    answers(&daemon, "127.0.0.1 800", "hello from iotd");
}

#[test]
fn networks_outlive_the_daemon_and_are_made_again_after_a_reboot() {
    let mut daemon = daemon();
    shipway(&daemon, "network create --subnet 10.9.0.0/24 nat");
    server(&daemon, "web", "--network nat --ip 10.9.0.9 -p 800:80 --restart always");
    server(&daemon, "peer", "--network nat");
    daemon.kill_9();
    answers(&daemon, "127.0.0.1 800", "hello from web");
    daemon.restart();
    answers(&daemon, "127.0.0.1 800", "hello from web");
    assert_eq!(shipway(&daemon, "exec peer nc -w 3 web 80"), "hello from web", "names are answered again");
    let (_, text) = try_shipway(&daemon, "run --rm -p 800:80 box true");
    assert!(text.contains("port 800 is used by container \"web\""), "{text}");
    let (_, text) = try_shipway(&daemon, "run --rm --network nat --ip 10.9.0.9 box true");
    assert!(text.contains("Address already in use"), "{text}");
    // Stopped in order: the containers go on too.
    assert!(daemon.stop().success());
    answers(&daemon, "127.0.0.1 800", "hello from web");
    daemon.restart();
    // The machine goes down: no process, no interface, no rule is left.
    daemon.reboot();
    wipe(&daemon);
    daemon.restart();
    answers(&daemon, "127.0.0.1 800", "hello from web");
    assert_eq!(address(&daemon, "web", "nat"), "10.9.0.9");
    assert_eq!(daemon.get("/containers/peer/json")["State"]["Status"], "exited");
}

/// What a reboot does to the kernel's network.
fn wipe(daemon: &Daemon) {
    daemon.netns().run("nft flush ruleset; for i in $(ip -o link | cut -d: -f2 | cut -d@ -f1); do ip link del $i 2>/dev/null; done; true");
}

#[test]
fn a_build_step_has_the_bridge_or_the_network_it_is_given() {
    let daemon = daemon();
    shipway(&daemon, "network create nat");
    server(&daemon, "web", "--network nat");
    let context = |script: &str| {
        let dockerfile = format!("FROM box\nRUN {script}\n");
        shipway_testkit::Tar::new().file("Dockerfile", dockerfile).finish()
    };
    daemon.build("t=plain&nocache=1", &context("ip route | grep -q ^default && ip addr show eth0 | grep -q 172.17")).unwrap();
    daemon.build("t=named&nocache=1&networkmode=nat", &context("nc -w 3 web 80 | grep -q hello")).unwrap();
    daemon.build("t=none&nocache=1&networkmode=none", &context("test $(ls /sys/class/net | wc -l) = 1 || ! ip addr show eth0")).unwrap();
    let refusal = daemon.build("t=missing&nocache=1&networkmode=nosuch", &context("true")).unwrap_err();
    assert!(refusal.contains("network nosuch not found"), "{refusal}");
    eventually("steps leave no interface", 10, || {
        let left = daemon.netns().run("ip -o link | grep -c '@' || true");
        (left.trim() == "1").then_some(())
    });
}

/// Steps follow each other in places that were used before; a network that had an interface is no later step's.
#[test]
fn steps_with_and_without_a_network_take_turns() {
    let daemon = daemon();
    shipway(&daemon, "network create nat");
    server(&daemon, "web", "--network nat");
    let context = |script: &str| {
        let dockerfile = format!("FROM box\n{}", format!("RUN {script}\n").repeat(3));
        shipway_testkit::Tar::new().file("Dockerfile", dockerfile).finish()
    };
    let alone = context(
        "test $(ls /sys/class/net | grep -c eth) = 0 && ! nc -w 1 172.17.0.1 80 && nc -l -p 80 -e true & sleep 0.1; nc -w 1 127.0.0.1 80",
    );
    let joined = context("nc -w 3 web 80 | grep -q hello");
    let address = address(&daemon, "web", "nat");
    let outside = context(&format!("nc -w 3 {address} 80 | grep -q hello"));
    for round in 0..6 {
        daemon.build(&format!("t=alone{round}&nocache=1&networkmode=none"), &alone).unwrap();
        daemon.build(&format!("t=outside{round}&nocache=1&networkmode=host"), &outside).unwrap();
        daemon.build(&format!("t=joined{round}&nocache=1&networkmode=nat"), &joined).unwrap();
        std::thread::sleep(Duration::from_millis(200 * (round % 3)));
    }
    daemon.build("t=joined&nocache=1&networkmode=nat", &joined).unwrap();
}

#[test]
fn an_internal_network_reaches_nothing_outside() {
    let daemon = daemon();
    shipway(&daemon, "network create --internal closed");
    server(&daemon, "in", "--network closed");
    assert_eq!(shipway(&daemon, "run --rm --network closed box nc -w 3 in 80"), "hello from in");
    assert_eq!(shipway(&daemon, "run --rm --network closed box ip route").lines().filter(|line| line.starts_with("default")).count(), 0);
}
