//! A host of our own: the test's thread in a fresh network namespace, containers and a neighbour in others.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use shipway_model::{NetworkId, PortBinding};
use shipway_network::{
    Attachment, ClaimedPort, EndpointSpec, Host, HostSettings, InterfaceAddress, InterfaceName, IsolationBetween, MacAddress, Naming,
    PlanRequest, Published, Segment, SubnetPlan,
};
use shipway_sys::namespace;
use shipway_sys::netlink::link::Pair;
use shipway_sys::netlink::route::{Address, NewRoute, Via};
use shipway_sys::netlink::{Family, Request, Socket};

/// Long enough for an answer on one machine, short enough for many that never come.
const PATIENCE: Duration = Duration::from_millis(300);
/// For answers that will come: the machine may be busy.
const LONG_PATIENCE: Duration = Duration::from_secs(5);

/// A network namespace.
pub(crate) struct Space(OwnedFd);

impl Space {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            namespace::leave(namespace::NETWORK).unwrap();
            Self::current()
        });
        made.join().unwrap()
    }

    pub(crate) fn current() -> Self {
        Self(std::fs::File::open("/proc/thread-self/ns/net").unwrap().into())
    }

    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        namespace::visit_network(self.0.as_fd(), work).unwrap()
    }

    pub(crate) fn handle(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Answers every connection to `port` with the address it sees.
    pub(crate) fn serve(&self, port: u16) {
        let listener = self.run(|| TcpListener::bind(("::", port)).unwrap());
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let _ = stream.write_all(peer.ip().to_canonical().to_string().as_bytes());
            }
        });
        let socket = self.run(|| UdpSocket::bind(("::", port)).unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(peer.ip().to_canonical().to_string().as_bytes(), peer);
            }
        });
    }

    /// Whom the server at `target` sees when it is asked from here; nothing when it cannot be reached.
    pub(crate) fn tcp(&self, target: &str) -> Option<String> {
        self.tcp_within(target, PATIENCE)
    }

    /// As `tcp`, where an answer is expected.
    pub(crate) fn seen(&self, target: &str) -> Option<String> {
        self.tcp_within(target, LONG_PATIENCE)
    }

    fn tcp_within(&self, target: &str, patience: Duration) -> Option<String> {
        let target: SocketAddr = target.parse().unwrap();
        let mut stream = self.run(|| TcpStream::connect_timeout(&target, patience)).ok()?;
        stream.set_read_timeout(Some(patience)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text).filter(|text| !text.is_empty())
    }

    /// As `tcp`, by UDP.
    pub(crate) fn udp(&self, target: &str) -> Option<String> {
        self.udp_within(target, PATIENCE)
    }

    /// As `udp`, where an answer is expected.
    pub(crate) fn seen_by_udp(&self, target: &str) -> Option<String> {
        self.udp_within(target, LONG_PATIENCE)
    }

    fn udp_within(&self, target: &str, patience: Duration) -> Option<String> {
        let target: SocketAddr = target.parse().unwrap();
        let any = if target.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = self.run(|| UdpSocket::bind(any).unwrap());
        socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 64];
        socket.send_to(b"?", target).ok()?;
        let (length, from) = socket.recv_from(&mut buffer).ok()?;
        assert_eq!(from, target, "an answer comes from where the question went");
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}

/// A host with a neighbour: 192.0.2.1 and fd00:9::1 here, .9 and ::9 there. The neighbour routes everything through the host.
pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) here: Space,
    pub(crate) neighbour: Space,
    pub(crate) bridge_filter: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Naming::plain())
    }

    pub(crate) fn with(naming: Naming) -> Self {
        Self::make(naming, false)
    }

    /// Where `br_netfilter` is on.
    pub(crate) fn with_bridge_filter() -> Self {
        Self::make(Naming::plain(), true)
    }

    fn make(naming: Naming, bridge_filter: bool) -> Self {
        namespace::leave(namespace::NETWORK).unwrap();
        for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
            // Absent where the kernel has no such filter.
            let _ = std::fs::write(format!("/proc/sys/net/bridge/{setting}"), if bridge_filter { "1" } else { "0" });
        }
        namespace::bring_loopback_up().unwrap();
        let neighbour = Space::new();
        let socket = Socket::open(Family::Route).unwrap();
        let mut request = Request::new();
        request.create_bridge("wan0", [2, 0, 0, 0, 9, 1]);
        socket.perform(request).unwrap();
        let wan = socket.link("wan0").unwrap().unwrap().index;
        let mut request = Request::new();
        request.create_pair(&Pair {
            name: "wan1",
            bridge: wan,
            mtu: 0,
            peer_name: "eth0",
            peer_index: 16,
            peer_mac: [2, 0, 0, 0, 9, 9],
            namespace: neighbour.handle(),
            hairpin: false,
            isolated: false,
        });
        add(&mut request, wan, &["192.0.2.1/24", "fd00:9::1/64"]);
        request.link_up(wan);
        socket.perform(request).unwrap();
        neighbour.run(|| {
            let socket = Socket::open(Family::Route).unwrap();
            let mut request = Request::new();
            add(&mut request, 16, &["192.0.2.9/24", "fd00:9::9/64"]);
            request.link_up(1);
            request.link_up(16);
            for (any, gateway) in [("0.0.0.0", "192.0.2.1"), ("::", "fd00:9::1")] {
                let via = Via::Neighbour(gateway.parse().unwrap());
                request.add_route(&NewRoute { destination: any.parse().unwrap(), prefix: 0, link: 16, via });
            }
            socket.perform(request).unwrap();
        });
        let host = Host::open(naming, HostSettings::default()).unwrap();
        Self { host, here: Space::current(), neighbour, bridge_filter }
    }

    /// A network 10.N.0.0/24 with fd00:N::/64.
    pub(crate) fn network(&self, number: u8, change: impl FnOnce(&mut Segment)) -> Segment {
        let plan = |subnet: String| {
            let request = PlanRequest { subnet: Some(subnet.parse().unwrap()), ..PlanRequest::default() };
            SubnetPlan::checked(&request, &[]).unwrap()
        };
        let plans = [plan(format!("10.{number}.0.0/24")), plan(format!("fd00:{number}::/64"))];
        let id = NetworkId::from_random([number; 32]);
        let mut segment = Segment::new(id, self.host.naming().bridge(id), &plans);
        change(&mut segment);
        self.host.apply_segment(&segment).unwrap();
        segment
    }

    /// A container with address `last` in the network.
    pub(crate) fn container(&self, segment: &Segment, last: u8) -> Space {
        let space = Space::new();
        self.host.attach(space.handle(), &endpoint(&self.host, segment, 0, last)).unwrap();
        space.serve(80);
        space
    }

    /// Publishes as `-p` would, to address `last` in the network.
    pub(crate) fn publish(&self, segment: &Segment, last: u8, texts: &[&str]) -> Vec<Published> {
        let published: Vec<Published> = texts
            .iter()
            .flat_map(|text| shipway_model::parse_publish(text).unwrap())
            .flat_map(|PortBinding { host_ip, host_port, container, .. }| {
                let claimed = ClaimedPort { host_ip, host_port: host_port.unwrap(), container };
                claimed.published(v4(segment, last), v6(segment, last), segment.routed)
            })
            .collect();
        self.host.publish(&published).unwrap();
        published
    }
}

