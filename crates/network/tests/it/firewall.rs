//! The table: many ports, changes, and what happens when somebody takes it away (S-304).

use std::time::{Duration, Instant};

use shipway_model::Protocol;
use shipway_network::{Naming, Published};
use shipway_sys::netlink::nft::Batch;
use shipway_sys::netlink::{Family, Request, Socket};

use crate::world::World;

fn ports(count: u16) -> Vec<Published> {
    let entry = |number| Published {
        host_ip: None,
        host_port: 10000 + number,
        protocol: Protocol::Tcp,
        target: std::net::SocketAddr::new("10.1.0.2".parse().unwrap(), 80),
        to_trusted: false,
    };
    (0..count).map(entry).collect()
}

#[test]
fn a_thousand_ports_in_one_table() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let _server = world.container(&network, 2);
    let all = ports(1000);
    let mut times: Vec<Duration> = all
        .iter()
        .map(|entry| {
            let start = Instant::now();
            world.host.publish(std::slice::from_ref(entry)).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    eprintln!("publish: min {:?} median {:?} p95 {:?}", times[0], times[500], times[950]);
    assert_eq!(world.neighbour.seen("192.0.2.1:10999").as_deref(), Some("192.0.2.9"));
    world.host.publish(&all).unwrap();
    world.host.unpublish(&all[..999]).unwrap();
    world.host.unpublish(&all[..999]).unwrap();
    assert_eq!(world.neighbour.tcp("192.0.2.1:10998"), None);
    assert_eq!(world.neighbour.seen("192.0.2.1:10999").as_deref(), Some("192.0.2.9"));
    let start = Instant::now();
    world.host.publish(&ports(20000)).unwrap();
    eprintln!("20000 ports at once: {:?}", start.elapsed());
    assert_eq!(world.neighbour.seen("192.0.2.1:29999").as_deref(), Some("192.0.2.9"));
}

#[test]
fn the_table_is_back_within_a_second_after_somebody_took_it_away() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let _server = world.container(&network, 2);
    world.publish(&network, 2, &["127.0.0.1:8081:80", "8080:80"]);
    let stranger = Socket::open(Family::Netfilter).unwrap();
    for _ in 0..3 {
        let mut batch = Batch::new(&Naming::plain().table());
        batch.delete_table();
        stranger.commit(batch).unwrap();
        let start = Instant::now();
        while !stranger.has_table("shipway").unwrap() {
            assert!(start.elapsed() < Duration::from_secs(1), "the table stays away");
            std::thread::sleep(Duration::from_millis(5));
        }
        eprintln!("back after {:?}", start.elapsed());
        // The kernel shows a new table some milliseconds before it asks it.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(world.neighbour.seen("192.0.2.1:8080").as_deref(), Some("192.0.2.9"));
        assert_eq!(world.neighbour.tcp("192.0.2.1:8081"), None);
        assert_eq!(world.neighbour.tcp("10.1.0.2:80"), None);
    }
    // A change while it is away puts it back as well.
    let mut batch = Batch::new("shipway");
    batch.delete_table();
    stranger.commit(batch).unwrap();
    world.publish(&network, 2, &["8082:80"]);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(world.neighbour.seen("192.0.2.1:8082").as_deref(), Some("192.0.2.9"));
}

#[test]
fn a_host_that_was_no_router_is_one_for_containers_only() {
    let world = World::new();
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    let network = world.network(1, |_| ());
    let container = world.container(&network, 2);
    world.neighbour.serve(8000);
    assert_eq!(container.seen("192.0.2.9:8000").as_deref(), Some("192.0.2.1"));
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim(), "1");
    // Somebody else's machines behind this host, which did not forward to them before.
    let stranger = crate::world::Space::new();
    let links = Socket::open(Family::Route).unwrap();
    let mut request = Request::new();
    request.create_bridge("lan0", [2, 0, 0, 0, 3, 1]);
    links.perform(request).unwrap();
    let lan = links.link("lan0").unwrap().unwrap().index;
    crate::world::plug(&links, lan, &stranger, "192.0.3");
    assert_eq!(world.here.seen("192.0.3.9:80").as_deref(), Some("192.0.3.1"));
    assert_eq!(world.neighbour.tcp("192.0.3.9:80"), None);
    // And so it stays with the next daemon.
    drop(world.host);
    let host = shipway_network::Host::open(Naming::plain(), Default::default()).unwrap();
    host.reconcile(&[network], &[], &[]).unwrap();
    assert!(host.facts().unwrap().guarded);
    assert_eq!(world.neighbour.tcp("192.0.3.9:80"), None);
}

