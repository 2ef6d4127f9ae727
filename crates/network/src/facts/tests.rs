use super::*;

fn published(host_ip: Option<&str>) -> Published {
    let host_ip = host_ip.map(|address| address.parse().unwrap());
    Published {
        host_ip,
        host_port: 8080,
        protocol: shipway_model::Protocol::Tcp,
        target: "172.17.0.2:80".parse().unwrap(),
        to_trusted: false,
    }
}

fn reaches(host_ip: Option<&str>, others: &[OtherChain]) -> Vec<(Origin, Reach)> {
    ways(&published(host_ip), others, true).into_iter().map(|way| (way.from, way.reach)).collect()
}

#[test]
fn the_loopback_is_for_the_host_alone() {
    let expected = [
        (Origin::Host, Reach::Yes),
        (Origin::Outside, Reach::No),
        (Origin::Containers, Reach::No),
        (Origin::InternalContainers, Reach::No),
    ];
    assert_eq!(reaches(Some("127.0.0.1"), &[]), expected);
    assert_eq!(reaches(None, &[])[1], (Origin::Outside, Reach::Yes));
}

#[test]
fn a_port_at_the_containers_own_address_needs_a_route() {
    let target = "172.17.0.2:80".parse().unwrap();
    let (host_ip, protocol) = (Some("172.17.0.2".parse().unwrap()), shipway_model::Protocol::Tcp);
    let direct = Published { host_ip, host_port: 80, protocol, target, to_trusted: false };
    let trusted = ways(&Published { to_trusted: true, ..direct }, &[], true);
    assert_eq!((trusted[1].reach, trusted[2].reach), (Reach::Yes, Reach::No));
    assert!(trusted[1].because.contains("by an interface that its network trusts"));
    let ways = ways(&direct, &[], true);
    assert_eq!((ways[1].reach, ways[1].at.as_str()), (Reach::Yes, "172.17.0.2"));
    assert!(ways[1].because.contains("for whoever has a route to it"));
}

#[test]
fn a_strangers_dropping_chain_is_named() {
    let chain = |hook, table: &str| BaseChain {
        family: "ip".to_owned(),
        table: table.to_owned(),
        chain: "FORWARD".to_owned(),
        kind: "filter".to_owned(),
        hook,
        priority: 0,
        drops: true,
    };
    let chains = [chain(Hook::Forward, "filter"), chain(Hook::Forward, "shipway"), chain(Hook::Postrouting, "filter")];
    let others = others(&chains, "shipway");
    assert_eq!(others.len(), 1);
    assert_eq!(reaches(None, &others)[1], (Origin::Outside, Reach::Depends));
    let host = OtherChain { name: "inet filter input".to_owned(), to_host: true, drops: true };
    assert!(ways(&published(None), std::slice::from_ref(&host), true)[1].because.contains("must accept port 8080"));
    assert_eq!(ways(&published(None), &[host], false)[1].reach, Reach::Yes);
    assert!(ways(&published(None), &others, true)[1].because.contains("ip filter FORWARD"));
}
