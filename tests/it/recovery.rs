//! Containers outlive their daemon (contract C3): killed, stopped or wiped, what runs goes on and what ended meanwhile is known.

use std::time::Duration;

use serde_json::{Value, json};
use shipway_testkit::{Daemon, eventually};

use crate::BINARY;

/// Restart must take less than this even on busy machines; the real figure is printed.
const RESTART: Duration = Duration::from_secs(3);
/// A program that counts for ever.
const COUNTER: &str = "i=0; while true; do echo $i; i=$((i+1)); sleep 0.05; done";
/// A program that ends with 7 as soon as it is told.
const TOLD: &str = "until [ -e /flags/go ]; do sleep 0.02; done; exit 7";

fn state(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/containers/{id}/json"))["State"].clone()
}

fn pid(daemon: &Daemon, id: &str) -> i64 {
    state(daemon, id)["Pid"].as_i64().unwrap()
}

fn is_alive(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// One container that waits for the flag, with `host` options beside.
fn told(daemon: &Daemon, name: &str, script: &str, mut host: Value) -> String {
    let flags = daemon.scratch();
    host["Binds"] = json!([format!("{}:/flags", flags.display())]);
    let answer = daemon
        .post(&format!("/containers/create?name={name}"), &json!({"Image": "box", "Cmd": ["sh", "-c", script], "HostConfig": host}))
        .fine();
    let id = answer.json()["Id"].as_str().unwrap().to_owned();
    daemon.post(&format!("/containers/{id}/start"), &Value::Null).fine();
    id
}

#[test]
fn containers_run_on_while_their_daemon_is_dead_and_are_adopted_again() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let counters: Vec<String> = (0..8).map(|_| daemon.run_detached(&json!({"Image": "box", "Cmd": ["sh", "-c", COUNTER]}))).collect();
    let pids: Vec<i64> = counters.iter().map(|id| pid(&daemon, id)).collect();
    eventually("the first log line", 10, || (!daemon.logs(&counters[7]).0.is_empty()).then_some(()));
    daemon.kill_9();
    std::thread::sleep(Duration::from_millis(500));
    assert!(pids.iter().all(|pid| is_alive(*pid)), "containers died with the daemon");
    let took = daemon.restart();
    eprintln!("restart with {} running containers: {took:?}", counters.len());
    assert!(took < RESTART, "{took:?}");
    for (id, pid_before) in counters.iter().zip(&pids) {
        assert_eq!((state(&daemon, id)["Status"].as_str(), pid(&daemon, id)), (Some("running"), *pid_before));
        let before = daemon.logs(id).0.lines().count();
        assert!(before >= 5, "what was said while nobody listened is in the log");
        eventually("the log to go on", 10, || (daemon.logs(id).0.lines().count() > before).then_some(()));
        let lines: Vec<usize> = daemon.logs(id).0.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(lines, (0..lines.len()).collect::<Vec<_>>(), "no line lost, none doubled");
        assert_eq!(daemon.exec(id, "echo inside; exit 3").code, 3);
    }
    daemon.post(&format!("/containers/{}/kill", counters[0]), &Value::Null).fine();
    assert_eq!(daemon.wait(&counters[0]), 137);
    daemon.post(&format!("/containers/{}/stop?t=0", counters[1]), &Value::Null).fine();
    daemon.assert_sound();
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
    pids.iter().for_each(|pid| daemon.assert_process_gone(*pid));
}

