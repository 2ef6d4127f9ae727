//! A container's files and limits from outside: cp against a hostile container, commit, export, diff, pause and update over the API.
//!
//! What docker's client shows of the same is in `tests/parity`; here stands what it cannot show: races, cgroups, events, and what is left behind.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shipway_testkit::{Daemon, Tar, eventually};

use crate::BINARY;

fn daemon() -> Daemon {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("bb");
    daemon
}

fn sleeper(daemon: &Daemon, script: &str) -> String {
    daemon.run_detached(
        &json!({ "Image": "bb", "Cmd": ["sh", "-c", format!("{script}\nexec sleep 1000")], "HostConfig": { "NetworkMode": "none" } }),
    )
}

fn put(daemon: &Daemon, id: &str, path: &str, query: &str, archive: &[u8]) -> (u16, String) {
    let answer = shipway_testkit::call(
        &daemon.socket(),
        "PUT",
        &format!("/containers/{id}/archive?path={path}{query}"),
        "application/x-tar",
        archive,
    )
    .expect("an answer");
    (answer.status, answer.text())
}

fn get(daemon: &Daemon, id: &str, path: &str) -> (u16, Vec<u8>) {
    // A file that goes away while it is packed breaks the archive off, as it must.
    match daemon.try_call("GET", &format!("/containers/{id}/archive?path={path}"), &Value::Null) {
        Ok(answer) => (answer.status, answer.body),
        Err(_) => (0, Vec::new()),
    }
}

/// S-201, S-203: whatever the container swaps while files are copied in and out, nothing of the host is read or written.
#[test]
fn a_container_that_swaps_folders_for_links_reaches_nothing_of_the_host() {
    let daemon = daemon();
    let bait = daemon.scratch().join("bait");
    std::fs::create_dir_all(&bait).expect("mkdir");
    std::fs::write(bait.join("secret"), "host").expect("write");
    let host_path = bait.display().to_string();
    // Below the same path the container has a folder of its own, which is a link to that path of the host half of the time.
    let script = format!(
        "mkdir -p {host_path} /real /w; echo inside > {host_path}/secret; echo inside > /real/secret; \
         (while :; do rm -rf /w/d; mkdir /w/d; echo inside > /w/d/secret; rm -rf /w/d; ln -s {host_path} /w/d; rm /w/d; ln -s ../../../../../../..{host_path} /w/d; done) &"
    );
    let id = sleeper(&daemon, &script);
    let archive = Tar::new().file("written", "x").finish();
    let until = Instant::now() + Duration::from_secs(4);
    let (mut read, mut wrote) = (0, 0);
    while Instant::now() < until {
        let (status, body) = get(&daemon, &id, "/w/d/secret");
        if status == 200 {
            read += 1;
            assert!(!body.windows(5).any(|part| part == b"host\0"), "a file of the host was read");
        }
        let (status, _) = put(&daemon, &id, "/w/d", "", &archive);
        wrote += u32::from(status == 200);
    }
    assert!(read > 0 && wrote > 0, "{read} reads and {wrote} writes hit");
    let names: Vec<_> = std::fs::read_dir(&bait).expect("list").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(names, ["secret"], "nothing was written to the host");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

/// S-204 and the corpus of evil archives, through cp.
#[test]
fn evil_archives_stay_inside_the_container() {
    let daemon = daemon();
    let outside = daemon.scratch().join("outside");
    std::fs::create_dir_all(&outside).expect("mkdir");
    let id = sleeper(&daemon, "mkdir /in");
    let target = outside.display().to_string();
    let up = "../".repeat(8);
    let archives = [
        Tar::new().file(&format!("{up}{}/a", target.trim_start_matches('/')), "x"),
        Tar::new().link("l", &target).file("l/b", "x"),
        Tar::new().link("l", &format!("{up}{}", target.trim_start_matches('/'))).file("l/c", "x"),
        Tar::new().entry("h", b'1', 0o644, "/etc/passwd", b"").file("h", "x"),
        Tar::new().link("f", &format!("{target}/d")).file("f", "x"),
    ];
    for archive in archives {
        let (status, text) = put(&daemon, &id, "/in", "", &archive.finish());
        assert!(matches!(status, 200 | 400 | 404), "{status} {text}");
    }
    assert_eq!(std::fs::read_dir(&outside).expect("list").count(), 0);
    let (status, text) = put(&daemon, &id, "/in", "", b"junk");
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("Error processing tar file"), "{text}");
    daemon.remove_all_containers();
}

