//! Volumes and mounts: who sees what, who may write where, what outlives whom, and what an attacker inside a volume reaches (S-120, S-217).
//!
//! What the docker client says about them is in `tests/parity/scenarios.txt`; here stands what has no dockerd to compare with, or needs a look at the host.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shipway_testkit::{Daemon, Setup, Tar, busybox_tar};

use crate::BINARY;

fn start() -> Daemon {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    daemon
}

/// A program with mounts, in the API's words.
fn with(mounts: &Value, script: &str) -> Value {
    json!({"Image": "box", "Cmd": ["sh", "-c", script], "HostConfig": {"Mounts": mounts}})
}

fn with_binds(binds: &Value, script: &str) -> Value {
    json!({"Image": "box", "Cmd": ["sh", "-c", script], "HostConfig": {"Binds": binds}})
}

fn folder(daemon: &Daemon, name: &str) -> PathBuf {
    let path = daemon.scratch().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn names(daemon: &Daemon) -> Vec<String> {
    let list = daemon.get("/volumes");
    list["Volumes"].as_array().unwrap().iter().map(|volume| volume["Name"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn refused(daemon: &Daemon, body: &Value, status: u16, words: &str) {
    let answer = daemon.try_run(body).expect_err(words);
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!((answer.status, message.contains(words)), (status, true), "{message}");
}

#[test]
fn idmap_makes_one_owner_the_containers_user_and_changes_nothing_on_the_disk() {
    let daemon = start();
    let shared = folder(&daemon, "own");
    std::fs::write(shared.join("f"), "x").unwrap();
    std::fs::write(shared.join("other"), "y").unwrap();
    for path in [&shared, &shared.join("f")] {
        chown(path, Some(1234), Some(2345)).unwrap();
    }
    chown(shared.join("other"), Some(77), Some(77)).unwrap();
    let source = shared.display();
    let look = "stat -c '%u %g' /w /w/f /w/other; touch /w/new";
    let said = daemon.run(&with_binds(&json!([format!("{source}:/w:idmap")]), look)).said();
    assert_eq!(said, "0 0\n0 0\n77 77\n");
    let owner = |name: &str| std::fs::metadata(shared.join(name)).map(|found| (found.uid(), found.gid())).unwrap();
    assert_eq!((owner("f"), owner("new"), owner("other")), ((1234, 2345), (1234, 2345), (77, 77)));
    // Another user, named; as JSON of the long form.
    let mut body = with(
        &json!([{"Type": "bind", "Source": shared, "Target": "/w", "BindOptions": {"IdMap": "idmap=77-77"}}]),
        "stat -c %u /w/other /w/f",
    );
    body["User"] = json!("500:500");
    assert_eq!(daemon.run(&body).said(), "500\n1234\n");
    // `U` does change it, and never a folder of the system.
    let mut body = with_binds(&json!([format!("{source}:/w:U")]), "stat -c %u:%g /w/other");
    body["User"] = json!("55:66");
    assert_eq!(daemon.run(&body).said(), "55:66\n");
    assert_eq!(owner("f"), (55, 66));
    refused(&daemon, &with_binds(&json!(["/etc:/w:U"]), "true"), 400, "changing the owner of /etc is not allowed");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_subpath_never_leaves_its_volume() {
    let daemon = start();
    let token = folder(&daemon, "host");
    std::fs::write(token.join("token"), "secret").unwrap();
    daemon.run(&with_binds(&json!(["data:/d"]), "mkdir -p /d/a/b; echo deep > /d/a/b/f; ln -s /a/b /d/in; ln -s f /d/a/b/l")).said();
    let data = daemon.data_root().join("volumes/data/_data");
    symlink(&token, data.join("out")).unwrap();
    symlink(format!("../../../../../../..{}", token.display()), data.join("up")).unwrap();
    symlink("/proc/self/root", data.join("magic")).unwrap();
    let sub = |path: &str| json!([{"Type": "volume", "Source": "data", "Target": "/m", "VolumeOptions": {"Subpath": path}}]);
    for (path, script, said) in [("a/b", "cat /m/l", "deep\n"), ("in", "cat /m/f", "deep\n"), ("a/b/f", "cat /m", "deep\n")] {
        assert_eq!(daemon.run(&with(&sub(path), script)).said(), said, "{path}");
    }
    for path in ["out", "up", "magic", "nosuch", "a/nosuch"] {
        refused(&daemon, &with(&sub(path), "cat /m/token"), 400, &format!("cannot access path \"{path}\" of volume data"));
    }
    for path in ["..", "a/../../x", "/a"] {
        refused(&daemon, &with(&sub(path), "true"), 400, "subpath must be a relative path within the volume");
    }
    daemon.remove_all_containers();
}

#[test]
fn read_only_reaches_as_far_as_it_was_said_to() {
    let daemon = start();
    let top = folder(&daemon, "top");
    let mount =
        |target: &Path| std::process::Command::new("mount").args(["-t", "tmpfs", "shipway-test"]).arg(target).status().unwrap().success();
    assert!(mount(&top));
    std::fs::create_dir(top.join("low")).unwrap();
    assert!(mount(&top.join("low")));
    let try_both = "touch /w/x 2>/dev/null && echo top; touch /w/low/x 2>/dev/null && echo low; true";
    for (options, said) in [
        (json!({}), ""),
        (json!({"ReadOnlyNonRecursive": true}), "low\n"),
        (json!({"ReadOnlyForceRecursive": true, "Propagation": "rprivate"}), ""),
        // Without what is mounted below, /w/low is a folder of the read-only top.
        (json!({"NonRecursive": true}), ""),
    ] {
        let mounts = json!([{"Type": "bind", "Source": top, "Target": "/w", "ReadOnly": true, "BindOptions": options}]);
        assert_eq!(daemon.run(&with(&mounts, try_both)).said(), said, "{options}");
    }
    let writable = json!([{"Type": "bind", "Source": top, "Target": "/w", "BindOptions": {"NonRecursive": true}}]);
    assert_eq!(daemon.run(&with(&writable, "touch /w/low/seen; ls /w/low")).said(), "seen\n");
    assert!(!top.join("low/seen").exists(), "the mount below did not come along");
    daemon.remove_all_containers();
    assert!(std::process::Command::new("umount").args(["-R".as_ref(), top.as_os_str()]).status().unwrap().success());
    daemon.assert_nothing_left();
}

#[test]
fn an_image_can_be_mounted_and_outlives_its_name() {
    let daemon = start();
    let tools = busybox_tar().folder("tools", 0o755).file("tools/hello", "from the image").link("way", "/tools").finish();
    daemon.import("tools", &tools);
    let whole = json!([{"Type": "image", "Source": "tools", "Target": "/img"}]);
    assert_eq!(daemon.run(&with(&whole, "cat /img/tools/hello; touch /img/x 2>/dev/null || echo; echo no")).said(), "from the image\nno\n");
    let part = json!([{"Type": "image", "Source": "tools", "Target": "/img", "ImageOptions": {"Subpath": "way"}}]);
    let id = daemon.create(&with(&part, "cat /img/hello"));
    daemon.delete("/images/tools?force=1").fine();
    daemon.post(&format!("/containers/{id}/start"), &Value::Null).fine();
    assert_eq!((daemon.wait(&id), daemon.logs(&id).0.as_str()), (0, "from the image"));
    refused(&daemon, &with(&json!([{"Type": "image", "Source": "nosuch", "Target": "/img"}]), "true"), 400, "No such image: nosuch");
    daemon.remove_all_containers();
    daemon.assert_sound();
}

#[test]
fn anonymous_volumes_go_with_their_container_and_named_ones_stay() {
    let daemon = start();
    let mut body = with_binds(&json!(["named:/n"]), "touch /n/x /a/x");
    body["Volumes"] = json!({"/a": {}});
    let kept = daemon.create(&body);
    assert_eq!(names(&daemon).len(), 2);
    // Another container that shares the anonymous one keeps it alive.
    let sharing = daemon.create(&json!({"Image": "box", "HostConfig": {"VolumesFrom": [kept]}}));
    daemon.delete(&format!("/containers/{kept}?v=1")).fine();
    assert_eq!(names(&daemon).len(), 2);
    daemon.delete(&format!("/containers/{sharing}?v=1")).fine();
    assert_eq!(names(&daemon), ["named"]);
    body["HostConfig"]["AutoRemove"] = json!(true);
    let id = daemon.run_detached(&body);
    let _ = daemon.call("POST", &format!("/containers/{id}/wait?condition=removed"), &Value::Null);
    shipway_testkit::eventually("the anonymous volume to go", 10, || (names(&daemon) == ["named"]).then_some(()));
    // Without -v it stays, and prune finds it; the named one only when asked.
    body["HostConfig"]["AutoRemove"] = json!(false);
    let id = daemon.create(&body);
    daemon.delete(&format!("/containers/{id}")).fine();
    let pruned = daemon.post("/v1.43/volumes/prune", &Value::Null).fine().json();
    assert_eq!((pruned["VolumesDeleted"].as_array().unwrap().len(), names(&daemon)), (1, vec!["named".to_owned()]));
    assert!(daemon.data_root().join("volumes/named/_data/x").exists());
    daemon.post("/v1.43/volumes/prune?filters=%7B%22all%22%3A%5B%22true%22%5D%7D", &Value::Null).fine();
    assert_eq!(names(&daemon), Vec::<String>::new());
    daemon.assert_sound();
    daemon.assert_nothing_left();
}

#[test]
fn an_image_cannot_make_the_daemon_copy_the_host_into_a_volume() {
    // S-120.
    let daemon = start();
    let secret = folder(&daemon, "secret");
    std::fs::write(secret.join("token"), "secret").unwrap();
    let climbing = format!("/../../../..{}", secret.display());
    let image =
        busybox_tar().link("direct", secret.to_str().unwrap()).link("up", &climbing).folder("etc2", 0o755).link("etc2/f", "/etc/shadow");
    daemon.import("evil", &image.finish());
    for target in ["/direct", "/up", &climbing, "/etc2"] {
        let mut body = json!({"Image": "evil", "Cmd": ["sh", "-c", format!("ls -A {target}; cat {target}/token {target}/f")]});
        body["Volumes"] = json!({target: {}});
        let Ok(id) = daemon.try_run(&body) else { continue };
        daemon.wait(&id);
        let (out, err) = daemon.logs(&id);
        assert!(!out.contains("secret") && !out.contains("root:"), "{target}: {out}{err}");
    }
    for target in ["/proc", "/proc/sys/kernel", "/sys/../proc"] {
        let mut body = json!({"Image": "box", "Cmd": ["true"]});
        body["Volumes"] = json!({target: {}});
        assert!(daemon.try_run(&body).is_err(), "a volume on {target}");
    }
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_driver_mount_is_shared_while_it_is_used_and_gone_afterwards() {
    let mut daemon = start();
    daemon
        .post(
            "/volumes/create",
            &json!({"Name": "mem", "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=0750,uid=9"}}),
        )
        .fine();
    let sleep = with_binds(&json!(["mem:/m"]), "sleep 1000");
    let (one, two) = (daemon.run_detached(&sleep), daemon.run_detached(&sleep));
    assert_eq!(daemon.exec(&one, "echo hi > /m/f; stat -c '%u %a' /m").said(), "9 750\n");
    assert_eq!(daemon.exec(&two, "cat /m/f").said(), "hi\n");
    daemon.delete(&format!("/containers/{one}?force=1")).fine();
    assert_eq!(daemon.exec(&two, "cat /m/f").said(), "hi\n");
    daemon.kill_9();
    daemon.restart();
    assert_eq!(daemon.exec(&two, "cat /m/f").said(), "hi\n", "a new daemon leaves what is used alone");
    daemon.delete(&format!("/containers/{two}?force=1")).fine();
    shipway_testkit::eventually("the mount to go", 10, || {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        (!table.contains(&format!("{}/volumes/mem/_data", daemon.data_root().display()))).then_some(())
    });
    daemon.delete("/volumes/mem").fine();
    daemon.assert_nothing_left();
}

#[test]
fn dying_while_a_volume_is_filled_leaves_all_or_nothing() {
    let mut daemon = Setup::new(BINARY).start();
    let seed = busybox_tar()
        .folder("seed", 0o711)
        .file("seed/a", "a")
        .file("seed/b", "b")
        .file("seed/c", "c")
        .folder("seed/d", 0o755)
        .file("seed/d/e", "e");
    daemon.import("seeded", &seed.finish());
    let fill = json!({"Image": "seeded", "Cmd": ["true"], "HostConfig": {"Binds": ["data:/seed"]}});
    let data = daemon.data_root().join("volumes/data/_data");
    for (point, pass) in [("created", 1), ("staged", 1), ("moved", 1), ("moved", 3)] {
        daemon.restart_with_fault(&format!("store.volume.{point}"), pass);
        assert!(daemon.try_call("POST", "/containers/create", &fill).is_err(), "{point} is reached");
        daemon.wait_for_death(10);
        daemon.restart();
        if names(&daemon) == ["data"] {
            assert_eq!(std::fs::read_dir(&data).unwrap().count(), 4, "{point}: half of a volume");
        } else {
            assert!(!data.exists(), "{point}: a folder that nobody knows");
        }
        let id = daemon.create(&fill);
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 4, "{point}");
        assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o7777, 0o711, "{point}");
        daemon.delete(&format!("/containers/{id}")).fine();
        daemon.remove_all_containers();
        daemon.delete("/volumes/data").fine();
    }
    daemon.assert_sound();
    daemon.assert_nothing_left();
}

#[test]
fn volumes_are_imported_and_cloned_whole() {
    let daemon = start();
    let archive = Tar::new().folder("dir", 0o750).file("dir/f", "text").entry("way", b'2', 0o777, "/etc/shadow", b"").finish();
    let import = |name: &str, bytes: &[u8]| daemon.try_send_tar(&format!("/shipway/volumes/{name}/import"), bytes).unwrap();
    import("one", &archive).fine();
    let data = |name: &str| daemon.data_root().join("volumes").join(name).join("_data");
    assert_eq!(std::fs::read_to_string(data("one").join("dir/f")).unwrap(), "text");
    assert_eq!(std::fs::read_link(data("one").join("way")).unwrap(), Path::new("/etc/shadow"));
    assert_eq!(std::fs::metadata(data("one")).unwrap().permissions().mode() & 0o7777, 0o755);
    // Never on top of something, and never half.
    let twice = import("one", &archive);
    assert_eq!((twice.status, twice.json()["message"].as_str()), (409, Some("volume \"one\" has something in it already")));
    let mut broken = archive.clone();
    broken.truncate(700);
    assert!(!import("bad", &broken).is_fine());
    assert_eq!(names(&daemon), ["one"]);
    // S-215: what climbs stays inside.
    let climbing =
        Tar::new().entry("up", b'2', 0o777, "../../../..", b"").file("up/shipway-import-token", "x").file("../../climbed", "x").finish();
    let _ = import("climber", &climbing);
    assert!(!Path::new("/shipway-import-token").exists() && !daemon.data_root().join("climbed").exists());
    let held = std::fs::File::create(data("one").join("hole")).unwrap();
    held.set_len(4 << 20).unwrap();
    std::fs::hard_link(data("one").join("hole"), data("one").join("dir/same")).unwrap();
    daemon.post("/shipway/volumes/one/clone?name=two", &Value::Null).fine();
    let look = |path: &str| std::fs::metadata(data("two").join(path)).unwrap();
    assert_eq!(look("hole").ino(), look("dir/same").ino());
    assert_eq!((look("hole").len(), look("hole").blocks() < 100, look("dir").mode() & 0o777), (4 << 20, true, 0o750));
    assert_ne!(look("hole").ino(), held.metadata().unwrap().ino());
    assert_eq!(daemon.post("/shipway/volumes/nosuch/clone?name=x2", &Value::Null).status, 404);
    assert_eq!(daemon.post("/shipway/volumes/one/clone?name=one", &Value::Null).status, 409);
    daemon.assert_sound();
}

#[test]
fn a_volume_that_went_out_comes_in_as_it_was() {
    let daemon = start();
    daemon.post("/volumes/create", &json!({"Name": "one"})).fine();
    let data = |name: &str| daemon.data_root().join("volumes").join(name).join("_data");
    let at = |path: &str| data("one").join(path);
    std::fs::create_dir(at("d")).unwrap();
    let file = std::fs::File::create(at("d/holes")).unwrap();
    file.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 32 << 20).unwrap();
    rustix::fs::fsetxattr(&file, "user.kind", b"disk", rustix::fs::XattrFlags::empty()).unwrap();
    std::fs::hard_link(at("d/holes"), at("same")).unwrap();
    symlink("/etc/shadow", at("way")).unwrap();
    chown(at("d"), Some(1234), Some(55)).unwrap();
    std::fs::set_permissions(at("d"), std::fs::Permissions::from_mode(0o2750)).unwrap();
    chown(data("one"), Some(7), Some(8)).unwrap();
    std::fs::set_permissions(data("one"), std::fs::Permissions::from_mode(0o1770)).unwrap();
    let archive = daemon.scratch().join("one.tar");
    let path = archive.display().to_string();
    let output = daemon.shipway(&["volume", "export", "-o", &path, "one"]);
    assert!(output.status.success(), "{output:?}");
    assert!(std::fs::metadata(&archive).unwrap().len() < 1 << 20, "holes stay holes");
    let output = daemon.shipway(&["volume", "import", "two", &path]);
    assert!(output.status.success(), "{output:?}");
    let look = |name: &str, path: &str| {
        let found = std::fs::symlink_metadata(data(name).join(path)).unwrap();
        (found.mode(), found.uid(), found.gid(), found.len(), found.mtime(), found.mtime_nsec(), found.nlink())
    };
    for path in ["d", "d/holes", "same", "way"] {
        let size_of_folder = std::fs::metadata(at("d")).unwrap().len();
        let (mut before, mut after) = (look("one", path), look("two", path));
        if path == "d" {
            (before.3, after.3) = (size_of_folder, size_of_folder);
        }
        assert_eq!(before, after, "{path}");
    }
    let (top, copy) = (look("one", "."), look("two", "."));
    assert_eq!((top.0, top.1, top.2), (copy.0, copy.1, copy.2));
    let mut kind = [0; 8];
    let length = rustix::fs::getxattr(data("two").join("same"), "user.kind", &mut kind).unwrap();
    assert_eq!(&kind[..length], b"disk");
    let blocks = std::fs::metadata(data("two").join("same")).unwrap().blocks();
    assert!(blocks < 1000, "{blocks}");
    let mut middle = [0; 6];
    std::os::unix::fs::FileExt::read_exact_at(&std::fs::File::open(data("two").join("same")).unwrap(), &mut middle, 32 << 20).unwrap();
    assert_eq!(&middle, b"middle");
    // Other tools read it too.
    let listed = std::process::Command::new("tar").args(["-tvf", &path]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("67108864") && listed.contains("./d/holes"), "{listed}");
    let none = daemon.shipway(&["volume", "export", "nosuch"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("no such volume"), "{none:?}");
    daemon.assert_sound();
}