#[test]
fn what_ended_while_the_daemon_was_dead_is_known() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let plain = told(&daemon, "plain", TOLD, json!({}));
    let temporary = told(&daemon, "temporary", TOLD, json!({"AutoRemove": true}));
    let again = "until [ -e /flags/go ]; do sleep 0.02; done; if [ -e /was ]; then sleep 1000; fi; touch /was; exit 1";
    let always = told(&daemon, "always", again, json!({"RestartPolicy": {"Name": "always"}}));
    let on_failure = told(&daemon, "on-failure", again, json!({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}));
    let never = told(&daemon, "never", again, json!({"RestartPolicy": {"Name": "no"}}));
    let pids = [&plain, &temporary, &always, &on_failure, &never].map(|id| pid(&daemon, id));
    daemon.kill_9();
    std::fs::write(daemon.scratch().join("go"), "").unwrap();
    for pid in pids {
        daemon.assert_process_gone(pid);
    }
    // Their monitors may still be writing down how it ended; a daemon that starts right now must get it right as well.
    daemon.restart();
    assert_eq!(daemon.wait(&plain), 7);
    assert_eq!(state(&daemon, &plain)["Status"], "exited");
    eventually("the removal of the --rm container", 10, || {
        (daemon.call("GET", "/containers/temporary/json", &Value::Null).status == 404).then_some(())
    });
    for id in [&always, &on_failure] {
        let back = eventually("the restart policy", 10, || Some(state(&daemon, id)).filter(|state| state["Status"] == "running"));
        assert!(!pids.contains(&back["Pid"].as_i64().unwrap()));
        assert_eq!(daemon.get(&format!("/containers/{id}/json"))["RestartCount"], 1);
    }
    assert_eq!((state(&daemon, &never)["Status"].as_str(), state(&daemon, &never)["ExitCode"].as_i64()), (Some("exited"), Some(1)));
    daemon.assert_sound();
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_daemon_that_is_asked_to_leave_leaves_containers_running() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sh", "-c", COUNTER]}));
    let before = pid(&daemon, &id);
    let status = daemon.stop();
    assert!(status.success(), "{status}");
    assert!(is_alive(before));
    daemon.restart();
    assert_eq!(pid(&daemon, &id), before);
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_container_whose_monitor_was_killed_is_recorded_as_ended() {
    for daemon_is_dead in [false, true] {
        let mut daemon = Daemon::start(BINARY);
        daemon.import_busybox("box");
        let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"]}));
        let process = pid(&daemon, &id);
        let monitor = monitor_of(&daemon, &id);
        if daemon_is_dead {
            daemon.kill_9();
        }
        assert!(std::process::Command::new("kill").args(["-9", &monitor.to_string()]).status().unwrap().success());
        if daemon_is_dead {
            daemon.assert_process_gone(monitor);
            daemon.restart();
        }
        let state = eventually("the end to be recorded", 10, || Some(state(&daemon, &id)).filter(|state| state["Running"] == false));
        assert_ne!(state["ExitCode"], 0, "{state}");
        daemon.assert_process_gone(process);
        daemon.post(&format!("/containers/{id}/start"), &Value::Null).fine();
        assert_eq!(daemon.exec(&id, "echo again").said(), "again\n");
        daemon.assert_sound();
        daemon.remove_all_containers();
        daemon.assert_nothing_left();
    }
}

/// The daemon dies at each of its steps between the halves of a restart: what `--rm` promised still comes, or the container runs.
#[test]
fn a_rm_container_whose_restart_the_daemon_did_not_live_through_is_not_left_behind() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    for pass in 1..=4 {
        let body = json!({"Image": "box", "Cmd": ["sh", "-c", "trap exit TERM; sleep 1000 & wait"], "HostConfig": {"AutoRemove": true, "NetworkMode": "none"}});
        let id = daemon.run_detached(&body);
        daemon.kill_9();
        daemon.restart_with_fault(["state.commit.after", "state.commit.before"][pass as usize % 2], pass / 2 + 1);
        drop(daemon.try_call("POST", &format!("/containers/{id}/restart?t=1"), &Value::Null));
        daemon.kill_9();
        daemon.restart();
        let state_of = || daemon.try_call("GET", &format!("/containers/{id}/json"), &Value::Null).unwrap();
        let end = eventually("a running container or none", 10, || {
            let answer = state_of();
            match answer.status {
                404 => Some("gone".to_owned()),
                _ => Some(answer.json()["State"]["Status"].as_str().unwrap().to_owned()).filter(|status| status == "running"),
            }
        });
        eprintln!("pass {pass}: {end}");
        daemon.assert_sound();
        daemon.remove_all_containers();
    }
    daemon.assert_nothing_left();
}

