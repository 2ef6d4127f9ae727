use super::*;
use shipway_engine::values::HostFirewall;

fn merged(flags: &[&str], file: &str) -> Result<DaemonConfig, String> {
    let arguments = ["shipway daemon"].iter().chain(flags).map(OsString::from);
    merge(
        Flags::try_parse_from(arguments).map_err(|error| error.to_string())?,
        serde_json::from_str(file).map_err(|error| error.to_string())?,
    )
}

#[test]
fn a_setting_given_twice_is_refused() {
    assert!(merged(&["--data-root", "/a"], r#"{"data-root":"/b"}"#).unwrap_err().contains("give it once"));
    assert_eq!(merged(&[], r#"{"data-root":"/b"}"#).unwrap().engine.data_root, Path::new("/b"));
}

#[test]
fn unknown_keys_and_levels_are_refused() {
    assert!(merged(&[], r#"{"data-rot":"/b"}"#).is_err());
    assert!(merged(&["--log-level", "loud"], "{}").is_err());
    assert_eq!(merged(&["-D"], "{}").unwrap().log_level, "debug");
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = merged(&[], "{}").unwrap();
    assert_eq!(
        (config.hosts, config.engine.live_restore, config.engine.default_shm_size),
        (vec![DEFAULT_SOCKET.to_owned()], true, 64 << 20)
    );
}

#[test]
fn settings_of_networks_come_from_flags_or_file() {
    let network = |flags: &[&str], file: &str| merged(flags, file).map(|config| config.engine.network);
    let pools = r#"{"default-address-pools":[{"base":"10.10.0.0/16","size":24}],"host-firewall":"bypass","mtu":1400,"bip":"10.1.0.5/24"}"#;
    let found = network(&[], pools).unwrap();
    assert_eq!((found.pools.len(), found.pools[0].base.to_string(), found.pools[0].size), (1, "10.10.0.0/16".to_owned(), 24));
    assert_eq!((found.host_firewall, found.mtu), (HostFirewall::Bypass, Some(1400)));
    let bridge = found.bridge.unwrap();
    assert_eq!(
        (bridge.subnet.unwrap().to_string(), bridge.gateway.unwrap().to_string()),
        ("10.1.0.0/24".to_owned(), "10.1.0.5".to_owned())
    );
    let flags = ["--default-address-pool", "base=10.10.0.0/16,size=24", "--default-address-pool", "base=fd00:7::/48,size=64"];
    assert_eq!(network(&flags, "{}").unwrap().pools.len(), 2);
    for (wrong, words) in [
        ("base=10.10.0.0/16", "base=CIDR,size=BITS"),
        ("base=10.10.0.0/33,size=24", "invalid subnet"),
        ("base=10.10.0.0/16,size=8", "larger than the pool"),
        ("base=10.10.0.0/16,size=31", "no room for containers"),
    ] {
        let error = network(&["--default-address-pool", wrong], "{}").unwrap_err();
        assert!(error.contains(words), "{wrong}: {error}");
    }
    let overlap =
        network(&["--default-address-pool", "base=10.0.0.0/8,size=24", "--default-address-pool", "base=10.9.0.0/16,size=24"], "{}");
    assert!(overlap.unwrap_err().contains("overlaps with"));
    assert!(network(&["--host-firewall", "maybe"], "{}").is_err());
    assert!(network(&["--bip", "10.1.0.0/24"], "{}").unwrap_err().contains("--bip"));
    assert!(network(&["--mtu", "20"], "{}").unwrap_err().contains("--mtu"));
}
