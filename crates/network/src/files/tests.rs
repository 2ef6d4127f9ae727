//! Whole texts, as containers see them.

use super::*;

const HEAD: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn extra(lines: &[&str]) -> Vec<ExtraHost> {
    lines.iter().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn hosts_of_a_container_on_a_bridge() {
    let extra = extra(&["db:10.0.0.2", "six:[fd00::9]", "also=::9", "host.docker.internal:host-gateway"]);
    let links = [(ip("172.17.0.3"), vec!["store".to_owned(), "c0ffee000001".to_owned(), "db".to_owned()])];
    let settings = Hosts {
        of_host: None,
        extra: &extra,
        host_gateway: &[ip("172.17.0.1")],
        links: &links,
        own: &[ip("172.17.0.2"), ip("fd00::2")],
        hostname: "web",
        domainname: Some("example.org"),
    };
    let tail = "10.0.0.2\tdb\nfd00::9\tsix\n::9\talso\n172.17.0.1\thost.docker.internal\n172.17.0.3\tstore c0ffee000001 db\n172.17.0.2\tweb.example.org web\nfd00::2\tweb.example.org web\n";
    assert_eq!(hosts(&settings).unwrap(), format!("{HEAD}{tail}"));
}

#[test]
fn hosts_of_a_container_that_shares_the_host_or_has_nothing() {
    let extra = extra(&["db:10.0.0.2"]);
    let shared = Hosts { of_host: Some("127.0.0.1 localhost\n10.1.1.1 gate"), extra: &extra, hostname: "h", ..Hosts::default() };
    assert_eq!(hosts(&shared).unwrap(), "127.0.0.1 localhost\n10.1.1.1 gate\n10.0.0.2\tdb\n");
    let none = Hosts { hostname: "c0ffee", ..Hosts::default() };
    assert_eq!(hosts(&none).unwrap(), HEAD);
}

#[test]
fn nothing_but_names_and_addresses_reaches_hosts() {
    for bad in [
        "a\n6.6.6.6 bank:1.2.3.4",
        "a b:1.2.3.4",
        "a#:1.2.3.4",
        "a:not-an-address",
        ":1.2.3.4",
        "a",
        "a:1.2.3.4\n",
        "a:",
        "a:[::1",
        "\u{e9}:1.2.3.4",
    ] {
        assert!(bad.parse::<ExtraHost>().is_err(), "{bad}");
    }
    for (hostname, domain) in [("a b", None), ("a\n", None), ("", None), ("a", Some("x y")), ("a", Some("x\n1.1.1.1 bank"))] {
        assert!(hosts(&Hosts { hostname, domainname: domain, ..Hosts::default() }).is_err(), "{hostname:?} {domain:?}");
    }
    let gateway = extra(&["host:host-gateway"]);
    let error = hosts(&Hosts { extra: &gateway, hostname: "a", ..Hosts::default() }).unwrap_err();
    assert!(error.to_string().starts_with("invalid extra host \"host:host-gateway\""), "{error}");
}

const HOST: &str =
    "# by hand\nnameserver 127.0.0.53\nnameserver 10.1.1.1\nnameserver fe80::1%eth0\nsearch lan corp.example\noptions edns0 trust-ad\n";

fn of(kind: ResolverKind, host: &str) -> String {
    resolv_conf(&ResolvConf { kind, of_host: host, servers: &[], search: &[], options: &[] }).unwrap()
}

#[test]
fn each_kind_of_network_has_its_resolv_conf() {
    assert_eq!(of(ResolverKind::Host, HOST), HOST);
    assert_eq!(of(ResolverKind::Direct, HOST), "nameserver 10.1.1.1\nsearch lan corp.example\noptions edns0 trust-ad\n");
    assert_eq!(of(ResolverKind::Embedded, HOST), "nameserver 127.0.0.11\nsearch lan corp.example\noptions edns0 trust-ad ndots:0\n");
    assert_eq!(of(ResolverKind::Direct, "nameserver 127.0.0.1\n"), "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    assert_eq!(of(ResolverKind::Embedded, "options ndots:3\n"), "nameserver 127.0.0.11\noptions ndots:3\n");
    assert_eq!(of(ResolverKind::Embedded, ""), "nameserver 127.0.0.11\noptions ndots:0\n");
}

#[test]
fn own_settings_take_the_place_of_the_host_s() {
    let (servers, search, options) =
        ([ip("9.9.9.9"), ip("2620:fe::9")], ["a.example".to_owned(), "b.example".to_owned()], ["ndots:2".to_owned(), "use-vc".to_owned()]);
    let own = |kind| resolv_conf(&ResolvConf { kind, of_host: HOST, servers: &servers, search: &search, options: &options }).unwrap();
    let tail = "search a.example b.example\noptions ndots:2 use-vc\n";
    assert_eq!(own(ResolverKind::Direct), format!("nameserver 9.9.9.9\nnameserver 2620:fe::9\n{tail}"));
    assert_eq!(own(ResolverKind::Host), own(ResolverKind::Direct));
    assert_eq!(own(ResolverKind::Embedded), format!("nameserver 127.0.0.11\n{tail}"));
    let none =
        resolv_conf(&ResolvConf { kind: ResolverKind::Direct, of_host: HOST, servers: &[], search: &[".".to_owned()], options: &[] })
            .unwrap();
    assert_eq!(none, "nameserver 10.1.1.1\noptions edns0 trust-ad\n");
}

#[test]
fn nothing_but_words_reaches_resolv_conf() {
    for bad in ["", "a b", "a\nnameserver 6.6.6.6", "a;b", "#", "a\0"] {
        assert!(check_search(bad).is_err() && check_option(bad).is_err(), "{bad:?}");
        let text = [bad.to_owned()];
        assert!(resolv_conf(&ResolvConf { kind: ResolverKind::Direct, of_host: "", servers: &[], search: &text, options: &[] }).is_err());
        assert!(resolv_conf(&ResolvConf { kind: ResolverKind::Direct, of_host: "", servers: &[], search: &[], options: &text }).is_err());
    }
}

#[test]
fn behind_the_stub_of_systemd_stand_the_real_servers() {
    assert_eq!(host_resolv_conf("nameserver 127.0.0.53\noptions edns0\n"), "/run/systemd/resolve/resolv.conf");
    assert_eq!(host_resolv_conf(HOST), "/etc/resolv.conf");
    assert_eq!(host_resolv_conf(""), "/etc/resolv.conf");
}

#[test]
fn the_hosts_of_a_running_container_follow_and_keep_what_programs_wrote() {
    let before = Hosts { own: &[ip("172.17.0.2")], hostname: "web", ..Hosts::default() };
    let started = hosts(&before).unwrap();
    let current = format!("{started}10.1.1.1\tmine\n");
    let links = [(ip("172.17.0.9"), vec!["db".to_owned(), "database".to_owned()])];
    let now = Hosts { own: &[ip("172.17.0.2"), ip("10.9.0.3")], links: &links, ..before.clone() };
    let followed = hosts_again(&current, &[], &now).unwrap();
    let head = started.strip_suffix("172.17.0.2\tweb\n").unwrap();
    assert_eq!(followed, format!("{head}10.1.1.1\tmine\n172.17.0.9\tdb database\n172.17.0.2\tweb\n10.9.0.3\tweb\n"));
    // Moved once more: old lines go, and twice is as once.
    let moved = [(ip("172.17.0.7"), vec!["db".to_owned(), "database".to_owned()])];
    let later = Hosts { links: &moved, ..before };
    let expected = format!("{head}10.1.1.1\tmine\n172.17.0.7\tdb database\n172.17.0.2\tweb\n");
    assert_eq!(hosts_again(&followed, &links, &later).unwrap(), expected);
    assert_eq!(hosts_again(&expected, &moved, &later).unwrap(), expected);
    // The link is gone.
    let alone = Hosts { links: &[], ..later };
    assert_eq!(hosts_again(&expected, &moved, &alone).unwrap(), format!("{head}10.1.1.1\tmine\n172.17.0.2\tweb\n"));
}