/// The monitor's own number, as it wrote it down.
fn monitor_of(daemon: &Daemon, id: &str) -> i64 {
    let path = daemon.exec_root().join("containers").join(id).join("state");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str::<Value>(&text).unwrap()["monitor"].as_i64().unwrap()
}

#[test]
fn after_a_reboot_records_say_so_and_policies_act() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let run = |name: &str, host: Value| {
        let body = json!({"Image": "box", "Cmd": ["sh", "-c", "touch /mark; sleep 1000"], "HostConfig": host});
        let id = daemon.post(&format!("/containers/create?name={name}"), &body).fine().json()["Id"].as_str().unwrap().to_owned();
        daemon.post(&format!("/containers/{id}/start"), &Value::Null).fine();
        id
    };
    let plain = run("plain", json!({}));
    let always = run("always", json!({"RestartPolicy": {"Name": "always"}}));
    let failing = run("failing", json!({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1}}));
    let by_hand = run("by-hand", json!({"RestartPolicy": {"Name": "unless-stopped"}}));
    run("temporary", json!({"AutoRemove": true}));
    daemon.post(&format!("/containers/{by_hand}/stop?t=0"), &Value::Null).fine();
    daemon.reboot();
    daemon.restart();
    assert_eq!(state(&daemon, &plain)["Status"], "exited");
    assert_ne!(state(&daemon, &plain)["ExitCode"], 0);
    for id in [&always, &failing] {
        eventually("the policy", 10, || (state(&daemon, id)["Status"] == "running").then_some(()));
    }
    assert_eq!(state(&daemon, &by_hand)["Status"], "exited");
    eventually("the removal of the --rm container", 10, || {
        (daemon.call("GET", "/containers/temporary/json", &Value::Null).status == 404).then_some(())
    });
    daemon.post(&format!("/containers/{plain}/start"), &Value::Null).fine();
    assert_eq!(daemon.exec(&plain, "ls /mark").said(), "/mark\n", "its layer is still there");
    daemon.assert_sound();
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn what_a_person_ended_stays_ended_unless_its_policy_is_always() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    for (policy, end) in [("unless-stopped", "stop?t=0"), ("unless-stopped", "kill"), ("on-failure", "kill"), ("always", "stop?t=0")] {
        let body = json!({"Image": "box", "Cmd": ["sleep", "1000"], "HostConfig": {"RestartPolicy": {"Name": policy}}});
        let id = daemon.run_detached(&body);
        daemon.post(&format!("/containers/{id}/{end}"), &Value::Null).fine();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(state(&daemon, &id)["Status"], "exited", "{policy}, {end}");
        // The answer is all that counts: nothing may still have to be written down.
        daemon.kill_9();
        daemon.restart();
        if policy == "always" {
            // Docker's rule: it comes back with the daemon.
            eventually("the policy", 10, || (state(&daemon, &id)["Status"] == "running").then_some(()));
        } else {
            std::thread::sleep(Duration::from_millis(400));
            assert_eq!(state(&daemon, &id)["Status"], "exited", "{policy}, {end}");
        }
        daemon.delete(&format!("/containers/{id}?force=1")).fine();
    }
    daemon.assert_nothing_left();
}

#[test]
fn a_second_daemon_on_one_data_root_is_refused_and_harms_nothing() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"]}));
    let output = std::process::Command::new(BINARY)
        .args(["daemon", "--data-root"])
        .arg(daemon.data_root())
        .arg("--exec-root")
        .arg(daemon.scratch().join("other"))
        .arg("-H")
        .arg(format!("unix://{}", daemon.scratch().join("other.sock").display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(&daemon.pid().to_string()), "it names the owner: {said}");
    assert_eq!(daemon.exec(&id, "echo fine").said(), "fine\n");
}
