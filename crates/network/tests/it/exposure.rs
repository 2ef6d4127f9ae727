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

/// What a container's ports are published on, and what is asked for there: the host's port, the container's.
const PORTS: [(u16, u16); 4] = [(8080, 80), (8081, 81), (8082, 82), (83, 83)];

/// One line of the table in SPECIFICATION.md: from whom, at which address, and whom the container sees by how its port is published.
struct Line {
    from: String,
    at: String,
    seen: Vec<String>,
}

/// The table of SPECIFICATION.md.
fn golden() -> Vec<Line> {
    let text = include_str!("../../../../SPECIFICATION.md");
    let table = text.split("<!-- exposure -->\n").nth(1).expect("the table is marked");
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().replace(" (1)", "")).collect::<Vec<_>>();
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|')).map(cells);
    lines.map(|cells| Line { from: cells[0].clone(), at: cells[1].clone(), seen: cells[2..].to_vec() }).collect()
}

/// One question: a cell of the table by one family and one transport.
struct Question<'a> {
    line: &'a Line,
    column: usize,
    v6: bool,
    udp: bool,
    from: &'a Space,
    target: String,
}

impl Question<'_> {
    /// Whom the container sees, in the table's words.
    fn ask(&self, expected: &str) -> String {
        let quick = if self.udp { self.from.udp(&self.target) } else { self.from.tcp(&self.target) };
        // The machine may be busy: what should come is waited for.
        let slow = || if self.udp { self.from.seen_by_udp(&self.target) } else { self.from.seen(&self.target) };
        let seen = if expected == "-" { quick } else { quick.or_else(slow) };
        let own = match (self.line.from.as_str(), self.v6) {
            ("a neighbour", false) => "192.0.2.9",
            ("a neighbour", true) => "fd00:9::9",
            ("its own network", false) => "10.1.0.3",
            ("its own network", true) => "fd00:1::3",
            ("another network", false) => "10.2.0.2",
            ("another network", true) => "fd00:2::2",
            ("the container itself", false) => ONE,
            ("the container itself", true) => ONE_V6,
            _ => "",
        };
        match seen.as_deref() {
            None => "-".to_owned(),
            Some("10.1.0.1" | "fd00:1::1") => "gateway".to_owned(),
            Some(text) if text == own => "itself".to_owned(),
            Some(other) => other.to_owned(),
        }
    }
}

