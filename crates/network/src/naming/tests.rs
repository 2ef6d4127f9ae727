use super::*;

#[test]
fn names_fit_the_kernel_and_tell_daemons_apart() {
    let (plain, tagged, other) = (Naming::plain(), Naming::tagged("/data/a"), Naming::tagged("/data/b"));
    let network = NetworkId::from_random([0xab; 32]);
    for naming in [&plain, &tagged, &other] {
        for name in [naming.default_bridge(), naming.bridge(network), naming.endpoint([0xff; 8])] {
            assert!(name.as_str().parse::<InterfaceName>().is_ok(), "{name}");
            assert!(naming.owns(name.as_str()), "{name}");
            let strangers = [&plain, &tagged, &other].into_iter().filter(|stranger| *stranger != naming);
            assert!(strangers.into_iter().all(|stranger| !stranger.owns(name.as_str())), "{name}");
        }
    }
    assert_eq!(plain.default_bridge().as_str(), "shipway0");
    assert_eq!(plain.bridge(network).as_str(), "sw-abababababab");
    assert!(!plain.owns("docker0") && !plain.owns("swp1"));
}

#[test]
fn interface_names_that_could_hurt_are_refused() {
    for bad in ["", "a/b", "..", "all", "lo", "a b", "br\n0", "sixteenletters16", "br{0}", "a;b", "bär"] {
        assert!(bad.parse::<InterfaceName>().is_err(), "{bad:?}");
    }
    assert!("br-my_net.1".parse::<InterfaceName>().is_ok());
}

#[test]
fn hardware_addresses_parse_and_print() {
    let mac: MacAddress = "02:42:AC:11:00:02".parse().unwrap();
    assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
    assert_eq!(mac, MacAddress::of_address("172.17.0.2".parse().unwrap()));
    for bad in ["", "02:42", "01:00:5e:00:00:01", "00:00:00:00:00:00", "02:42:ac:11:00:zz", "+2:42:ac:11:00:02"] {
        assert!(bad.parse::<MacAddress>().is_err(), "{bad:?}");
    }
}
