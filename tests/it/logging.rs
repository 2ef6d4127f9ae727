//! Logs: where output goes, how much of it stays, and that reading it hurts nobody.

use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shipway_testkit::{Daemon, Setup, eventually, split_frames};

use crate::BINARY;

fn body(script: &str, log: Value) -> Value {
    json!({"Image": "box", "Cmd": ["sh", "-c", script], "HostConfig": {"LogConfig": log}})
}

/// Names and sizes of the files of a container's log.
fn files(daemon: &Daemon, id: &str) -> Vec<(String, u64)> {
    let folder = daemon.data_root().join("containers").join(id);
    let mut found: Vec<(String, u64)> = [folder.clone(), folder.join("local-logs")]
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
        .filter(|entry| entry.file_name().to_string_lossy().contains(".log"))
        .filter_map(|entry| Some((entry.file_name().to_string_lossy().replace(id, "ID"), entry.metadata().ok()?.len())))
        .collect();
    found.sort();
    found
}

#[test]
fn a_flood_is_neither_kept_waiting_nor_kept_whole() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    // About 40 MB of lines as json-file writes them.
    let flood = "i=0; while [ $i -lt 400 ]; do seq 1000; i=$((i+1)); done; echo the end";
    let begun = Instant::now();
    let log = json!({"Type": "json-file", "Config": {"max-size": "1m", "max-file": "3"}});
    let id = daemon.run_detached(&body(flood, log));
    // Three readers that do not read.
    let _stuck: Vec<_> = (0..3).map(|_| daemon.stream("GET", &format!("/containers/{id}/logs?stdout=1&follow=1"), &Value::Null)).collect();
    assert_eq!(daemon.wait(&id), 0);
    eprintln!("40 MB of log took {:?}", begun.elapsed());
    let kept = files(&daemon, &id);
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(kept.iter().all(|(_, size)| *size <= 1_100_000), "{kept:?}");
    let (said, _) = daemon.logs(&id);
    assert!(said.ends_with("999\n1000\nthe end\n"));
    let lines: Vec<u32> = said.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(lines.windows(2).all(|pair| pair[1] == pair[0] % 1000 + 1), "no line lost between two files, none doubled");
    let last = daemon.call("GET", &format!("/containers/{id}/logs?stdout=1&stderr=1&tail=3"), &Value::Null).fine();
    assert_eq!(split_frames(&last.body).0, "999\n1000\nthe end\n");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn following_goes_on_over_rotations_and_into_packed_files() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let log = json!({"Type": "local", "Config": {"max-size": "20k", "max-file": "4"}});
    let slowly = "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo line $i; [ $((i % 100)) = 0 ] && sleep 0.1; done";
    let id = daemon.run_detached(&body(slowly, log));
    let mut stream = daemon.stream("GET", &format!("/containers/{id}/logs?stdout=1&stderr=1&follow=1"), &Value::Null);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let (said, _) = split_frames(&bytes);
    let expected: String = (1..=1000).map(|number| format!("line {number}\n")).collect();
    assert!(said == expected, "a follower sees every line once: {} lines", said.lines().count());
    let names: Vec<String> = files(&daemon, &id).into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().any(|name| name.ends_with(".gz")), "local packs what it rotates: {names:?}");
    let (kept, _) = daemon.logs(&id);
    assert!(kept.lines().count() > 500 && expected.ends_with(&kept), "packed files are read too: {} lines", kept.lines().count());
    assert_eq!(daemon.get(&format!("/containers/{id}/json"))["LogPath"], "");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn the_daemons_settings_are_the_default_and_stay_with_a_container() {
    let arguments = ["--log-driver", "local", "--log-opt", "max-size=7k", "--log-opt", "tag={{.Name}}"];
    let setup = arguments.iter().fold(Setup::new(BINARY), |setup, argument| setup.argument(argument));
    let daemon = setup.start();
    daemon.import_busybox("box");
    let config = |id: &str| daemon.get(&format!("/containers/{id}/json"))["HostConfig"]["LogConfig"].clone();
    let (plain, own) = (daemon.create(&body("true", json!({}))), daemon.create(&body("true", json!({"Type": "json-file"}))));
    assert_eq!(config(&plain), json!({"Type": "local", "Config": {"max-size": "7k", "tag": "{{.Name}}"}}));
    assert_eq!(config(&own), json!({"Type": "json-file", "Config": {}}));
    let output = std::process::Command::new(BINARY)
        .args(["daemon", "--data-root"])
        .arg(daemon.scratch().join("other"))
        .arg("--exec-root")
        .arg(daemon.scratch().join("run"))
        .arg("-H")
        .arg(format!("unix://{}", daemon.scratch().join("other.sock").display()))
        .args(["--log-opt", "nope=1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("unknown log opt 'nope' for json-file log driver"), "{said}");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn attributes_are_shown_when_asked_for_and_nothing_is_kept_by_none() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let mut wanted = body(
        "echo hi",
        json!({"Type": "", "Config": {"tag": "{{.Name}}/x", "labels": "a,b", "env": "X", "labels-regex": "^com\\.", "env-regex": "^PRE"}}),
    );
    wanted["Labels"] = json!({"a": "1 2", "com.x": "l", "dot.com": "no"});
    wanted["Env"] = json!(["X=y", "PRE_A=e", "A_PRE=no"]);
    let id = daemon.post("/containers/create?name=tagged", &wanted).fine().json()["Id"].as_str().unwrap().to_owned();
    daemon.post(&format!("/containers/{id}/start"), &Value::Null).fine();
    daemon.wait(&id);
    let answer = daemon.call("GET", &format!("/containers/{id}/logs?stdout=1&details=1"), &Value::Null).fine();
    assert_eq!(split_frames(&answer.body).0, "PRE_A=e,X=y,a=1+2,com.x=l,tag=tagged%2Fx hi\n");
    let none = daemon.run_detached(&body("echo hi", json!({"Type": "none"})));
    daemon.wait(&none);
    let answer = daemon.call("GET", &format!("/containers/{none}/logs?stdout=1"), &Value::Null);
    assert_eq!((answer.status, answer.json()["message"].as_str()), (501, Some("configured logging driver does not support reading")));
    assert_eq!(files(&daemon, &none), []);
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_follower_ends_with_its_container_and_not_before() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let id = daemon.run_detached(&body("echo first; until [ -e /go ]; do sleep 0.02; done; echo last", json!({})));
    eventually("the first line", 5, || (!daemon.logs(&id).0.is_empty()).then_some(()));
    let mut stream = daemon.stream("GET", &format!("/containers/{id}/logs?stdout=1&follow=1&tail=0"), &Value::Null);
    std::thread::sleep(Duration::from_millis(200));
    daemon.exec(&id, "touch /go");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(split_frames(&bytes).0, "last\n");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}