#[test]
fn a_stopped_container_is_looked_into_and_nothing_stays_mounted() {
    let daemon = daemon();
    let shared = daemon.scratch().join("shared");
    std::fs::create_dir_all(&shared).expect("mkdir");
    std::fs::write(shared.join("f"), "of the host").expect("write");
    let id = daemon.create(&json!({ "Image": "bb", "Cmd": ["cat", "/m/g", "/in"],
        "HostConfig": { "NetworkMode": "none", "Binds": [format!("{}:/m", shared.display())] } }));
    let (status, body) = get(&daemon, &id, "/m/f");
    assert_eq!(status, 200);
    assert!(body.windows(11).any(|part| part == b"of the host"), "the mount is seen");
    assert_eq!(put(&daemon, &id, "/m", "", &Tar::new().file("g", "mounted ").finish()).0, 200);
    assert_eq!(put(&daemon, &id, "/", "", &Tar::new().file("in", "own\n").finish()).0, 200);
    assert_eq!(std::fs::read_to_string(shared.join("g")).expect("read"), "mounted ");
    daemon.post(&format!("/containers/{id}/start"), &Value::Null).fine();
    daemon.wait(&id);
    assert_eq!(daemon.logs(&id).0, "mounted own\n");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!mounts.contains(&daemon.data_root().display().to_string()), "nothing is mounted among the host's mounts");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

/// Parts of volumes, images, and filesystems that are mounted for a volume's options: what a start would mount is seen, and written to.
#[test]
fn a_stopped_container_shows_every_kind_of_mount() {
    let daemon = daemon();
    let disk = daemon.scratch().join("disk");
    std::fs::create_dir_all(&disk).expect("mkdir");
    let options = json!({"type": "none", "o": "bind", "device": disk});
    daemon.post("/volumes/create", &json!({"Name": "driven", "DriverOpts": options})).fine();
    let prepare = json!([{"Type": "volume", "Source": "parts", "Target": "/v"}]);
    let made =
        daemon.run(&json!({"Image": "bb", "Cmd": ["sh", "-c", "mkdir /v/sub; echo part > /v/sub/f"], "HostConfig": {"Mounts": prepare}}));
    assert_eq!(made.code, 0);
    let mounts = json!([
        {"Type": "volume", "Source": "parts", "Target": "/part", "VolumeOptions": {"Subpath": "sub"}},
        {"Type": "image", "Source": "bb", "Target": "/image", "ImageOptions": {"Subpath": "etc"}},
        {"Type": "volume", "Source": "driven", "Target": "/driven"},
        {"Type": "tmpfs", "Target": "/memory"},
    ]);
    let id =
        daemon.create(&json!({"Image": "bb", "Cmd": ["cat", "/part/f", "/part/new", "/driven/new"], "HostConfig": {"Mounts": mounts}}));
    let holds = |path: &str, text: &str| {
        let (status, body) = get(&daemon, &id, path);
        assert!(status == 200 && body.windows(text.len()).any(|part| part == text.as_bytes()), "{path}: {status}");
    };
    holds("/part/f", "part\n");
    holds("/image/passwd", "user:x:1000");
    for place in ["/part", "/driven"] {
        assert_eq!(put(&daemon, &id, place, "", &Tar::new().file("new", format!("{place}\n")).finish()).0, 200);
    }
    assert_eq!(std::fs::read_to_string(disk.join("new")).expect("not under the mount"), "/driven\n");
    let (status, text) = put(&daemon, &id, "/image", "", &Tar::new().file("new", "x").finish());
    assert_eq!((status, text.contains("read-only")), (403, true), "{text}");
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!table.contains(&daemon.data_root().display().to_string()), "nothing is mounted among the host's mounts");
    daemon.post(&format!("/containers/{id}/start"), &Value::Null).fine();
    daemon.wait(&id);
    assert_eq!(daemon.logs(&id).0, "part\n/part\n/driven\n");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_commit_survives_the_daemon_and_is_sound() {
    let mut daemon = daemon();
    let id = sleeper(&daemon, "echo kept > /f; rm /etc/passwd; rm -r /usr; mkdir /usr; echo new > /usr/only");
    eventually("the script", 10, || (daemon.exec(&id, "cat /usr/only").stdout == "new\n").then_some(()));
    let answer = daemon.post(&format!("/commit?container={id}&repo=made&tag=1&changes=ENV%20A%3Db"), &json!({})).fine().json();
    assert!(answer["Id"].as_str().unwrap().starts_with("sha256:"));
    let changes = daemon.get(&format!("/containers/{id}/changes"));
    let told = |path: &str| {
        changes.as_array().unwrap().iter().find(|change| change["Path"] == path).map(|change| change["Kind"].as_u64().unwrap())
    };
    assert_eq!((told("/f"), told("/etc"), told("/etc/passwd"), told("/usr/only")), (Some(1), Some(0), Some(2), Some(1)), "{changes}");
    daemon.kill_9();
    daemon.restart();
    let said = daemon.shell("made:1", "cat /f; echo $A; ls /usr; ls /etc/passwd").stdout;
    assert_eq!(said, "kept\nb\nonly\n");
    daemon.assert_sound();
    daemon.remove_all_containers();
}

