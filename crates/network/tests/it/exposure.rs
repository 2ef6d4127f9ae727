//! Who reaches what: the matrix of SPECIFICATION.md, by TCP and UDP, IPv4 and IPv6 (S-301 to S-309).

use crate::world::{Space, World, closed, internal};

const ONE: &str = "10.1.0.2";
const ONE_V6: &str = "fd00:1::2";

/// Asks by both transports; they must agree.
fn ask(from: &Space, target: &str) -> Option<String> {
    let (tcp, udp) = (from.tcp(target), from.udp(target));
    assert_eq!(tcp, udp, "tcp and udp differ at {target}");
    tcp
}

/// As `ask`, where an answer is expected.
fn reach(from: &Space, target: &str) -> Option<String> {
    let (tcp, udp) = (from.seen(target), from.seen_by_udp(target));
    assert_eq!(tcp, udp, "tcp and udp differ at {target}");
    tcp
}

#[test]
fn the_exposure_matrix() {
    exposure_matrix(&World::new());
}

/// Where `br_netfilter` is on, bridged packets pass the firewall an extra time, earlier: all ways but one must be the same.
#[test]
fn the_exposure_matrix_where_bridges_ask_the_firewall() {
    exposure_matrix(&World::with_bridge_filter());
}

fn exposure_matrix(world: &World) {
    let (first, second) = (world.network(1, |_| ()), world.network(2, |_| ()));
    let (server, same, other) = (world.container(&first, 2), world.container(&first, 3), world.container(&second, 2));
    let both = |text: &str| [text.to_owned(), format!("{text}/udp")];
    for text in ["8080:80", "127.0.0.1:8081:80", "[::1]:8081:80", "192.0.2.1:8082:80", "[fd00:9::1]:8082:80"] {
        world.publish(&first, 2, &both(text).iter().map(String::as_str).collect::<Vec<_>>());
    }
    // With `br_netfilter` the kernel undoes the translation before it looks at the packet, and drops what has ::1 in it: the host's own
    // [::1]:port is then closed, and 127.0.0.1:port the way to go.
    let six = |seen: &'static str| Some(seen).filter(|_| !world.bridge_filter);
    // From, to, and whom the server sees.
    let table: &[(&str, &Space, &str, Option<&str>)] = &[
        ("host", &world.here, "127.0.0.1:8080", Some("10.1.0.1")),
        ("host", &world.here, "[::1]:8080", six("fd00:1::1")),
        ("host", &world.here, "192.0.2.1:8080", Some("10.1.0.1")),
        ("host", &world.here, "[fd00:9::1]:8080", Some("fd00:1::1")),
        ("host", &world.here, "10.1.0.2:80", Some("10.1.0.1")),
        ("host", &world.here, "[fd00:1::2]:80", Some("fd00:1::1")),
        ("host", &world.here, "127.0.0.1:8081", Some("10.1.0.1")),
        ("host", &world.here, "[::1]:8081", six("fd00:1::1")),
        ("host", &world.here, "192.0.2.1:8081", None),
        ("host", &world.here, "[fd00:9::1]:8081", None),
        ("host", &world.here, "127.0.0.1:8082", None),
        ("host", &world.here, "192.0.2.1:8082", Some("10.1.0.1")),
        ("neighbour", &world.neighbour, "192.0.2.1:8080", Some("192.0.2.9")),
        ("neighbour", &world.neighbour, "[fd00:9::1]:8080", Some("fd00:9::9")),
        ("neighbour", &world.neighbour, "192.0.2.1:8081", None),
        ("neighbour", &world.neighbour, "[fd00:9::1]:8081", None),
        ("neighbour", &world.neighbour, "192.0.2.1:8082", Some("192.0.2.9")),
        ("neighbour", &world.neighbour, "[fd00:9::1]:8082", Some("fd00:9::9")),
        // By routing to the container: neither published nor unpublished ports.
        ("neighbour", &world.neighbour, "10.1.0.2:80", None),
        ("neighbour", &world.neighbour, "[fd00:1::2]:80", None),
        ("neighbour", &world.neighbour, "10.2.0.2:80", None),
        ("same network", &same, "10.1.0.2:80", Some("10.1.0.3")),
        ("same network", &same, "[fd00:1::2]:80", Some("fd00:1::3")),
        // Through the host: the answer has to come back that way, so the source is the bridge's.
        ("same network", &same, "192.0.2.1:8080", Some("10.1.0.1")),
        ("same network", &same, "[fd00:9::1]:8080", Some("fd00:1::1")),
        ("same network", &same, "10.1.0.1:8080", Some("10.1.0.1")),
        ("same network", &same, "192.0.2.1:8081", None),
        ("itself", &server, "192.0.2.1:8080", Some("10.1.0.1")),
        ("itself", &server, "[fd00:9::1]:8080", Some("fd00:1::1")),
        ("other network", &other, "10.1.0.2:80", None),
        ("other network", &other, "[fd00:1::2]:80", None),
        ("other network", &other, "192.0.2.1:8080", Some("10.2.0.2")),
        ("other network", &other, "[fd00:9::1]:8080", Some("fd00:2::2")),
        ("other network", &other, "10.2.0.1:8080", Some("10.2.0.2")),
        ("other network", &other, "10.2.0.1:8081", None),
    ];
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(name, from, target, expected)| {
            let got = if expected.is_some() { reach(from, target) } else { ask(from, target) };
            (got.as_deref() != *expected).then(|| format!("from {name} to {target}: {got:?}, expected {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(reach(&world.here, &format!("{ONE}:80")).is_some() && reach(&world.here, &format!("[{ONE_V6}]:80")).is_some());
}

#[test]
fn containers_do_not_talk_when_told_so_but_through_published_ports() {
    let world = World::new();
    let network = world.network(1, closed);
    let (server, client) = (world.container(&network, 2), world.container(&network, 3));
    assert_eq!(ask(&client, "10.1.0.2:80"), None);
    assert_eq!(ask(&client, "[fd00:1::2]:80"), None);
    assert_eq!(reach(&world.here, "10.1.0.2:80").as_deref(), Some("10.1.0.1"));
    world.publish(&network, 2, &["8080:80", "8080:80/udp"]);
    assert_eq!(reach(&world.neighbour, "192.0.2.1:8080").as_deref(), Some("192.0.2.9"));
    drop(server);
}

#[test]
fn an_internal_network_talks_to_itself_alone() {
    let world = World::new();
    let (inside, outside) = (world.network(1, internal), world.network(2, |_| ()));
    let (one, two, other) = (world.container(&inside, 2), world.container(&inside, 3), world.container(&outside, 2));
    world.publish(&outside, 2, &["8080:80", "8080:80/udp"]);
    world.neighbour.serve(8000);
    assert_eq!(reach(&one, "10.1.0.3:80").as_deref(), Some("10.1.0.2"));
    // Even a container that gives itself a default route gets nowhere.
    for space in [&one, &two] {
        space.run(|| {
            use shipway_sys::netlink::route::{NewRoute, Via};
            let mut request = shipway_sys::netlink::Request::new();
            let via = Via::Neighbour("10.1.0.1".parse().unwrap());
            request.add_route(&NewRoute { destination: "0.0.0.0".parse().unwrap(), prefix: 0, link: 16, via });
            shipway_sys::netlink::Socket::open(shipway_sys::netlink::Family::Route).unwrap().perform(request).unwrap();
        });
    }
    for target in ["192.0.2.9:8000", "10.2.0.2:80", "192.0.2.1:8080", "10.1.0.1:8080"] {
        assert_eq!(ask(&one, target), None, "{target}");
    }
    assert_eq!(ask(&world.neighbour, "10.1.0.2:80"), None);
    assert_eq!(ask(&other, "10.1.0.2:80"), None);
}

#[test]
fn nobody_outside_reaches_the_hosts_loopback() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let container = world.container(&network, 2);
    world.publish(&network, 2, &["127.0.0.1:8081:80", "127.0.0.1:8081:80/udp"]);
    world.here.serve(9000);
    assert!(reach(&world.here, "127.0.0.1:9000").is_some());
    // Packets for 127.0.0.0/8 leave these namespaces only when they are routed out on purpose, as an attacker would.
    for (space, gateway) in [(&container, "10.1.0.1"), (&world.neighbour, "192.0.2.1")] {
        space.run(|| {
            use shipway_sys::netlink::route::{Address, NewRoute, Via};
            use shipway_sys::netlink::{Family, Request, Socket};
            let socket = Socket::open(Family::Route).unwrap();
            let mut request = Request::new();
            request.delete_address(&Address { link: 1, address: "127.0.0.1".parse().unwrap(), prefix: 8 });
            socket.perform(request).unwrap();
            for setting in ["all", "eth0"] {
                std::fs::write(format!("/proc/sys/net/ipv4/conf/{setting}/route_localnet"), "1").unwrap();
            }
            let mut request = Request::new();
            let via = Via::Neighbour(gateway.parse().unwrap());
            request.add_route(&NewRoute { destination: "127.0.0.1".parse().unwrap(), prefix: 32, link: 16, via });
            socket.perform(request).unwrap();
        });
        for target in ["127.0.0.1:9000", "127.0.0.1:8081"] {
            assert_eq!(ask(space, target), None, "{target}");
        }
    }
}
