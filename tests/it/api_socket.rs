//! `--use-api-socket`, by our command line and by docker's: the engine's socket in a container, and the caller's credentials in a file of it.

use std::path::Path;
use std::process::Output;

use shipway_testkit::Daemon;

use crate::BINARY;

const CREDENTIALS: &str = r#"{"auths":{"reg.test:5000":{"auth":"YW5uOnNlc2FtZS0yMzE="}},"HttpHeaders":{"X-Mine":"1"},"credHelpers":{}}"#;
/// `ann:sesame-231`.
const LETTERS: &str = "YW5uOnNlc2FtZS0yMzE=";

/// Runs a command line against the daemon.
type Client<'a> = &'a dyn Fn(&[&str]) -> Output;

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim_end().to_owned()
}

#[track_caller]
fn fine(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    text(output)
}

#[test]
fn a_container_gets_the_socket_and_the_credentials_and_nobody_else_sees_them() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let (full, empty) = (daemon.scratch().join("full"), daemon.scratch().join("empty"));
    for folder in [&full, &empty] {
        std::fs::create_dir(folder).unwrap();
    }
    std::fs::write(full.join("config.json"), CREDENTIALS).unwrap();
    let program = format!("{BINARY}:/bin/shipway:ro");
    let common = ["--use-api-socket", "--network", "none", "-v", &program, "box"];
    let look = [
        "sh",
        "-c",
        "shipway -H unix:///var/run/docker.sock version --format {{.Server.Version}}; stat -c %a:%u $DOCKER_CONFIG/config.json; cat $DOCKER_CONFIG/config.json",
    ];
    let run = |client: Client<'_>, folder: &Path, more: &[&str], command: &[&str]| {
        client(&[&["--config", folder.to_str().unwrap(), "run", "--rm"], more, &common[..], command].concat())
    };
    let ours = |arguments: &[&str]| daemon.shipway(arguments);
    let theirs = |arguments: &[&str]| daemon.docker(arguments).expect("docker");
    let clients: [(&str, Client<'_>); 2] = [("shipway", &ours), ("docker", &theirs)];
    let installed = daemon.docker(&["version"]).is_some();
    for (name, client) in clients.into_iter().take(if installed { 2 } else { 1 }) {
        let seen = fine(&run(client, &full, &[], &look));
        let mut lines = seen.lines();
        assert_eq!(lines.next(), Some(env!("CARGO_PKG_VERSION")), "{name}: {seen}");
        assert_eq!(lines.next(), Some("600:0"), "{name}: {seen}");
        let settings: serde_json::Value = serde_json::from_str(&lines.collect::<String>()).unwrap();
        assert_eq!(
            settings,
            serde_json::json!({"auths": {"reg.test:5000": {"auth": LETTERS}}}),
            "{name}: the credentials and nothing else"
        );
        // Without any, and with settings of the container's own, it is the socket alone.
        let seen = fine(&run(client, &empty, &[], &["sh", "-c", "echo \"[$DOCKER_CONFIG]\"; test -S /var/run/docker.sock"]));
        assert!(seen == "[]", "{name}: {seen}");
        let seen = fine(&run(
            client,
            &full,
            &["-e", "DOCKER_CONFIG=/mine"],
            &["sh", "-c", "echo \"[$DOCKER_CONFIG]\"; ls /run/secrets 2>&1 || true"],
        ));
        assert!(seen.starts_with("[/mine]") && !seen.contains("docker\n"), "{name}: {seen}");
        // What is shown of the container shows where they are, not what they are.
        let id = fine(&client(&[&["--config", full.to_str().unwrap(), "create"], &common[..], &["true"]].concat()));
        let shown = daemon.get(&format!("/containers/{id}/json"));
        assert!(!shown.to_string().contains(LETTERS) && shown.to_string().contains("DOCKER_CONFIG=/run/secrets/docker"), "{name}: {shown}");
        let mount = &shown["Mounts"].as_array().unwrap().iter().find(|mount| mount["Destination"] == "/var/run/docker.sock").unwrap();
        assert_eq!(mount["Source"], serde_json::json!(daemon.socket()), "{name}");
    }
    assert!(!daemon.log().contains("sesame-231") && !daemon.log().contains(LETTERS));
    // A container that cannot be given them does not stay behind; a daemon elsewhere has no socket to give.
    let before = daemon.get("/containers/json?all=1").as_array().unwrap().len();
    let read_only = run(&ours, &full, &["--read-only"], &["true"]);
    assert_eq!(read_only.status.code(), Some(125), "{}", text(&read_only));
    assert!(text(&read_only).contains("injecting docker config.json into container failed"), "{}", text(&read_only));
    assert_eq!(daemon.get("/containers/json?all=1").as_array().unwrap().len(), before);
    let elsewhere = daemon.shipway(&["-H", "tcp://127.0.0.1:9", "run", "--use-api-socket", "box"]);
    assert_eq!(elsewhere.status.code(), Some(125));
    let words = "flag --use-api-socket can only be used with unix sockets: docker endpoint tcp://127.0.0.1:9 incompatible";
    assert!(text(&elsewhere).contains(words), "{}", text(&elsewhere));
    daemon.remove_all_containers();
    daemon.assert_sound();
}
