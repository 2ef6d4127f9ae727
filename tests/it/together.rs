//! Several people at one container at the same time: nobody's patience, and nobody's leaving, is another one's trouble.

use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shipway_testkit::{Daemon, Setup, eventually, split_frames};

use crate::BINARY;

/// A program that does not care to be asked to end.
const DEAF: &str = "trap '' TERM; while :; do sleep 0.1; done";

fn deaf(daemon: &Daemon) -> String {
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sh", "-c", format!("{DEAF}; echo")]}));
    // Until its shell has set the trap, the signal would end it.
    eventually("a deaf shell", 5, || {
        daemon.exec(&id, "grep -q 'SigIgn:.*4...$' /proc/1/status && echo deaf").stdout.starts_with("deaf").then_some(())
    });
    id
}

fn status(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/containers/{id}/json"))["State"]["Status"].clone()
}

#[test]
fn a_patient_stop_keeps_nobody_waiting() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let (removed, stopped) = (deaf(&daemon), deaf(&daemon));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for id in [&removed, &stopped] {
            let (daemon, id) = (&daemon, id.clone());
            scope.spawn(move || daemon.post(&format!("/containers/{id}/stop?t=60"), &Value::Null));
        }
        std::thread::sleep(Duration::from_millis(300));
        daemon.post(&format!("/containers/{stopped}/rename?name=other"), &Value::Null).fine();
        daemon.delete(&format!("/containers/{removed}?force=1")).fine();
        daemon.post(&format!("/containers/{stopped}/stop?t=0"), &Value::Null).fine();
    });
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(status(&daemon, &stopped), "exited");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_stop_kills_what_was_paused_while_it_waited() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let id = deaf(&daemon);
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| daemon.post(&format!("/containers/{id}/stop?t=1"), &Value::Null));
        std::thread::sleep(Duration::from_millis(300));
        daemon.post(&format!("/containers/{id}/pause"), &Value::Null).fine();
        stop.join().unwrap().fine();
    });
    assert_eq!(status(&daemon, &id), "exited");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_restart_by_hand_is_not_the_end_of_a_container_that_removes_itself() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"], "HostConfig": {"AutoRemove": true}}));
    assert_eq!(daemon.exec(&id, "echo kept > /file").code, 0);
    for _ in 0..2 {
        daemon.post(&format!("/containers/{id}/restart?t=0"), &Value::Null).fine();
        assert_eq!(daemon.exec(&id, "cat /file").said(), "kept\n");
    }
    daemon.post(&format!("/containers/{id}/stop?t=0"), &Value::Null).fine();
    eventually("its removal", 5, || (daemon.call("GET", &format!("/containers/{id}/json"), &Value::Null).status == 404).then_some(()));
    daemon.assert_nothing_left();
}

