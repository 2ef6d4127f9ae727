//! Networks joined and left while a container runs, links of the default bridge, filters by port, and addresses of IPv6: as dockerd 20.10 has them.

use shipway_testkit::Daemon;

use super::{address, answers, daemon, inspect, server, shipway, try_shipway};

/// What a line of shell says inside a container.
#[track_caller]
fn inside(daemon: &Daemon, name: &str, script: &str) -> String {
    let output = daemon.shipway(&["exec", name, "sh", "-c", script]);
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn default_route(daemon: &Daemon, name: &str) -> String {
    inside(daemon, name, "ip route | grep ^default | sed 's/ *$//'")
}

/// The lines of /etc/hosts after the usual head.
fn hosts(daemon: &Daemon, name: &str) -> Vec<String> {
    inside(daemon, name, "sed 1,6d /etc/hosts").lines().map(str::to_owned).collect()
}

#[test]
fn a_network_that_is_joined_brings_its_names_at_once_and_the_default_route_when_it_comes_first() {
    let mut daemon = daemon();
    for (name, subnet) in [("nat", "10.9.0.0/24"), ("aaa", "10.8.0.0/24")] {
        shipway(&daemon, &format!("network create --subnet {subnet} {name}"));
    }
    server(&daemon, "web", "--network nat");
    let id = server(&daemon, "late", "-p 8080:80");
    let short = &id[..12];
    assert!(!inside(&daemon, "late", "cat /etc/resolv.conf").contains("127.0.0.11"));
    inside(&daemon, "late", "printf '10.1.1.1\\tmine\\n' >> /etc/hosts");

    shipway(&daemon, "network connect nat late");
    assert!(inside(&daemon, "late", "cat /etc/resolv.conf").starts_with("nameserver 127.0.0.11\n"));
    assert_eq!(inside(&daemon, "late", "nc -w 3 web 80"), "hello from web");
    assert_eq!(hosts(&daemon, "late"), ["10.1.1.1\tmine", &format!("172.17.0.2\t{short}"), &format!("10.9.0.3\t{short}")]);
    assert_eq!(default_route(&daemon, "late"), "default via 172.17.0.1 dev eth0", "bridge comes before nat");

    shipway(&daemon, "network connect aaa late");
    assert_eq!(default_route(&daemon, "late"), "default via 10.8.0.1 dev eth2", "aaa comes before bridge");
    answers(&daemon, "127.0.0.1 8080", "hello from late");
    assert_eq!(shipway(&daemon, "port late"), "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080");
    daemon.restart();
    answers(&daemon, "127.0.0.1 8080", "hello from late");
    assert_eq!(inside(&daemon, "late", "nc -w 3 web 80"), "hello from web");

    shipway(&daemon, "network disconnect aaa late");
    assert_eq!(default_route(&daemon, "late"), "default via 172.17.0.1 dev eth0");
    answers(&daemon, "127.0.0.1 8080", "hello from late");
    shipway(&daemon, "network disconnect nat late");
    assert_eq!(hosts(&daemon, "late"), ["10.1.1.1\tmine", &format!("172.17.0.2\t{short}")]);
    assert!(!inside(&daemon, "late", "cat /etc/resolv.conf").contains("127.0.0.11"));

    // What a program inside wrote into its resolv.conf is its own affair.
    inside(&daemon, "late", "echo nameserver 9.9.9.9 > /etc/resolv.conf");
    shipway(&daemon, "network connect --gw-priority 5 nat late");
    assert_eq!(inside(&daemon, "late", "cat /etc/resolv.conf"), "nameserver 9.9.9.9");
    assert_eq!(default_route(&daemon, "late"), "default via 10.9.0.1 dev eth1", "a priority goes before names");
}

fn id(daemon: &Daemon, name: &str) -> String {
    daemon.get(&format!("/containers/{name}/json"))["Config"]["Hostname"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_link_on_the_default_bridge_is_a_line_of_hosts_and_variables() {
    let daemon = daemon();
    let expose = "--expose 53/udp --expose 6000-6002";
    shipway(&daemon, &format!("run -d --name db -e SECRET=x --hostname dbhost {expose} box sleep 1000"));
    shipway(&daemon, "run -d --name web --link db:my-store -e MY_STORE_PORT=mine box sleep 1000");
    assert_eq!(hosts(&daemon, "web")[0], "172.17.0.2\tmy-store dbhost db");
    let variables = inside(&daemon, "web", "env | grep ^MY_STORE | grep -v -E '_(53|6001|6002)_' | sort");
    let expected = "MY_STORE_ENV_SECRET=x
MY_STORE_NAME=/web/my-store
MY_STORE_PORT=mine
MY_STORE_PORT_6000_TCP=tcp://172.17.0.2:6000
MY_STORE_PORT_6000_TCP_ADDR=172.17.0.2
MY_STORE_PORT_6000_TCP_END=tcp://172.17.0.2:6002
MY_STORE_PORT_6000_TCP_PORT=6000
MY_STORE_PORT_6000_TCP_PORT_END=6002
MY_STORE_PORT_6000_TCP_PORT_START=6000
MY_STORE_PORT_6000_TCP_PROTO=tcp
MY_STORE_PORT_6000_TCP_START=tcp://172.17.0.2:6000";
    assert_eq!(variables, expected);
    assert_eq!(shipway(&daemon, "inspect --format {{.HostConfig.Links}} web"), "[/db:/web/my-store]");

    // Back at another address, it is found there.
    shipway(&daemon, "stop -t 0 db");
    let (code, text) = try_shipway(&daemon, "restart -t 0 web");
    assert!(code == Some(1) && text.contains("Cannot link to a non running container: /db AS /web/my-store"), "{text}");
    shipway(&daemon, "start db");
    shipway(&daemon, "start web");
    shipway(&daemon, "stop -t 0 db");
    shipway(&daemon, "run -d --name thief box sleep 1000");
    shipway(&daemon, "start db");
    let now = address(&daemon, "db", "bridge");
    assert_ne!(now, "172.17.0.2");
    assert!(hosts(&daemon, "web").contains(&format!("{now}\tmy-store dbhost db")), "{:?}", hosts(&daemon, "web"));

    // Links go one by one, and with them their lines.
    shipway(&daemon, "run -d --name two --link db:x --link db:y box sleep 1000");
    assert_eq!(shipway(&daemon, "ps --no-trunc --filter name=db --format {{.Names}}"), "db,two/x,two/y,web/my-store");
    assert_eq!(shipway(&daemon, "rm --link two/x"), "two/x");
    assert_eq!(
        hosts(&daemon, "two"),
        [format!("{now}\ty dbhost db"), format!("{}\t{}", address(&daemon, "two", "bridge"), id(&daemon, "two"))]
    );
    assert_eq!(shipway(&daemon, "inspect --format {{.HostConfig.Links}} two"), "[/db:/two/y]");
    for (name, words) in [
        ("two/x", "No such container: two/x\n  hint: the links of two are two/y"),
        ("nosuch/x", "No such container: nosuch/x"),
        ("two", "Conflict, cannot remove the default link name of the container"),
    ] {
        let (code, text) = try_shipway(&daemon, &format!("rm --link {name}"));
        assert!(code == Some(1) && text.contains(words), "{name}: {code:?} {text}");
    }
    shipway(&daemon, "rm -l /two/y");
    shipway(&daemon, "rm -f db");
    shipway(&daemon, "restart -t 0 two");

    shipway(&daemon, "network create nat");
    shipway(&daemon, "run -d --name far --network nat box sleep 1000");
    for (link, code, words) in [
        ("nosuch", 125, "could not get container for nosuch: No such container: nosuch"),
        ("far", 125, "Cannot link to /far, as it does not belong to the default network"),
        ("db:a:b", 125, "bad format for links: db:a:b"),
    ] {
        let (found, text) = try_shipway(&daemon, &format!("run --rm --link {link} box true"));
        assert!(found == Some(code) && text.contains(words), "{link}: {found:?} {text}");
    }
}

#[test]
fn an_endpoint_may_name_its_interface_and_set_what_the_kernel_knows_of_it() {
    let daemon = daemon();
    shipway(&daemon, "network create nat");
    let name = "driver-opt=com.docker.network.endpoint.ifname=lan0";
    let settings =
        "\"driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.neigh.IFNAME.gc_stale_time=77\"";
    shipway(&daemon, &format!("run -d --name web --network name=nat,{name},{settings} box sleep 1000"));
    let told = inside(
        &daemon,
        "web",
        "cd /proc/sys/net/ipv4; cat conf/lan0/log_martians neigh/lan0/gc_stale_time; ip -o -4 addr show lan0 | wc -l",
    );
    assert_eq!(told, "1\n77\n1");
    shipway(&daemon, "network create other");
    shipway(&daemon, "network connect --driver-opt com.docker.network.endpoint.ifname=wan7 other web");
    assert_eq!(inside(&daemon, "web", "ls /sys/class/net"), "lan0\nlo\nwan7");
    shipway(&daemon, "network create third");
    for (option, words) in [
        ("ifname=lan0", "two interfaces of the container would be called lan0"),
        ("ifname=a;b", "invalid interface name \"a;b\""),
        ("sysctls=net.ipv4.ip_forward=1", "invalid endpoint sysctl \"net.ipv4.ip_forward=1\": write net.ipv4.conf.IFNAME.NAME=VALUE"),
        ("sysctls=net.ipv4.conf.IFNAME.nosuch=1", "/proc/sys/net/ipv4/conf/eth2/nosuch"),
    ] {
        let (code, text) = try_shipway(&daemon, &format!("network connect --driver-opt com.docker.network.endpoint.{option} third web"));
        assert!(code == Some(1) && text.contains(words), "{option}: {code:?} {text}");
    }
    assert_eq!(inside(&daemon, "web", "ls /sys/class/net"), "lan0\nlo\nwan7");
}

#[test]
fn containers_are_found_by_their_ports_and_networks() {
    let daemon = daemon();
    shipway(&daemon, "network create nat");
    shipway(&daemon, "run -d --name ca -p 8080:80 -p 9000-9002:7000-7002/udp box sleep 1000");
    shipway(&daemon, "run -d --name cb -P --expose 3000-3003 --expose 53/udp box sleep 1000");
    shipway(&daemon, "run -d --name cc --expose 4000-4001/tcp --network nat box sleep 1000");
    shipway(&daemon, "create --name ce -p 8081:81 box true");
    for (filter, expected) in [
        ("publish=8080", "ca"),
        ("publish=80", ""),
        ("publish=9001/udp", "ca"),
        ("publish=9001", ""),
        ("publish=8081", ""),
        ("expose=80", "ca"),
        ("expose=3001", "cb"),
        ("expose=53/udp", "cb"),
        ("expose=4001-4100", "cc"),
        ("expose=81", ""),
        ("network=nat", "cc"),
        ("network=bridge", "ce cb ca"),
        ("network=none", ""),
    ] {
        let found = shipway(&daemon, &format!("ps -a --filter {filter} --format {{{{.Names}}}}"));
        assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{filter}");
    }
    let either = shipway(&daemon, "ps -a --filter publish=8080 --filter expose=4000 --format {{.Names}}");
    assert_eq!(either, "cc\nca");
    // -P: every exposed port has one of the host's.
    let ports = inspect(&daemon, "cb")["Ports"].clone();
    let published: Vec<&String> = ports.as_object().unwrap().keys().collect();
    assert_eq!(published, ["3000/tcp", "3001/tcp", "3002/tcp", "3003/tcp", "53/udp"]);
    assert!(ports.as_object().unwrap().values().all(|bindings| bindings.as_array().is_some_and(|list| list.len() == 2)), "{ports}");
    let (code, text) = try_shipway(&daemon, "ps --filter publish=70000");
    assert!(code == Some(1) && text.contains("strconv.ParseUint: parsing \"70000\": value out of range"), "{text}");
}

#[test]
fn addresses_of_both_families_may_be_chosen() {
    let daemon = daemon();
    // With bridged packets in the firewall the kernel drops answers to ::1; the doctor says so.
    daemon.netns().run("sysctl -qw net.bridge.bridge-nf-call-ip6tables=0 || true");
    shipway(&daemon, "network create --ipv6 --subnet 172.30.0.0/24 --subnet fd00:30::/64 six");
    server(&daemon, "s1", "--network six --ip 172.30.0.9 --ip6 fd00:30::9 --link-local-ip 169.254.7.7 -p 8080:80");
    assert_eq!(inside(&daemon, "s1", "ip -6 route | grep ^default | sed 's/ *metric.*//'"), "default via fd00:30::1 dev eth0");
    assert!(inside(&daemon, "s1", "ip -o -4 a show eth0").contains("169.254.7.7/16"));
    assert_eq!(shipway(&daemon, "run --rm --network six box nc -w 3 fd00:30::9 80"), "hello from s1");
    let named = shipway(&daemon, "run --rm --network six box nslookup -type=aaaa s1");
    assert!(named.contains("Address: fd00:30::9"), "{named}");
    answers(&daemon, "::1 8080", "hello from s1");
    assert_eq!(inspect(&daemon, "s1")["Networks"]["six"]["GlobalIPv6Address"], "fd00:30::9");
    for (flags, words) in [
        ("--network six --ip6 fd00:30::9", "Address already in use: fd00:30::9 belongs to container \"s1\""),
        ("--network six --ip6 fd00:99::9", "Invalid address fd00:99::9: It does not belong to any of this network's subnets"),
        ("--ip6 fd00:99::9", "user specified IP address is supported on user defined networks only"),
        ("--network six --link-local-ip 10.0.0.1", "invalid link-local IP address 10.0.0.1"),
    ] {
        let (code, text) = try_shipway(&daemon, &format!("run --rm {flags} box true"));
        assert!(code == Some(125) && text.contains(words), "{flags}: {code:?} {text}");
    }
}
