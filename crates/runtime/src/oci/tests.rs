//! Reading of command lines, places and configurations; what needs the kernel is in tests/it/oci.rs.

use super::arguments::{Flag, parse};
use super::config::Config;
use super::store::cgroup_place;
use super::*;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn flags_end_at_the_first_word_that_is_none() {
    const FLAGS: &[Flag] = &[Flag::short_switch("tty", 't'), Flag::short_value("env", 'e')];
    let parsed = parse(&words("-t -e A=1 --env=B=2 web ls -t"), FLAGS).expect("parsed");
    assert!(parsed.has("tty"));
    assert_eq!(parsed.all("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
    assert_eq!(parsed.rest, words("web ls -t"));
    assert!(!parse(&words("--tty=false"), FLAGS).expect("parsed").has("tty"));
    assert_eq!(parse(&words("-- -t"), FLAGS).expect("parsed").rest, words("-t"));
    for bad in ["--nonsense", "-e", "-x"] {
        assert!(parse(&words(bad), FLAGS).is_err(), "{bad}");
    }
}

#[test]
fn a_cgroup_stands_where_it_is_wished() {
    for (wish, parent, name) in [
        ("", "", "web"),
        ("/libpod_parent/libpod-1", "libpod_parent", "libpod-1"),
        ("a/../../b", "", "b"),
        ("machine.slice:libpod:1", "machine.slice", "libpod-1.scope"),
        (":x:1", "system.slice", "x-1.scope"),
    ] {
        assert_eq!(cgroup_place(wish, "web").expect("place"), (parent.to_owned(), name.to_owned()), "{wish}");
    }
    assert!(cgroup_place("/", "web").is_err());
}

#[test]
fn an_id_is_no_path() {
    let store = store::Store::new(&Global { root: PathBuf::from("/r"), log: None, log_is_json: false });
    assert_eq!(store.folder("a_b.c+d-1").expect("folder"), Path::new("/r/a_b.c+d-1"));
    for bad in ["", ".", "..", "a/b", "a b", "ä"] {
        assert!(matches!(store.folder(bad), Err(Error::BadId { .. })), "{bad}");
    }
}

#[test]
fn what_spec_writes_can_be_read() {
    let config: Config = serde_json::from_value(document::beginning()).expect("config");
    assert_eq!(config.mounts.len(), 7);
    assert_eq!(config.linux.namespaces.len(), 6);
    assert!(config.process.expect("process").terminal);
}

#[test]
fn go_writes_null_for_nothing() {
    let config: Config =
        serde_json::from_str(r#"{"ociVersion":"1.0.2","mounts":null,"linux":{"resources":null,"devices":null},"hooks":{"prestart":null}}"#)
            .expect("config");
    assert!(config.mounts.is_empty() && config.linux.devices.is_empty());
}