/// Compared with dockerd 20.10: the order of a commit's events, memory among the mounts of the list, a signal as it was typed, an exec that ended.
#[test]
fn a_container_is_told_of_as_dockerd_tells_of_it() {
    let daemon = daemon();
    let id = daemon.run_detached(&json!({
        "Image": "bb", "Cmd": ["sleep", "1000"], "StopSignal": "usr1",
        "HostConfig": {"NetworkMode": "none", "Tmpfs": {"/short": ""}, "Mounts": [{"Type": "tmpfs", "Target": "/long"}]},
    }));
    daemon.post(&format!("/commit?container={id}&repo=made&tag=1"), &json!({})).fine();
    let events = daemon.shipway(&["events", "--since", "10m", "--until", "0s", "--format", "{{.Action}}"]);
    let events = String::from_utf8(events.stdout).unwrap();
    assert!(events.ends_with("start\npause\ntag\ncommit\nunpause\n"), "{events}");
    let targets = |mounts: &Value| mounts.as_array().unwrap().iter().map(|mount| mount["Destination"].clone()).collect::<Vec<_>>();
    let inspected = daemon.get(&format!("/containers/{id}/json"));
    assert_eq!(targets(&inspected["Mounts"]), [json!("/long")]);
    assert_eq!(targets(&daemon.get("/containers/json")[0]["Mounts"]), [json!("/long")]);
    assert_eq!(inspected["Config"]["StopSignal"], "usr1");
    let exec = daemon.post(&format!("/containers/{id}/exec"), &json!({"Cmd": ["true"]})).fine().json()["Id"].as_str().unwrap().to_owned();
    daemon.post(&format!("/exec/{exec}/start"), &json!({"Detach": true})).fine();
    let ended =
        eventually("the end of the exec", 10, || Some(daemon.get(&format!("/exec/{exec}/json"))).filter(|told| told["ExitCode"] == 0));
    assert_eq!(ended["CanRemove"], false);
    daemon.remove_all_containers();
}

#[test]
fn pause_and_update_act_on_the_kernel_and_outlive_the_daemon() {
    let mut daemon = daemon();
    let id = sleeper(&daemon, "(while :; do head -c 8192 /dev/zero >> /ticks; sleep 0.05; done) &");
    let ticks = |daemon: &Daemon| daemon.get(&format!("/containers/{id}/json?size=1"))["SizeRw"].as_u64().unwrap();
    eventually("ticks", 10, || (ticks(&daemon) > 0).then_some(()));
    daemon.post(&format!("/containers/{id}/pause"), &Value::Null).fine();
    let before = ticks(&daemon);
    daemon.kill_9();
    daemon.restart();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(daemon.get(&format!("/containers/{id}/json"))["State"]["Status"], "paused");
    assert_eq!(ticks(&daemon), before, "nothing runs while paused");
    daemon.post(&format!("/containers/{id}/update"), &json!({ "Memory": 64 << 20, "PidsLimit": 9 })).fine();
    daemon.post(&format!("/containers/{id}/unpause"), &Value::Null).fine();
    eventually("ticks after the pause", 10, || (ticks(&daemon) > before).then_some(()));
    let stats = daemon.get(&format!("/containers/{id}/stats?stream=0&one-shot=1"));
    assert_eq!((stats["memory_stats"]["limit"].as_u64(), stats["pids_stats"]["limit"].as_u64()), (Some(64 << 20), Some(9)), "{stats}");
    daemon.kill_9();
    daemon.restart();
    let host = &daemon.get(&format!("/containers/{id}/json"))["HostConfig"];
    assert_eq!(
        (host["Memory"].as_u64(), host["MemorySwap"].as_u64(), host["PidsLimit"].as_u64()),
        (Some(64 << 20), Some(128 << 20), Some(9))
    );
    daemon.remove_all_containers();
}
