//! What the daemon does with containers by itself: starts them again by their policy, and asks after their health.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shipway_testkit::{Daemon, eventually};

use crate::BINARY;

fn inspect(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/containers/{id}/json"))
}

fn actions(daemon: &Daemon, id: &str) -> Vec<String> {
    let filters = shipway_testkit::escape(&json!({"container": [id]}).to_string());
    #[allow(clippy::disallowed_methods)]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 1;
    let answer = daemon.call("GET", &format!("/events?since=1&until={now}&filters={filters}"), &Value::Null).fine();
    answer.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["Action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_crashing_container_comes_back_ever_later_and_can_be_stopped_in_between() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let begun = Instant::now();
    let policy = |name: &str, most: u32| json!({"RestartPolicy": {"Name": name, "MaximumRetryCount": most}});
    let twice = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sh", "-c", "echo x; exit 3"], "HostConfig": policy("on-failure", 2)}));
    let always = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sh", "-c", "exit 4"], "HostConfig": policy("always", 0)}));
    assert_eq!(daemon.wait(&twice), 3, "a wait ends with the last life");
    assert!(begun.elapsed() >= Duration::from_millis(300), "100 ms, then 200 ms: {:?}", begun.elapsed());
    assert_eq!((daemon.logs(&twice).0.as_str(), inspect(&daemon, &twice)["RestartCount"].as_i64()), ("x\nx\nx\n", Some(2)));
    assert_eq!(actions(&daemon, &twice), ["create", "start", "die", "start", "die", "start", "die"]);

    let state = eventually("a long wait", 20, || {
        let state = inspect(&daemon, &always);
        (state["RestartCount"].as_i64() >= Some(5) && state["State"]["Status"] == "restarting").then(|| state["State"].clone())
    });
    assert_eq!((&state["Running"], &state["Restarting"], &state["ExitCode"]), (&json!(true), &json!(true), &json!(4)), "{state}");
    let listed = daemon.get("/containers/json");
    assert!(listed[0]["Status"].as_str().unwrap().starts_with("Restarting (4) "), "{listed}");
    assert_eq!(daemon.delete(&format!("/containers/{always}")).status, 409);
    assert_eq!(daemon.post(&format!("/containers/{always}/start"), &Value::Null).status, 304);
    assert_eq!(daemon.try_exec(&always, json!({"Cmd": ["true"]})).unwrap_err().status, 409);
    daemon.post(&format!("/containers/{always}/stop"), &Value::Null).fine();
    assert_eq!(inspect(&daemon, &always)["State"]["Status"], "exited");
    let count = inspect(&daemon, &always)["RestartCount"].clone();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(inspect(&daemon, &always)["RestartCount"], count);
    daemon.post(&format!("/containers/{always}/start"), &Value::Null).fine();
    assert!(inspect(&daemon, &always)["RestartCount"].as_i64() <= Some(1), "a person's start begins anew");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_wait_for_the_next_life_goes_on_after_the_daemon_was_killed() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let body = json!({"Image": "box", "Cmd": ["sh", "-c", "exit 4"], "HostConfig": {"RestartPolicy": {"Name": "always"}}});
    let id = daemon.run_detached(&body);
    let before = eventually("a long wait", 20, || {
        let seen = inspect(&daemon, &id);
        (seen["RestartCount"].as_i64() >= Some(5) && seen["State"]["Status"] == "restarting")
            .then(|| seen["RestartCount"].as_i64().unwrap())
    });
    daemon.kill_9();
    daemon.restart();
    eventually("its next lives", 5, || (inspect(&daemon, &id)["RestartCount"].as_i64() > Some(before)).then_some(()));
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn policies_hold_when_the_daemon_takes_containers_down_with_it() {
    let mut daemon = shipway_testkit::Setup::new(BINARY).argument("--live-restore=false").argument("--shutdown-timeout=1").start();
    daemon.import_busybox("box");
    let run = |policy: &str| {
        daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"], "HostConfig": {"RestartPolicy": {"Name": policy}}}))
    };
    let (plain, unless) = (run("no"), run("unless-stopped"));
    assert!(daemon.stop().success());
    daemon.restart();
    eventually("the policy", 10, || (inspect(&daemon, &unless)["State"]["Status"] == "running").then_some(()));
    assert_eq!(inspect(&daemon, &plain)["State"]["Status"], "exited");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

const MILLISECONDS: u64 = 1_000_000;

fn checked(script: &str, more: Value) -> Value {
    let mut check = json!({"Test": ["CMD-SHELL", script], "Interval": 200 * MILLISECONDS, "Timeout": 10_000 * MILLISECONDS, "Retries": 2});
    check.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"Image": "box", "Cmd": ["sleep", "1000"], "Healthcheck": check})
}

fn until(daemon: &Daemon, id: &str, status: &str) -> Value {
    eventually(status, 15, || Some(inspect(daemon, id)["State"]["Health"].clone()).filter(|health| health["Status"] == status))
}

#[test]
fn health_is_asked_after_and_told_and_outlives_the_daemon() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let id = daemon.run_detached(&checked("echo looking; test -e /ok", json!({})));
    assert_eq!(inspect(&daemon, &id)["State"]["Health"]["Status"], "starting");
    assert!(daemon.get("/containers/json")[0]["Status"].as_str().unwrap().ends_with("(health: starting)"));
    let health = until(&daemon, &id, "unhealthy");
    assert!(health["FailingStreak"].as_i64() >= Some(2), "{health}");
    assert_eq!((&health["Log"][0]["Output"], &health["Log"][0]["ExitCode"]), (&json!("looking\n"), &json!(1)));
    daemon.kill_9();
    daemon.restart();
    assert_eq!(inspect(&daemon, &id)["State"]["Health"]["Status"], "unhealthy", "it is still known");
    assert_eq!(daemon.exec(&id, "touch /ok").code, 0);
    until(&daemon, &id, "healthy");
    assert!(daemon.get("/containers/json")[0]["Status"].as_str().unwrap().ends_with("(healthy)"));
    let healthy = shipway_testkit::escape(r#"{"health":["healthy"]}"#);
    assert_eq!(daemon.get(&format!("/containers/json?filters={healthy}")).as_array().unwrap().len(), 1);
    eventually("five results", 10, || (inspect(&daemon, &id)["State"]["Health"]["Log"].as_array().unwrap().len() == 5).then_some(()));
    let told: Vec<String> = actions(&daemon, &id).into_iter().filter(|action| action.starts_with("health")).collect();
    assert_eq!(told, ["health_status: healthy"], "once, and in this life of the daemon");
    daemon.post(&format!("/containers/{id}/stop?t=0"), &Value::Null).fine();
    assert_eq!(inspect(&daemon, &id)["State"]["Health"]["Status"], "unhealthy");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_probe_that_hangs_is_killed_with_its_children_even_when_the_daemon_is() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let hangs = "echo before; sleep 4321 & sleep 4321";
    let quick = daemon.run_detached(&checked(hangs, json!({"Timeout": 300 * MILLISECONDS, "Retries": 1})));
    let slow = daemon.run_detached(&checked(hangs, json!({})));
    let health = until(&daemon, &quick, "unhealthy");
    assert_eq!(health["Log"][0]["ExitCode"], -1);
    assert_eq!(health["Log"][0]["Output"], "Health check exceeded timeout (300ms): before\n");
    // At most the probe that runs now.
    let sleepers = |id: &str| daemon.exec(id, "ps | grep -c 'sleep [4]321'").stdout.trim().parse::<usize>().unwrap();
    assert!(sleepers(&quick) <= 3, "probes pile up: {}", sleepers(&quick));
    eventually("the slow probe", 5, || (sleepers(&slow) >= 2).then_some(()));
    daemon.kill_9();
    let pid = daemon_pid_of(&daemon, &slow);
    eventually("the end of the abandoned probe", 5, || (children_named(pid, "4321") == 0).then_some(()));
    daemon.restart();
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

/// The first process of a container, read from the monitor's notes: no daemon is there to be asked.
fn daemon_pid_of(daemon: &Daemon, id: &str) -> i64 {
    let text = std::fs::read_to_string(daemon.exec_root().join("containers").join(id).join("state")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["pid"].as_i64().unwrap()
}

/// How many processes in the pid namespace of `pid` have `word` in their command line.
fn children_named(pid: i64, word: &str) -> usize {
    let space = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let ours = space(&pid.to_string()).unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let there = processes.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && space(name).as_ref() == Some(&ours));
    there.filter(|name| std::fs::read_to_string(format!("/proc/{name}/cmdline")).is_ok_and(|line| line.contains(word))).count()
}

#[test]
fn the_images_check_counts_unless_the_request_says_otherwise() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let check = "HEALTHCHECK --interval=200ms --retries=1 --start-period=700ms --start-interval=100ms CMD test -e /ok";
    let context = shipway_testkit::Tar::new().file("Dockerfile", format!("FROM box\n{check}\n"));
    daemon.build("t=checked", &context.finish()).unwrap();
    let run = |more: Value| {
        let mut body = json!({"Image": "checked", "Cmd": ["sleep", "1000"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        daemon.run_detached(&body)
    };
    let (own, none) = (run(json!({})), run(json!({"Healthcheck": {"Test": ["NONE"]}})));
    let begun = Instant::now();
    let health = until(&daemon, &own, "unhealthy");
    assert!(begun.elapsed() > Duration::from_millis(500), "failures in the start period do not count");
    assert!(health["Log"].as_array().unwrap().len() >= 3, "they are written down: {health}");
    assert_eq!(inspect(&daemon, &own)["Config"]["Healthcheck"]["StartPeriod"], 700 * MILLISECONDS);
    assert_eq!(inspect(&daemon, &none)["State"].get("Health"), None);
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

/// Nobody but the monitors is there: output is kept and rotated, an end is kept until somebody can act on it.
#[test]
fn what_happens_while_there_is_no_daemon_is_kept_and_acted_on() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let run = |script: &str, host: Value| daemon.run_detached(&json!({"Image": "box", "Cmd": ["sh", "-c", script], "HostConfig": host}));
    let log = json!({"LogConfig": {"Type": "json-file", "Config": {"max-size": "20k", "max-file": "3", "compress": "true"}}});
    let writer = run("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; echo the end; exec sleep 1000", log);
    let policy = |name: &str| json!({"RestartPolicy": {"Name": name}});
    let falls = "echo life; sleep 1; exit 7";
    let (failing, plain) = (run(falls, policy("on-failure")), run(falls, policy("no")));
    daemon.kill_9();
    // Longer than a life.
    std::thread::sleep(Duration::from_millis(1500));
    daemon.restart();
    eventually("the next life", 5, || (inspect(&daemon, &failing)["RestartCount"].as_i64() >= Some(1)).then_some(()));
    let ended = inspect(&daemon, &plain)["State"].clone();
    assert_eq!((&ended["Status"], &ended["ExitCode"]), (&json!("exited"), &json!(7)), "{ended}");
    assert!(daemon.logs(&failing).0.starts_with("life\n"));
    let said = daemon.logs(&writer).0;
    let lines: Vec<u32> = said.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    assert!(said.ends_with("line 3000\nthe end\n") && lines.windows(2).all(|pair| pair[1] == pair[0] + 1), "{}", said.len());
    assert!(lines.len() < 3000, "the oldest have gone");
    let folder = daemon.data_root().join("containers").join(&writer);
    let files = std::fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().contains(".log"));
    let sizes: Vec<u64> = files.map(|entry| entry.metadata().unwrap().len()).collect();
    // A busy machine packs late: then, and only then, a file may grow to twice its bound.
    assert!(sizes.len() == 3 && sizes.iter().all(|size| *size < 42_000), "{sizes:?}");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

/// Everything the kernel knew is gone: health begins anew, and the filesystem of a volume is mounted again.
#[test]
fn after_a_reboot_health_begins_anew_and_volumes_are_mounted_again() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let disk = daemon.scratch().join("disk");
    std::fs::create_dir_all(&disk).unwrap();
    std::fs::write(disk.join("ok"), "").unwrap();
    let options = json!({"type": "none", "o": "bind", "device": disk});
    daemon.post("/volumes/create", &json!({"Name": "driven", "DriverOpts": options})).fine();
    let mut body = checked("test -e /v/ok", json!({}));
    body["HostConfig"] = json!({"RestartPolicy": {"Name": "always"}, "Binds": ["driven:/v"]});
    let id = daemon.run_detached(&body);
    until(&daemon, &id, "healthy");
    std::fs::remove_file(disk.join("ok")).unwrap();
    daemon.reboot();
    let data = daemon.data_root().join("volumes/driven/_data");
    assert!(std::process::Command::new("umount").arg(&data).status().unwrap().success());
    daemon.restart();
    eventually("the policy", 10, || (inspect(&daemon, &id)["State"]["Status"] == "running").then_some(()));
    until(&daemon, &id, "unhealthy");
    std::fs::write(disk.join("ok"), "").unwrap();
    until(&daemon, &id, "healthy");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}