#[test]
fn udp_follows_a_port_to_its_new_container() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let (_first, _second) = (world.container(&network, 2), world.container(&network, 3));
    let client = world.neighbour.run(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let answered = || {
        client.send_to(b"?", "192.0.2.1:8080").unwrap();
        client.recv_from(&mut [0; 64]).is_ok()
    };
    // Tracked as a question to the host itself, which does not answer.
    assert!(!answered());
    let first = world.publish(&network, 2, &["8080:80/udp"]);
    assert!(answered());
    world.host.unpublish(&first).unwrap();
    assert!(!answered());
    world.publish(&network, 3, &["8080:80/udp"]);
    assert!(answered());
}

#[test]
fn two_daemons_do_not_disturb_each_other() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let _server = world.container(&network, 2);
    world.publish(&network, 2, &["8080:80"]);
    let other = shipway_network::Host::open(Naming::tagged("/other"), Default::default()).unwrap();
    assert!(other.reconcile(&[], &[], &[]).unwrap().is_empty());
    let mut foreign = network.clone();
    foreign.bridge = other.naming().default_bridge();
    foreign.addresses = vec![shipway_network::SegmentAddress { address: "10.7.0.1".parse().unwrap(), prefix: 24 }];
    other.apply_segment(&foreign).unwrap();
    assert_eq!(world.neighbour.seen("192.0.2.1:8080").as_deref(), Some("192.0.2.9"));
    // What the other has in use is the host's business for this one.
    let used = world.host.subnets_in_use().unwrap();
    assert!(used.iter().any(|entry| entry.subnet.to_string() == "10.7.0.0/24"), "{used:?}");
    assert!(used.iter().all(|entry| entry.subnet.to_string() != "10.1.0.0/24"), "{used:?}");
    other.withdraw_segment(&foreign).unwrap();
    assert_eq!(world.neighbour.seen("192.0.2.1:8080").as_deref(), Some("192.0.2.9"));
}

#[test]
fn the_doctor_is_told_what_is_there() {
    let world = World::new();
    assert!(!world.host.facts().unwrap().table_present);
    let network = world.network(1, |_| ());
    world.publish(&network, 2, &["8080:80"]);
    let facts = world.host.facts().unwrap();
    assert!(facts.table_present && facts.table_wanted && facts.forwards_v4 && !facts.bridge_filter);
    assert_eq!((facts.networks.len(), facts.networks[0].up, facts.published.len()), (1, true, 2));
    assert!(facts.others.is_empty(), "{:?}", facts.others);
}

#[test]
fn a_macvlan_endpoint_is_a_neighbour_of_the_host() {
    use shipway_network::{Attachment, MacvlanMode};
    let world = World::new();
    let network = world.network(1, |_| ());
    let mut spec = crate::world::endpoint(&world.host, &network, 0, 77);
    spec.attachment = Attachment::Macvlan { parent: "wan0".parse().unwrap(), mode: MacvlanMode::Bridge };
    spec.addresses = vec![shipway_network::InterfaceAddress { address: "192.0.2.77".parse().unwrap(), prefix: 24 }];
    spec.gateways.clear();
    let container = crate::world::Space::new();
    world.host.attach(container.handle(), &spec).unwrap();
    container.serve(80);
    assert_eq!(world.neighbour.seen("192.0.2.77:80").as_deref(), Some("192.0.2.9"));
    spec.attachment = Attachment::Macvlan { parent: "nowhere".parse().unwrap(), mode: MacvlanMode::Bridge };
    let error = world.host.attach(crate::world::Space::new().handle(), &spec).unwrap_err();
    assert_eq!(error.to_string(), "this host has no interface \"nowhere\"");
}

#[test]
fn a_starting_daemon_loses_no_connection() {
    let world = World::new();
    let network = world.network(1, |_| ());
    let _server = world.container(&network, 2);
    let published = world.publish(&network, 2, &["8080:80"]);
    let links = Socket::open(Family::Route).unwrap().links().unwrap();
    let ends: Vec<_> = links.iter().filter(|link| link.name.starts_with("sv-")).map(|link| link.name.parse().unwrap()).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(world.neighbour.seen("192.0.2.1:8080").is_some(), "after {asked} answers");
                asked += 1;
            }
            asked
        });
        for _ in 0..50 {
            world.host.reconcile(std::slice::from_ref(&network), &ends, &published).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let asked = asking.join().unwrap();
        assert!(asked > 10, "{asked}");
    });
}