fn exposure_matrix(world: &World) {
    let (first, second, third) = (world.network(1, |_| ()), world.network(2, |_| ()), world.network(3, internal));
    let (server, same, other, closed) =
        (world.container(&first, 2), world.container(&first, 3), world.container(&second, 2), world.container(&third, 2));
    PORTS[1..].iter().for_each(|(_, port)| server.serve(*port));
    // Even a container that gives itself a way out gets nowhere.
    add_default_routes(&closed, "10.3.0.1", "fd00:3::1");
    let both = |text: &str| [text.to_owned(), format!("{text}/udp")];
    for text in ["8080:80", "127.0.0.1:8081:81", "[::1]:8081:81", "192.0.2.1:8082:82", "[fd00:9::1]:8082:82"] {
        world.publish(&first, 2, &both(text).iter().map(String::as_str).collect::<Vec<_>>());
    }
    let golden = golden();
    assert_eq!(golden.len(), 19, "the table is read");
    let mut questions = Vec::new();
    for line in &golden {
        let from = match line.from.as_str() {
            "the host" => &world.here,
            "a neighbour" => &world.neighbour,
            "its own network" => &same,
            "the container itself" => &server,
            "another network" => &other,
            "an internal network" => &closed,
            other => panic!("{other}"),
        };
        for (column, v6, udp) in (0..PORTS.len()).flat_map(|column| [0, 1, 2, 3].map(|bits| (column, bits & 1 == 1, bits & 2 == 2))) {
            let (host_port, port) = PORTS[column];
            let bridge = match line.from.as_str() {
                "another network" => ["10.2.0.1", "[fd00:2::1]"],
                "an internal network" => ["10.3.0.1", "[fd00:3::1]"],
                _ => ["10.1.0.1", "[fd00:1::1]"],
            };
            let target = match line.at.as_str() {
                "the loopback" => format!("{}:{host_port}", ["127.0.0.1", "[::1]"][usize::from(v6)]),
                "an address of the host" => format!("{}:{host_port}", ["192.0.2.1", "[fd00:9::1]"][usize::from(v6)]),
                "its bridge's address" => format!("{}:{host_port}", bridge[usize::from(v6)]),
                "the container's address" => format!("{}:{port}", [ONE, &format!("[{ONE_V6}]")][usize::from(v6)]),
                other => panic!("{other}"),
            };
            questions.push(Question { line, column, v6, udp, from, target });
        }
    }
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let parts: Vec<_> = questions.chunks(questions.len().div_ceil(32)).collect();
        let asking: Vec<_> = parts
            .into_iter()
            .map(|part| scope.spawn(|| part.iter().filter_map(|question| mismatch(question, world)).collect::<Vec<_>>()))
            .collect();
        asking.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn mismatch(question: &Question<'_>, world: &World) -> Option<String> {
    let mut expected = question.line.seen[question.column].as_str();
    // With `br_netfilter` the kernel undoes the translation before it looks at the packet, and drops what has ::1 in it: the host's own
    // [::1]:port is then closed, and 127.0.0.1:port the way to go. The table says so below its lines.
    if world.bridge_filter && question.v6 && question.line.at == "the loopback" {
        expected = "-";
    }
    let got = question.ask(expected);
    let transport = if question.udp { "udp" } else { "tcp" };
    let Line { from, at, .. } = question.line;
    (got != expected).then(|| format!("from {from} to {at} ({}/{transport}): {got}, expected {expected}", question.target))
}

fn add_default_routes(space: &Space, v4: &str, v6: &str) {
    use shipway_sys::netlink::route::{NewRoute, Via};
    space.run(|| {
        let mut request = shipway_sys::netlink::Request::new();
        for (any, gateway) in [("0.0.0.0", v4), ("::", v6)] {
            let via = Via::Neighbour(gateway.parse().unwrap());
            request.add_route(&NewRoute { destination: any.parse().unwrap(), prefix: 0, link: 16, via });
        }
        shipway_sys::netlink::Socket::open(shipway_sys::netlink::Family::Route).unwrap().perform(request).unwrap();
    });
}

/// S-308: there is no proxy that accepts what nobody serves.
#[test]
fn a_published_port_without_a_program_behind_it_is_refused_at_once() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let _server = world.container(&network, 2);
    world.publish(&network, 2, &["8080:80", "8084:84"]);
    for (space, target) in [(&world.neighbour, "192.0.2.1:8084"), (&world.here, "127.0.0.1:8084"), (&world.neighbour, "[fd00:9::1]:8084")] {
        let target = target.parse().unwrap();
        let error = space.run(|| std::net::TcpStream::connect_timeout(&target, std::time::Duration::from_secs(5))).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{target}");
    }
    assert_eq!(world.neighbour.seen("192.0.2.1:8080").as_deref(), Some("192.0.2.9"));
}

/// S-303: a container that says it is a router changes nothing on the host, nor in its neighbours.
#[test]
fn routers_announcements_of_containers_are_not_heard() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let (liar, victim) = (world.container(&network, 2), world.container(&network, 3));
    // Default routes by a neighbour's word, and what comes of the prefix fd00:bad::/64.
    let learnt = |space: &Space| {
        let socket = space.run(|| shipway_sys::netlink::Socket::open(shipway_sys::netlink::Family::Route).unwrap());
        let lie = |address: std::net::IpAddr| address.to_string().starts_with("fd00:bad:");
        let by_word = |gateway: std::net::IpAddr| gateway.to_string().starts_with("fe80:");
        let routes = socket.routes().unwrap().into_iter().filter(|route| lie(route.destination) || route.gateway.is_some_and(by_word));
        routes.count() + socket.addresses().unwrap().into_iter().filter(|own| lie(own.address)).count()
    };
    let announce = || {
        // RFC 4861 4.2: router lifetime 1800 s; option 3: the prefix fd00:bad::/64, for autoconfiguration.
        let mut announcement = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        announcement.extend([3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0]);
        announcement.extend("fd00:bad::".parse::<std::net::Ipv6Addr>().unwrap().octets());
        send_to_all_nodes(&announcement);
    };
    liar.run(announce);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!((learnt(&world.here), learnt(&victim)), (0, 0));
    // The attack bites where somebody listens.
    victim.run(|| std::fs::write("/proc/sys/net/ipv6/conf/eth0/accept_ra", "2").unwrap());
    let fooled = (0..50).any(|_| {
        liar.run(announce);
        std::thread::sleep(std::time::Duration::from_millis(100));
        learnt(&victim) > 0
    });
    assert!(fooled, "the announcement is one");
}