fn v4(segment: &Segment, last: u8) -> Option<std::net::Ipv4Addr> {
    segment.addresses.iter().find_map(|own| match own.address {
        IpAddr::V4(address) => Some(std::net::Ipv4Addr::from(u32::from(address) - 1 + u32::from(last))),
        IpAddr::V6(_) => None,
    })
}

fn v6(segment: &Segment, last: u8) -> Option<std::net::Ipv6Addr> {
    segment.addresses.iter().find_map(|own| match own.address {
        IpAddr::V6(address) => Some(std::net::Ipv6Addr::from(u128::from(address) - 1 + u128::from(last))),
        IpAddr::V4(_) => None,
    })
}

/// Connects a namespace to the bridge `index` of the calling thread's: `prefix`.1 here, `prefix`.9 there, where it serves port 80.
pub(crate) fn plug(links: &Socket, index: u32, space: &Space, prefix: &str) {
    let mut request = Request::new();
    request.create_pair(&Pair {
        name: "plug1",
        bridge: index,
        mtu: 0,
        peer_name: "eth0",
        peer_index: 16,
        peer_mac: [2, 0, 0, 0, 3, 9],
        namespace: space.handle(),
        hairpin: false,
        isolated: false,
    });
    add(&mut request, index, &[&format!("{prefix}.1/24")]);
    request.link_up(index);
    links.perform(request).unwrap();
    space.run(|| {
        let mut request = Request::new();
        add(&mut request, 16, &[&format!("{prefix}.9/24")]);
        request.link_up(16);
        let via = Via::Neighbour(format!("{prefix}.1").parse().unwrap());
        request.add_route(&NewRoute { destination: "0.0.0.0".parse().unwrap(), prefix: 0, link: 16, via });
        Socket::open(Family::Route).unwrap().perform(request).unwrap();
    });
    space.serve(80);
}

/// Runs nft(8) or iptables(8) in the calling thread's namespace, as an admin would.
pub(crate) fn admin(program: &str, arguments: &[&str]) {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The endpoint of a container with address `last`.
pub(crate) fn endpoint(host: &Host, segment: &Segment, slot: u16, last: u8) -> EndpointSpec {
    let address = v4(segment, last).unwrap();
    let random: [u8; 8] = std::array::from_fn(|_| fresh());
    let mut addresses = vec![InterfaceAddress { address: address.into(), prefix: 24 }];
    addresses.extend(v6(segment, last).map(|address| InterfaceAddress { address: address.into(), prefix: 64 }));
    EndpointSpec {
        name: InterfaceName::ethernet(slot),
        slot,
        attachment: Attachment::Bridge {
            bridge: segment.bridge.clone(),
            host_end: host.naming().endpoint(random),
            between: segment.between,
        },
        mac: MacAddress::of_address(address),
        addresses,
        gateways: if segment.internal || slot > 0 { Vec::new() } else { segment.addresses.iter().map(|own| own.address).collect() },
        mtu: segment.mtu,
        routes: Vec::new(),
        settings: Vec::new(),
    }
}

fn fresh() -> u8 {
    let mut byte = [0];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut byte).unwrap();
    byte[0]
}

fn add(request: &mut Request, link: u32, addresses: &[&str]) {
    for text in addresses {
        let (address, prefix) = text.split_once('/').unwrap();
        request.add_address(&Address { link, address: address.parse().unwrap(), prefix: prefix.parse().unwrap() });
    }
}

/// `icc=false`.
pub(crate) fn closed(segment: &mut Segment) {
    segment.between = IsolationBetween::Closed;
}

pub(crate) fn internal(segment: &mut Segment) {
    segment.internal = true;
}
