use super::*;

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn numbers_are_the_kernels() {
    // Anchors from linux/capability.h; the list between them is counted.
    for (capability, number) in [
        (Capability::Chown, 0),
        (Capability::Setpcap, 8),
        (Capability::NetRaw, 13),
        (Capability::SysAdmin, 21),
        (Capability::Mknod, 27),
        (Capability::Setfcap, 31),
        (Capability::Syslog, 34),
        (Capability::CheckpointRestore, 40),
    ] {
        assert_eq!(capability.number(), number, "{capability}");
    }
    assert_eq!(CapabilitySet::default_set().mask(), 0xa804_25fb);
    assert_eq!(Capability::all().mask(), (1 << 41) - 1);
}

#[test]
fn names_read_back() {
    for capability in Capability::EVERY {
        assert_eq!(capability.name().parse(), Ok(capability));
        assert_eq!(capability.name().trim_start_matches("CAP_").to_lowercase().parse(), Ok(capability));
    }
    assert_eq!("chwon".parse::<Capability>().unwrap_err().to_string(), "unknown capability: \"CAP_CHWON\"");
    assert_eq!("NET_ADMN".parse::<Capability>().unwrap_err().hint().as_deref(), Some("did you mean \"NET_ADMIN\"?"));
}

#[test]
fn dockers_arithmetic() {
    let default = CapabilitySet::default_set().mask();
    let bit = |capability: Capability| 1_u64 << capability.number();
    for (add, drop, expected) in [
        (vec![], vec![], default),
        (vec!["SYS_ADMIN"], vec![], default | bit(Capability::SysAdmin)),
        (vec![], vec!["cap_net_raw"], default & !bit(Capability::NetRaw)),
        (vec!["NET_RAW"], vec!["NET_RAW"], default),
        (vec!["ALL"], vec![], Capability::all().mask()),
        (vec!["all"], vec!["MKNOD"], Capability::all().mask() & !bit(Capability::Mknod)),
        (vec![], vec!["ALL"], 0),
        (vec!["CHOWN"], vec!["ALL"], bit(Capability::Chown)),
        (vec!["ALL"], vec!["ALL"], Capability::all().mask()),
    ] {
        assert_eq!(CapabilitySet::from_docker(&list(&add), &list(&drop)).unwrap().mask(), expected, "{add:?} {drop:?}");
    }
    assert!(CapabilitySet::from_docker(&list(&["ALL", "NONSENSE"]), &[]).is_err());
}

#[test]
fn json_is_the_names() {
    let set: CapabilitySet = [Capability::Kill, Capability::Chown].into_iter().collect();
    let text = serde_json::to_string(&set).unwrap();
    assert_eq!(text, r#"["CAP_CHOWN","CAP_KILL"]"#);
    assert_eq!(serde_json::from_str::<CapabilitySet>(&text).unwrap(), set);
    assert_eq!(CapabilitySet::from_mask(u64::MAX), Capability::all());
}