/// Sends an ICMPv6 message from eth0's link-local address to every node of the link, as routers do.
fn send_to_all_nodes(message: &[u8]) {
    use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sockopt};
    let socket = rustix::net::socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6)).unwrap();
    sockopt::set_ipv6_multicast_hops(&socket, 255).unwrap();
    let to = std::net::SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, 16);
    rustix::net::sendto(&socket, message, SendFlags::empty(), &to).unwrap();
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
fn a_network_that_protects_nobody_is_reached_by_routing() {
    let world = World::new();
    let (open, usual) = (world.network(1, |segment| segment.unprotected_v4 = true), world.network(2, |_| ()));
    let (_one, _two) = (world.container(&open, 2), world.container(&usual, 2));
    assert_eq!(reach(&world.neighbour, "10.1.0.2:80").as_deref(), Some("192.0.2.9"));
    assert_eq!(ask(&world.neighbour, "[fd00:1::2]:80"), None, "the other family is as it was");
    assert_eq!(ask(&world.neighbour, "10.2.0.2:80"), None);
}

#[test]
fn where_containers_are_routed_to_published_ports_alone_are_open() {
    let world = World::new();
    let routed = world.network(1, |segment| {
        segment.routed.v4 = true;
        segment.masquerade_v4 = false;
    });
    let usual = world.network(2, |_| ());
    let (server, other) = (world.container(&routed, 2), world.container(&usual, 2));
    world.neighbour.serve(8000);
    assert_eq!(ask(&world.neighbour, "10.1.0.2:80"), None, "nothing is published yet");
    let published = world.publish(&routed, 2, &["8080:80", "8080:80/udp"]);
    // The client's address is kept, on the way in and from a network of the neighbourhood.
    assert_eq!(reach(&world.neighbour, "10.1.0.2:80").as_deref(), Some("192.0.2.9"));
    assert_eq!(reach(&other, "10.1.0.2:80").as_deref(), Some("10.2.0.2"));
    assert_eq!(ask(&world.neighbour, "192.0.2.1:8080"), None, "the host's own port is not used");
    assert_eq!(reach(&world.neighbour, "[fd00:9::1]:8080").as_deref(), Some("fd00:9::9"), "the other family is as it was");
    assert_eq!(ask(&world.neighbour, "[fd00:1::2]:80"), None);
    assert_eq!(ask(&server, "192.0.2.9:8000").as_deref(), Some("10.1.0.2"), "it speaks for itself outside");
    world.host.unpublish(&published).unwrap();
    assert_eq!(ask(&world.neighbour, "10.1.0.2:80"), None);
}

#[test]
fn an_interface_that_is_trusted_reaches_published_ports_at_the_containers_own_addresses() {
    let world = World::new();
    let trusting = world.network(1, |segment| {
        segment.trusted = vec!["absent0".parse().unwrap(), "wan0".parse().unwrap()];
        segment.routed.to_trusted = true;
    });
    let others = world.network(2, |segment| {
        segment.trusted = vec!["absent0".parse().unwrap()];
        segment.routed.to_trusted = true;
    });
    let (_server, _other, third) = (world.container(&trusting, 2), world.container(&others, 2), world.container(&others, 3));
    for target in ["10.1.0.2:80", "[fd00:1::2]:80"] {
        assert_eq!(ask(&world.neighbour, target), None, "nothing is published yet");
    }
    // Wherever on the host it is published, and once for two ports of the host.
    let of_v6 = ["[::1]:8081:80", "[::1]:8081:80/udp"];
    let published =
        world.publish(&trusting, 2, &[&["127.0.0.1:8080:80", "127.0.0.1:8080:80/udp", "127.0.0.1:8082:80"], &of_v6[..]].concat());
    world.publish(&others, 2, &["127.0.0.1:8083:80"]);
    assert_eq!(reach(&world.neighbour, "10.1.0.2:80").as_deref(), Some("192.0.2.9"));
    assert_eq!(reach(&world.neighbour, "[fd00:1::2]:80").as_deref(), Some("fd00:9::9"));
    assert_eq!(ask(&world.neighbour, "192.0.2.1:8080"), None, "the host's own port is the loopback's");
    assert_eq!(ask(&world.neighbour, "10.2.0.2:80"), None, "it trusts another interface");
    assert_eq!(ask(&third, "10.1.0.2:80"), None, "other networks are not trusted");
    world.host.unpublish(&published).unwrap();
    assert_eq!(ask(&world.neighbour, "10.1.0.2:80"), None);
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