#[test]
fn a_client_that_left_before_the_start_takes_nobodys_input() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let id = daemon.create(&json!({"Image": "box", "Cmd": ["cat"], "OpenStdin": true, "StdinOnce": true}));
    let path = format!("/containers/{id}/attach?stream=1&stdin=1&stdout=1");
    for _ in 0..3 {
        drop(daemon.stream("POST", &path, &Value::Null));
    }
    std::thread::sleep(Duration::from_millis(200));
    let mut listens = daemon.stream("POST", &path, &Value::Null);
    let mut stays = daemon.stream("POST", &path, &Value::Null);
    daemon.post(&format!("/containers/{id}/start"), &Value::Null).fine();
    stays.send(b"heard\n").unwrap();
    // Of several who may type, each is heard.
    listens.send(b"both\n").unwrap();
    for client in [&mut stays, &mut listens] {
        client.finish_sending().unwrap();
    }
    for client in [&mut stays, &mut listens] {
        let mut said = Vec::new();
        client.read_to_end(&mut said).unwrap();
        let said = split_frames(&said).0;
        assert!(said == "heard\nboth\n" || said == "both\nheard\n", "{said:?}");
    }
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn what_is_seen_to_have_ended_can_be_started_on_the_same_port_at_once() {
    let daemon = Setup::new(BINARY).with_networks().start();
    daemon.import_busybox("box");
    // So many that giving them back takes a while.
    let ports: Vec<Value> = (0..800).map(|at| json!({"HostPort": (48_000 + at).to_string()})).collect();
    let host = json!({"PortBindings": {"80/tcp": ports}});
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"], "HostConfig": host}));
    for _ in 0..6 {
        std::thread::scope(|scope| {
            scope.spawn(|| daemon.post(&format!("/containers/{id}/kill"), &Value::Null).fine());
            // Whoever looks sees the end before everything is given back.
            while status(&daemon, &id) != "exited" {}
            daemon.post(&format!("/containers/{id}/start"), &Value::Null).fine();
        });
        let bound = daemon.get(&format!("/containers/{id}/json"))["NetworkSettings"]["Ports"]["80/tcp"].clone();
        assert_eq!(bound[0]["HostPort"], "48000");
    }
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_container_that_is_to_have_no_network_has_none() {
    let daemon = Setup::new(BINARY).with_networks().start();
    daemon.import_busybox("box");
    let run = |more: Value| {
        let mut body = json!({"Image": "box", "Cmd": ["sh", "-c", "ip -o link | wc -l"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        daemon.run(&body).said()
    };
    assert_eq!(run(json!({})), "2\n");
    assert_eq!(run(json!({"NetworkDisabled": true})), "1\n");
    assert_eq!(run(json!({"NetworkDisabled": true, "HostConfig": {"NetworkMode": "bridge"}})), "1\n");
    daemon.assert_nothing_left();
}

#[test]
fn settings_in_the_body_of_a_commit_are_the_images() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let id = daemon.create(&json!({"Image": "box", "Cmd": ["true"], "Env": ["KEPT=1", "A=old"], "Labels": {"k": "v"}}));
    let body = json!({"Cmd": ["echo", "x"], "Env": ["A=b"], "Labels": {"l": "m"}, "WorkingDir": "/w", "User": "5", "ExposedPorts": {"99/tcp": {}}});
    daemon.post(&format!("/commit?container={id}&repo=made&changes=USER%206"), &body).fine();
    let config = daemon.get("/images/made/json")["Config"].clone();
    assert_eq!(config["Cmd"], json!(["echo", "x"]), "{config}");
    assert_eq!((&config["User"], &config["WorkingDir"]), (&json!("6"), &json!("/w")), "a change goes over the body");
    assert_eq!((&config["Labels"], &config["ExposedPorts"]), (&json!({"k": "v", "l": "m"}), &json!({"99/tcp": {}})));
    let env: Vec<&str> = config["Env"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(env.contains(&"KEPT=1") && env.contains(&"A=b") && !env.contains(&"A=old"), "{env:?}");
    daemon.post(&format!("/commit?container={id}&repo=plain"), &Value::Null).fine();
    assert_eq!(daemon.get("/images/plain/json")["Config"]["Cmd"], json!(["true"]));
    assert_eq!(daemon.post(&format!("/commit?container={id}"), &json!({"ExposedPorts": {"odd": {}}})).status, 400);
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_joined_container_is_the_one_that_was_meant_whatever_it_is_called_now() {
    let daemon = Setup::new(BINARY).with_networks().start();
    daemon.import_busybox("box");
    let target = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"], "HostConfig": {"IpcMode": "shareable"}}));
    let name = daemon.get(&format!("/containers/{target}/json"))["Name"].as_str().unwrap().trim_start_matches('/').to_owned();
    let mode = format!("container:{name}");
    let joining = ["NetworkMode", "PidMode", "IpcMode"]
        .map(|key| (key, daemon.create(&json!({"Image": "box", "Cmd": ["true"], "HostConfig": {key: mode}}))));
    daemon.post(&format!("/containers/{target}/rename?name=moved"), &Value::Null).fine();
    // Another one under the old name is not meant.
    daemon.post(&format!("/containers/create?name={name}"), &json!({"Image": "box", "Cmd": ["true"]})).fine();
    for (key, id) in &joining {
        assert_eq!(daemon.get(&format!("/containers/{id}/json"))["HostConfig"][key], format!("container:{target}"));
        daemon.post(&format!("/containers/{id}/start"), &Value::Null).fine();
        assert_eq!(daemon.wait(id), 0, "{key}");
    }
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn how_an_exec_ended_can_be_asked_while_many_others_end_and_what_never_began_goes_with_its_container() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"]}));
    let create = || {
        daemon.post(&format!("/containers/{id}/exec"), &json!({"Cmd": ["sh", "-c", "exit 3"]})).fine().json()["Id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let asked = create();
    daemon.post(&format!("/exec/{asked}/start"), &json!({"Detach": true})).fine();
    let code = || daemon.call("GET", &format!("/exec/{asked}/json"), &Value::Null).fine().json()["ExitCode"].clone();
    eventually("its end", 5, || (code() == 3).then_some(()));
    let unstarted: Vec<String> = (0..1100).map(|_| create()).collect();
    assert_eq!(code(), 3, "those that wait push nobody out");
    daemon.post(&format!("/containers/{id}/stop?t=0"), &Value::Null).fine();
    let answer = daemon.post(&format!("/exec/{}/start", unstarted[0]), &json!({"Detach": true}));
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert_eq!(daemon.get(&format!("/containers/{id}/json"))["ExecIDs"], Value::Null);
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn what_start_update_and_prune_are_told_is_not_forgotten() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let id = daemon.create(&json!({"Image": "box", "Cmd": ["sleep", "1000"]}));
    let start = |body: Value| daemon.post(&format!("/containers/{id}/start"), &body).status;
    assert_eq!(start(json!({"Binds": ["/tmp:/x"]})), 400, "a configuration belongs to create");
    assert_eq!(start(json!({})), 204);
    for (asked, shown) in [(50, 50), (0, -1)] {
        daemon.post(&format!("/containers/{id}/update"), &json!({"PidsLimit": asked})).fine();
        assert_eq!(daemon.get(&format!("/containers/{id}/json"))["HostConfig"]["PidsLimit"], shown);
    }
    for kind in ["containers", "networks", "volumes", "images", "build"] {
        let filters = shipway_testkit::escape(&json!({"label": ["none=such"]}).to_string());
        daemon.post(&format!("/{kind}/prune?filters={filters}"), &Value::Null).fine();
    }
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn files_go_into_a_container_that_removes_itself_before_it_starts() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let id = daemon.create(&json!({"Image": "box", "Cmd": ["cat", "/one", "/two"], "HostConfig": {"AutoRemove": true}}));
    for name in ["one", "two"] {
        let archive = shipway_testkit::Tar::new().file(name, format!("{name}\n")).finish();
        let answer =
            shipway_testkit::call(&daemon.socket(), "PUT", &format!("/containers/{id}/archive?path=/"), "application/x-tar", &archive);
        answer.unwrap().fine();
    }
    let mut output = daemon.stream("POST", &format!("/containers/{id}/attach?stream=1&stdout=1"), &Value::Null);
    daemon.post(&format!("/containers/{id}/start"), &Value::Null).fine();
    let mut said = Vec::new();
    output.read_to_end(&mut said).unwrap();
    assert_eq!(split_frames(&said).0, "one\ntwo\n");
    eventually("its removal", 5, || (daemon.call("GET", &format!("/containers/{id}/json"), &Value::Null).status == 404).then_some(()));
    daemon.assert_nothing_left();
}

#[test]
fn a_container_that_was_taken_out_of_its_last_network_starts_without_one() {
    let daemon = Setup::new(BINARY).with_networks().start();
    daemon.import_busybox("box");
    daemon.post("/networks/create", &json!({"Name": "last"})).fine();
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "last"}}));
    daemon.post("/networks/last/disconnect", &json!({"Container": id})).fine();
    daemon.delete("/networks/last").fine();
    daemon.post(&format!("/containers/{id}/restart?t=0"), &Value::Null).fine();
    assert_eq!(daemon.exec(&id, "ip -o link | wc -l").said(), "1\n");
    daemon.post("/networks/bridge/connect", &json!({"Container": id})).fine();
    assert_eq!(daemon.exec(&id, "ip -o link | wc -l").said(), "2\n");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}
