//! Endpoints: what a container finds inside, and what is left afterwards.

use std::time::{Duration, Instant};

use shipway_network::{Naming, Segment};
use shipway_sys::netlink::{Family, Socket};

use crate::world::{Space, World, closed, endpoint};

#[test]
fn a_container_has_its_address_its_route_and_its_neighbours() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let (one, two) = (world.container(&network, 2), world.container(&network, 3));
    assert_eq!(one.seen("10.1.0.3:80").as_deref(), Some("10.1.0.2"));
    assert_eq!(two.seen("[fd00:1::2]:80").as_deref(), Some("fd00:1::3"));
    let socket = one.run(|| Socket::open(Family::Route).unwrap());
    let eth0 = socket.link("eth0").unwrap().unwrap();
    assert_eq!(eth0.mac, Some([0x02, 0x42, 10, 1, 0, 2]));
    assert!(eth0.up && socket.link("lo").unwrap().unwrap().up);
    let defaults = socket.routes().unwrap().into_iter().filter(|route| route.prefix == 0 && route.table == 254);
    assert_eq!(defaults.count(), 2);
    // Out into the world under the host's address, and back.
    world.neighbour.serve(8000);
    assert_eq!(one.seen("192.0.2.9:8000").as_deref(), Some("192.0.2.1"));
    assert_eq!(one.seen("[fd00:9::9]:8000").as_deref(), Some("fd00:9::1"));
}

#[test]
fn a_network_without_ipv6_leaves_none_on_the_interface() {
    let world = World::new();
    let network = world.network(1, |segment: &mut Segment| segment.addresses.truncate(1));
    let container = world.container(&network, 2);
    let found = container.run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap());
    assert!(!found.contains("eth0"), "{found}");
}

#[test]
fn several_networks_and_leaving_one() {
    let world = World::new();
    let (first, second) = (world.network(1, |_| ()), world.network(2, |_| ()));
    let (container, peer) = (world.container(&first, 2), world.container(&second, 3));
    assert_eq!(container.tcp("10.2.0.3:80"), None);
    let spec = endpoint(&world.host, &second, 1, 2);
    world.host.attach(container.handle(), &spec).unwrap();
    assert_eq!(container.seen("10.2.0.3:80").as_deref(), Some("10.2.0.2"));
    world.host.detach(container.handle(), &spec).unwrap();
    world.host.detach(container.handle(), &spec).unwrap();
    assert_eq!(peer.tcp("10.2.0.2:80"), None);
    world.host.attach(container.handle(), &endpoint(&world.host, &second, 1, 2)).unwrap();
    assert_eq!(peer.seen("10.2.0.2:80").as_deref(), Some("10.2.0.3"));
}

#[test]
fn applying_twice_changes_nothing_and_withdrawing_leaves_nothing() {
    let world = World::with(Naming::tagged("/somewhere"));
    let network = world.network(1, closed);
    let links = Socket::open(Family::Route).unwrap();
    let before = (links.link(network.bridge.as_str()).unwrap(), links.addresses().unwrap());
    world.host.apply_segment(&network).unwrap();
    assert_eq!((links.link(network.bridge.as_str()).unwrap(), links.addresses().unwrap()), before);
    world.host.withdraw_segment(&network).unwrap();
    world.host.withdraw_segment(&network).unwrap();
    assert_eq!(links.link(network.bridge.as_str()).unwrap(), None);
}

#[test]
fn an_exit_leaves_no_link_and_a_failed_attach_neither() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let spec = endpoint(&world.host, &network, 0, 2);
    let container = Space::new();
    world.host.attach(container.handle(), &spec).unwrap();
    // The same interface again: refused, and the first one is not harmed. (A fresh name on the host's side.)
    assert!(world.host.attach(container.handle(), &endpoint(&world.host, &network, 0, 3)).is_err());
    let shipway_network::Attachment::Bridge { host_end, .. } = &spec.attachment else { unreachable!() };
    world.host.forget_endpoint(host_end);
    let links = Socket::open(Family::Route).unwrap();
    let veths = || links.links().unwrap().into_iter().filter(|link| link.name.starts_with("sv-")).count();
    assert_eq!(veths(), 1);
    let end = Instant::now() + Duration::from_secs(5);
    while veths() > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(veths(), 0);
}

#[test]
fn a_new_daemon_keeps_what_lives_and_removes_strays() {
    let world = World::new();
    let (kept, stray) = (world.network(1, |_| ()), world.network(2, |_| ()));
    let (container, lost) = (Space::new(), Space::new());
    let spec = endpoint(&world.host, &kept, 0, 2);
    world.host.attach(container.handle(), &spec).unwrap();
    world.host.attach(lost.handle(), &endpoint(&world.host, &kept, 0, 3)).unwrap();
    container.serve(80);
    let published = world.publish(&kept, 2, &["8080:80"]);
    let World { host, here, neighbour, .. } = world;
    drop(host);
    let host = shipway_network::Host::open(Naming::plain(), Default::default()).unwrap();
    let shipway_network::Attachment::Bridge { host_end, .. } = &spec.attachment else { unreachable!() };
    let mut removed = host.reconcile(std::slice::from_ref(&kept), std::slice::from_ref(host_end), &published).unwrap();
    removed.sort();
    assert_eq!(removed.len(), 2, "{removed:?}");
    assert_eq!(removed[0], format!("bridge {}", stray.bridge));
    assert_eq!(neighbour.seen("192.0.2.1:8080").as_deref(), Some("192.0.2.9"));
    assert!(host.reconcile(&[kept], std::slice::from_ref(host_end), &[]).unwrap().is_empty());
    assert_eq!(neighbour.tcp("192.0.2.1:8080"), None);
    drop(here);
}

#[test]
fn fifty_endpoints_at_once() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let spaces: Vec<Space> = (0..50).map(|_| Space::new()).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (index, space) in spaces.iter().enumerate() {
            let (host, network) = (&world.host, &network);
            scope.spawn(move || host.attach(space.handle(), &endpoint(host, network, 0, index as u8 + 2)).unwrap());
        }
    });
    eprintln!("50 endpoints in parallel: {:?}", start.elapsed());
    spaces[49].serve(80);
    assert_eq!(spaces[0].seen("10.1.0.51:80").as_deref(), Some("10.1.0.2"));
}

#[test]
fn attaching_is_quick() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let spaces: Vec<Space> = (0..40).map(|_| Space::new()).collect();
    let mut times: Vec<Duration> = spaces
        .iter()
        .enumerate()
        .map(|(index, space)| {
            let spec = endpoint(&world.host, &network, 0, index as u8 + 2);
            let start = Instant::now();
            world.host.attach(space.handle(), &spec).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    eprintln!("attach: min {:?} median {:?} p95 {:?}", times[0], times[20], times[37]);
    assert!(times[20] < Duration::from_millis(30), "{times:?}");
}
