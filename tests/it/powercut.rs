//! F-06: the plug is pulled right after an acknowledgement. Nothing acknowledged may be lost.
//!
//! The disk is a journaled ext4 that commits by syncs alone and forgets the rest when it is cut; see `shipway_testkit::Disk`.

use serde_json::json;
use shipway_testkit::{Disk, Setup, Tar};

use crate::BINARY;
use crate::crash::world::{Op, World};

#[test]
fn the_disk_of_these_tests_forgets_what_was_not_synced() {
    // Positive control: without it the tests below could not fail.
    let disk = Disk::new(64);
    std::fs::write(disk.path().join("synced"), "kept").unwrap();
    let folder = std::fs::File::open(disk.path()).unwrap();
    std::fs::File::open(disk.path().join("synced")).unwrap().sync_all().unwrap();
    folder.sync_all().unwrap();
    std::fs::write(disk.path().join("unsynced"), "lost").unwrap();
    drop(folder);
    disk.cut_power();
    disk.power_up();
    assert_eq!(std::fs::read_to_string(disk.path().join("synced")).unwrap(), "kept");
    assert!(!disk.path().join("unsynced").exists());
}

/// Cuts the power after each prefix of a life: every acknowledgement is the last one once.
#[test]
fn a_power_cut_after_any_acknowledgement_loses_nothing() {
    let disk = Disk::new(512);
    let mut daemon = Setup::new(BINARY).data_root(disk.path().join("data")).start();
    let mut world = World::begin(&daemon);
    // The cut ends what runs; only what needs no process is in these lives.
    world.perform(&daemon, &Op::Remove("box-0".to_owned())).unwrap();
    let life = |number: u32| {
        [
            Op::Build(number),
            Op::Create(number),
            Op::Import(number),
            Op::Tag(number),
            Op::Remove(format!("box-{number}")),
            Op::Load,
            Op::Untag(format!("imported:{number}")),
            Op::Untag("packed:1".to_owned()),
        ]
    };
    for cut in 0..life(0).len() {
        let number = 1000 + u32::try_from(cut).unwrap();
        for op in life(number).iter().take(cut + 1) {
            world.perform(&daemon, op).unwrap();
        }
        disk.cut_power();
        daemon.reboot();
        disk.power_up();
        daemon.restart();
        world.context = format!("power cut after {:?}", life(number)[cut]);
        world.check(&daemon);
    }
    world.end(&daemon);
}

#[test]
fn a_running_containers_layer_is_whole_after_a_power_cut() {
    let disk = Disk::new(256);
    let mut daemon = Setup::new(BINARY).data_root(disk.path().join("data")).start();
    daemon.import_busybox("base");
    let id = daemon.run_detached(&json!({"Image": "base", "Cmd": ["sh", "-c", "echo synced > /kept; sync; echo ready; sleep 1000"]}));
    shipway_testkit::eventually("the sync inside", 20, || (daemon.logs(&id).0 == "ready\n").then_some(()));
    disk.cut_power();
    daemon.reboot();
    disk.power_up();
    daemon.restart();
    let state = daemon.get(&format!("/containers/{id}/json"))["State"].clone();
    assert_eq!(state["Running"], false, "{state}");
    daemon.assert_sound();
    daemon.post(&format!("/containers/{id}/start"), &json!(null)).fine();
    assert_eq!(daemon.exec(&id, "cat /kept").said(), "synced\n");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_build_cut_off_by_a_power_cut_leaves_no_half_image() {
    let disk = Disk::new(256);
    let mut daemon = Setup::new(BINARY).data_root(disk.path().join("data")).start();
    daemon.import_busybox("base");
    let context = Tar::new().file("Dockerfile", "FROM base\nRUN seq 100000 > /a\nRUN seq 200000 > /b\nRUN echo stop; sleep 100\n").finish();
    std::thread::scope(|scope| {
        let daemon = &daemon;
        let client = scope.spawn(move || daemon.try_build("t=half", &context).is_err());
        // The first steps are done and perhaps published in the background.
        std::thread::sleep(std::time::Duration::from_secs(4));
        disk.cut_power();
        let pid = daemon.pid().to_string();
        assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        assert!(client.join().unwrap(), "it cannot have been acknowledged");
    });
    daemon.reboot();
    disk.power_up();
    daemon.restart();
    assert_eq!(daemon.call("GET", "/images/half/json", &json!(null)).status, 404);
    daemon.assert_sound();
    let context = Tar::new().file("Dockerfile", "FROM base\nRUN seq 100000 > /a\nRUN seq 200000 > /b\n").finish();
    daemon.build("t=half", &context).unwrap();
    assert_eq!(daemon.shell("half", "tail -n 1 /a /b | grep -v '^==' | grep .").said(), "100000\n200000\n");
    daemon.assert_nothing_left();
}
