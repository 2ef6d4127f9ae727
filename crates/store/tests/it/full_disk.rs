//! A full and a read-only disk (security.md F-10, F-12): clear errors, nothing half done, removing works, and all is well when space returns.
//!
//! Runs in a child with a mount namespace of its own, on a small tmpfs.
use std::path::Path;
use std::process::Command;

use shipway_model::{Classified as _, ErrorKind};
use shipway_store::{PrepareOptions, Store};

use crate::made::{assert_sound, image, layer, open, try_image};

fn in_own_namespace(test: &str) {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("SHIPWAY_SMALL_DISK", folder.path())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("to the end"), "{said}");
}

fn mount(options: &str, place: &str) {
    assert!(Command::new("mount").args(["-t", "tmpfs", "-o", options, "small", place]).status().unwrap().success());
}

/// Writes until the disk is full to the last byte.
fn fill(place: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(place.join("filler")).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

#[test]
fn on_a_full_disk_removing_works_and_everything_else_says_so() {
    in_own_namespace("full_disk::child_on_a_full_disk");
}

#[test]
fn child_on_a_full_disk() {
    let Ok(place) = std::env::var("SHIPWAY_SMALL_DISK") else { return };
    mount("size=40m", &place);
    let place = Path::new(&place);
    let store = open(&place.join("root"));
    let base = layer(&store, &[], &[("a", &"x".repeat(2 << 20))]);
    let keep = layer(&store, &[], &[("b", "kept")]);
    let app = image(&store, &[base.id], "app");
    image(&store, &[keep.id], "kept");
    let pending = store.prepare(&[], PrepareOptions::default()).unwrap();
    std::fs::write(pending.upper.join("file"), vec![7; 1000]).unwrap();
    fill(place);

    let blob = store.blobs().put(&vec![3; 100_000]).unwrap_err();
    assert_eq!(blob.kind(), ErrorKind::Exhausted, "{blob}");
    let commit = shipway_store::CommitOptions { created: crate::made::when(1), origin: shipway_store::LayerOrigin::Built, newest: None };
    let refused = pending.commit(commit).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted, "{refused}");
    assert!(store.images().resolve("app").is_ok() && store.degraded().is_none());
    store.wait_for_trash();

    // Whatever the trash gave back is taken too: not a byte is free when the image is removed.
    fill_again(place);
    remove(&store, app);
    assert!(store.images().resolve("app").is_err());
    store.wait_for_trash();

    let after = layer(&store, &[], &[("c", &"y".repeat(100_000))]);
    image(&store, &[after.id], "after");
    assert_sound(&store);
    drop(store);
    std::fs::remove_file(place.join("filler")).unwrap();
    let store = open(&place.join("root"));
    assert_sound(&store);
    assert!(store.images().resolve("kept").is_ok() && store.images().resolve("after").is_ok() && store.images().resolve("app").is_err());
    eprintln!("to the end");
}

fn fill_again(place: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::options().append(true).open(place.join("filler")).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

fn remove(store: &Store, id: shipway_model::ImageId) {
    let worker = store.clone();
    store.publish(move |txn| worker.images().remove(txn, &id)).unwrap();
    assert_eq!(store.collect().unwrap().layers.len(), 1);
}

#[test]
fn on_a_disk_gone_read_only_reads_go_on() {
    in_own_namespace("full_disk::child_on_a_read_only_disk");
}

#[test]
fn child_on_a_read_only_disk() {
    let Ok(place) = std::env::var("SHIPWAY_SMALL_DISK") else { return };
    let (disk, mounted) = (Path::new(&place).join("disk"), Path::new(&place).join("mounted"));
    std::fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    std::fs::create_dir(&mounted).unwrap();
    crate::powercut::make_disk(&disk, &mounted);
    let store = open(&mounted.join("root"));
    let base = layer(&store, &[], &[("a", "content")]);
    let id = image(&store, &[base.id], "app");
    crate::powercut::break_down(&mounted);
    assert!(try_image(&store, &[base.id], "second").is_err());
    let put = store.blobs().put(b"bytes").and_then(|_| store.publish(|_| Ok(())));
    assert!(put.is_err());
    assert_eq!(store.images().resolve("app"), Ok(id));
    assert!(store.images().config_bytes(&id).is_ok());
    assert_eq!(store.images().list().len(), 1, "nothing half done is visible");
    drop(store);
    assert!(Command::new("umount").arg(&mounted).status().unwrap().success());
    eprintln!("to the end");
}
