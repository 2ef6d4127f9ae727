use super::*;

fn published(host_ip: Option<&str>, target: &str) -> Published {
    let host_ip = host_ip.map(|address| address.parse().unwrap());
    Published { host_ip, host_port: 8080, protocol: Protocol::Tcp, target: target.parse().unwrap(), to_trusted: false }
}

#[test]
fn a_published_port_is_one_element_of_the_right_map() {
    let (set, element) = published_entry(&published(None, "172.17.0.2:80"));
    assert_eq!(set, "any_ports_v4");
    assert_eq!(element.key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
    assert_eq!(element.data, Some(vec![172, 17, 0, 2, 0, 80, 0, 0]));
    let (set, element) = published_entry(&published(Some("127.0.0.1"), "172.17.0.2:80"));
    assert_eq!((set, &element.key[..4], element.key.len()), ("ports_v4", &[127, 0, 0, 1][..], 12));
    let (set, element) = published_entry(&published(Some("::1"), "[fd00::2]:80"));
    assert_eq!((set, element.key.len(), element.data.map(|data| data.len())), ("ports_v6", 24, Some(20)));
}

#[test]
fn keys_are_as_long_as_their_sets_say() {
    let bridge: InterfaceName = "shipway0".parse().unwrap();
    let rules = SegmentRules {
        internal: false,
        open: true,
        masquerade_v4: true,
        masquerade_v6: true,
        unprotected_v4: false,
        unprotected_v6: false,
        routed: Routed { v4: true, v6: true, to_trusted: true },
        trusted: BTreeSet::from(["eth0".parse().unwrap(), "wg0".parse().unwrap()]),
    };
    let internal = SegmentRules { internal: true, ..rules.clone() };
    let mut entries = segment_entries(&bridge, &rules);
    entries.extend(segment_entries(&bridge, &internal));
    entries.extend([published(None, "10.0.0.2:1"), published(None, "[fd00::1]:1")].iter().map(published_entry));
    entries.extend([published(Some("10.0.0.1"), "10.0.0.2:1"), published(Some("fd00::9"), "[fd00::1]:1")].iter().map(published_entry));
    entries.extend([published(Some("10.0.0.2"), "10.0.0.2:1"), published(Some("fd00::1"), "[fd00::1]:1")].iter().map(published_entry));
    let trusted = |target: &str| Published {
        to_trusted: true,
        ..published(Some(&target[..target.rfind(':').unwrap()].replace(['[', ']'], "")), target)
    };
    entries.extend([trusted("10.0.0.2:1"), trusted("[fd00::1]:1")].iter().map(published_entry));
    assert_eq!(entries.iter().filter(|(set, _)| set.starts_with("trusted")).count(), 4);
    for (name, element) in entries {
        let set = SETS.iter().find(|set| set.name == name).unwrap();
        assert_eq!(element.key.len(), set.key_bytes as usize, "{name}");
        assert_eq!(element.data.map(|data| data.len() as u32), set.data.map(|(_, bytes)| bytes), "{name}");
    }
}

#[test]
fn an_internal_network_never_borrows_the_hosts_address() {
    let rules = SegmentRules {
        internal: true,
        open: true,
        masquerade_v4: true,
        masquerade_v6: true,
        unprotected_v4: false,
        unprotected_v6: false,
        routed: Routed::default(),
        trusted: BTreeSet::new(),
    };
    let entries = segment_entries(&"sw-1".parse().unwrap(), &rules);
    assert!(entries.iter().all(|(set, _)| !set.starts_with("masquerade")));
    assert!(entries.iter().any(|(set, _)| *set == "internal"));
}
