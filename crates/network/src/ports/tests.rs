use std::net::TcpListener;

use shipway_model::parse_publish;

use super::*;

fn bindings(text: &str) -> Vec<PortBinding> {
    parse_publish(text).unwrap()
}

/// A port that was free a moment ago. Tests run in parallel, so each takes its own.
fn free_port() -> u16 {
    TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_port_taken_by_a_container_names_it() {
    let (claims, port) = (PortClaims::new(), free_port());
    let got = claims.claim("iotd", &bindings(&format!("{port}:80"))).unwrap();
    assert_eq!(got, [ClaimedPort { host_ip: None, host_port: port, container: Port::tcp(80) }]);
    let error = claims.claim("web", &bindings(&format!("127.0.0.1:{port}:80"))).unwrap_err();
    let expected = format!("port {port} is used by container \"iotd\" (Bind for 127.0.0.1:{port} failed: port is already allocated)");
    assert_eq!(error.to_string(), expected);
    assert!(claims.claim("web", &bindings(&format!("{port}:80/udp"))).is_ok());
    assert!(TcpListener::bind(("127.0.0.1", port)).is_err(), "the port is held against foreign programs");
    claims.release("iotd", &got);
    claims.release("iotd", &got);
    assert!(claims.claim("web", &bindings(&format!("{port}:80"))).is_ok());
}

#[test]
fn a_port_taken_by_a_process_names_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = PortClaims::new().claim("web", &bindings(&format!("{port}:80"))).unwrap_err();
    assert!(error.to_string().starts_with(&format!("port {port} is used by process {} (", std::process::id())), "{error}");
}

#[test]
fn all_or_nothing_and_the_loopback_is_apart_from_other_addresses() {
    let (claims, port, blocked) = (PortClaims::new(), free_port(), TcpListener::bind("127.0.0.1:0").unwrap());
    let taken = blocked.local_addr().unwrap().port();
    let mut both = bindings(&format!("127.0.0.1:{port}:80"));
    both.extend(bindings(&format!("127.0.0.1:{taken}:81")));
    assert!(claims.claim("web", &both).is_err());
    assert_eq!(claims.owner(Protocol::Tcp, port), None);
    assert!(claims.claim("web", &bindings(&format!("127.0.0.1:{port}:80"))).is_ok());
    assert!(claims.claim("other", &bindings(&format!("127.0.0.2:{port}:80"))).is_ok());
    assert!(claims.claim("six", &bindings(&format!("[::1]:{port}:80"))).is_ok());
}

#[test]
fn automatic_ports_come_from_the_hosts_range_and_rest_after_use() {
    let claims = PortClaims::new();
    let first = claims.claim("a", &bindings("80")).unwrap();
    let (low, high) = ephemeral_range();
    assert!((low..=high).contains(&first[0].host_port));
    claims.release("a", &first);
    assert_ne!(claims.claim("a", &bindings("80")).unwrap()[0].host_port, first[0].host_port);
}

#[test]
fn a_range_for_one_port_takes_any_free_one_and_runs_out() {
    let claims = PortClaims::new();
    // Found by trying: three ports in a row that nobody has.
    let first = (20000..30000u16).step_by(7).find(|port| (0..3).all(|n| TcpListener::bind(("::", port + n)).is_ok())).unwrap();
    let text = format!("{first}-{}:80", first + 2);
    let mut got: Vec<u16> = (0..3).map(|n| claims.claim(&format!("c{n}"), &bindings(&text)).unwrap()[0].host_port).collect();
    got.sort_unstable();
    assert_eq!(got, [first, first + 1, first + 2]);
    let error = claims.claim("c3", &bindings(&text)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("every port of {first}-{}/tcp is taken", first + 2)), "{error}");
}

#[test]
fn published_entries_follow_the_families_of_both_sides() {
    let port =
        |host_ip: Option<&str>| ClaimedPort { host_ip: host_ip.map(|ip| ip.parse().unwrap()), host_port: 8080, container: Port::tcp(80) };
    let (v4, v6) = (Some("172.17.0.2".parse().unwrap()), Some("fd00::2".parse().unwrap()));
    let targets = |host_ip, v4, v6| -> Vec<String> {
        port(host_ip).published(v4, v6, Routed::default()).iter().map(|entry| entry.target.to_string()).collect()
    };
    assert_eq!(targets(None, v4, v6), ["172.17.0.2:80", "[fd00::2]:80"]);
    assert_eq!(targets(Some("0.0.0.0"), v4, v6), ["172.17.0.2:80"]);
    assert_eq!(targets(Some("::1"), v4, None), Vec::<String>::new());
    assert_eq!(port(Some("0.0.0.0")).published(v4, v6, Routed::default())[0].host_ip, None);
}

#[test]
fn where_containers_are_routed_to_their_own_port_is_open_at_their_own_address() {
    let claimed = |host_ip: Option<&str>, host_port| ClaimedPort {
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port,
        container: Port::tcp(80),
    };
    let (v4, v6) = (Some("172.17.0.2".parse().unwrap()), Some("fd00::2".parse().unwrap()));
    let told = |port: ClaimedPort, routed| -> Vec<String> {
        let place = |entry: &Published| {
            format!(
                "{}:{}{}",
                entry.host_ip.map_or("*".to_owned(), |ip| ip.to_string()),
                entry.host_port,
                if entry.is_direct() { "!" } else { "" }
            )
        };
        port.published(v4, v6, routed).iter().map(place).collect()
    };
    let six = Routed { v6: true, ..Routed::default() };
    let both = Routed { v4: true, ..six };
    assert_eq!(told(claimed(None, 8080), six), ["*:8080", "fd00::2:80!"]);
    assert_eq!(told(claimed(None, 0), both), ["172.17.0.2:80!", "fd00::2:80!"]);
    assert_eq!(told(claimed(Some("127.0.0.1"), 0), both), [""; 0], "the loopback is the host's own");
    assert_eq!(told(claimed(None, 0), six), ["fd00::2:80!"], "no port of the host was taken");
    // Interfaces that are trusted see the port beside the host's own, also where that is the loopback's.
    let trusting = |routed| Routed { to_trusted: true, ..routed };
    assert_eq!(told(claimed(Some("127.0.0.1"), 8080), trusting(Routed::default())), ["127.0.0.1:8080", "172.17.0.2:80!"]);
    assert_eq!(told(claimed(None, 8080), trusting(six)), ["*:8080", "172.17.0.2:80!", "fd00::2:80!"], "whom everybody reaches they do too");
}

#[test]
fn the_kernels_tables_are_read_by_port_and_state() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
         0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
         1: 0100007F:0050 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n\
         garbage\n";
    assert_eq!(holder::inodes_in(table, Port::tcp(80)), [4711]);
    assert_eq!(holder::inodes_in(table, Port::tcp(81)), [0u64; 0]);
}
