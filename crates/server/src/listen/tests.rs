use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::*;
use shipway_model::Classified;

fn parse(text: &str) -> Result<ListenAddress, ListenError> {
    text.parse()
}

#[test]
fn addresses_read_and_print() {
    for (text, printed) in [
        ("unix:///run/a.sock", "unix:///run/a.sock"),
        ("/run/a.sock", "unix:///run/a.sock"),
        ("tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375"),
        ("tcp://:99", "tcp://127.0.0.1:99"),
        ("tcp://[::1]:7/", "tcp://[::1]:7"),
        ("tcp://[::1]", "tcp://[::1]:2375"),
        ("fd://", "fd://"),
    ] {
        assert_eq!(parse(text).unwrap().to_string(), printed, "{text}");
    }
    for text in
        ["", "unix://a", "tcp://1.2.3.4:x", "tcp://::1:5", "tcp://[::1", "http://x", "run.sock", &format!("unix:///{}", "x".repeat(200))]
    {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[tokio::test]
async fn the_socket_is_for_its_owner_when_the_group_does_not_exist() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("deep/er/d.sock");
    let options = ListenOptions { group: "no-such-group-here".to_owned(), ..ListenOptions::default() };
    let listener = Listener::bind(&ListenAddress::Unix(path.clone()), &options).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o755);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_socket_is_for_a_group_that_exists() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("d.sock");
    let options = ListenOptions { group: "4".to_owned(), ..ListenOptions::default() };
    let _listener = Listener::bind(&ListenAddress::Unix(path.clone()), &options).unwrap();
    assert_eq!((mode(&path), std::fs::metadata(&path).unwrap().gid()), (0o660, 4));
}

#[tokio::test]
async fn a_live_socket_is_not_taken_away_and_a_stale_one_is() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("d.sock");
    let address = ListenAddress::Unix(path.clone());
    let first = Listener::bind(&address, &ListenOptions::default()).unwrap();
    assert!(matches!(Listener::bind(&address, &ListenOptions::default()), Err(ListenError::InUse { .. })));
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    drop(first);
    // A killed daemon leaves its file behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _second = Listener::bind(&address, &ListenOptions::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "not a socket").unwrap();
    assert!(matches!(Listener::bind(&address, &ListenOptions::default()), Err(ListenError::InTheWay { .. })));
}

#[tokio::test]
async fn tcp_is_refused_wherever_strangers_could_connect() {
    let bind = |text: &str, insecure_tcp, has_token| {
        Listener::bind(&parse(text).unwrap(), &ListenOptions { insecure_tcp, has_token, ..ListenOptions::default() })
    };
    for (text, insecure, token) in [
        ("tcp://0.0.0.0:0", false, false),
        ("tcp://0.0.0.0:0", false, true),
        ("tcp://127.0.0.1:0", false, false),
        ("tcp://[::]:0", false, true),
    ] {
        let error = bind(text, insecure, token).unwrap_err();
        assert!(matches!(error, ListenError::Refused { .. }) && error.hint().is_some(), "{text}");
    }
    assert!(bind("tcp://127.0.0.1:0", false, true).unwrap().tcp_address().unwrap().ip().is_loopback());
    assert!(bind("tcp://127.0.0.1:0", true, false).is_ok());
    assert!(matches!(bind("tcp://example.com:0", true, false), Err(ListenError::BadAddress { .. })));
}

#[tokio::test]
async fn an_inherited_socket_is_listened_on() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("d.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let listener = Listener::from_fd(listener.into()).unwrap();
    assert_eq!(listener.name(), path.display().to_string());
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    listener.accept().await.unwrap();
}

#[test]
fn inherited_sockets_count_only_when_meant_for_us() {
    assert_eq!(inherited_sockets(Some("7"), Some("2"), 7), 2);
    assert_eq!(inherited_sockets(Some("8"), Some("2"), 7), 0);
    assert_eq!(inherited_sockets(None, Some("2"), 7), 0);
    assert_eq!(inherited_sockets(Some("7"), Some("x"), 7), 0);
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}
