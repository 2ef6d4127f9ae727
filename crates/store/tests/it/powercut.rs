//! Power cuts (security.md F-06, powercut-a): a journaled ext4 on a loop device is shut down without flushing its log, mounted again, and everything
//! acknowledged is there.
//!
//! Needs root, loop devices and mkfs.ext4. Everything happens in a child with a mount namespace of its own, so that nothing is left behind however it ends.
use std::path::Path;
use std::process::{Command, Stdio};

use crate::made::{image, layer, open};

/// `_IOR('X', 125, __u32)` and the value that throws the log away, from the kernel's `fs/ext4/ext4.h`.
const SHUTDOWN: &str = "import fcntl,os,struct,sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Unmounts as soon as the last user is gone: threads of a dropped store may close a file a moment later. Says who holds on otherwise.
fn unmount(place: &Path) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::time::Instant::now() < deadline {
        if Command::new("umount").arg(place).stderr(Stdio::null()).status().unwrap().success() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{} stays in use by {:#?}", place.display(), holders(place));
}

/// Open files below `place`, of every process that can be seen.
fn holders(place: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        for handle in std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            if std::fs::read_link(handle.path()).is_ok_and(|target| target.starts_with(place)) {
                found.push(format!("{} -> {}", handle.path().display(), std::fs::read_link(handle.path()).unwrap().display()));
            }
        }
    }
    found
}

/// What a reboot brings back: a copy of the platters. The file itself may still belong to a loop device that the kernel is about to give up.
fn platters(disk: &Path) {
    let copy = disk.with_extension("copy");
    run("cp", &["--sparse=always", disk.to_str().unwrap(), copy.to_str().unwrap()]);
    std::fs::rename(&copy, disk).unwrap();
}

fn mount(disk: &Path, place: &Path) {
    run("mount", &["-o", "loop,commit=1000,errors=remount-ro", disk.to_str().unwrap(), place.to_str().unwrap()]);
}

/// Makes a journaled disk and mounts it.
pub(crate) fn make_disk(disk: &Path, place: &Path) {
    run("mkfs.ext4", &["-q", "-F", disk.to_str().unwrap()]);
    mount(disk, place);
}

/// After this every write to the file system at `place` fails.
fn shut_down(place: &Path) {
    run("python3", &["-c", SHUTDOWN, place.to_str().unwrap()]);
}

/// Lets the file system find an error in itself, after which it is read-only under everybody's open files.
pub(crate) fn break_down(place: &Path) {
    let source = Command::new("findmnt").args(["-n", "-o", "SOURCE", place.to_str().unwrap()]).output().unwrap().stdout;
    let device = String::from_utf8(source).unwrap();
    let device = device.trim().trim_start_matches("/dev/");
    std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").unwrap();
}

/// Cuts the power of the file system at `place` and brings it back as after a reboot.
fn cut(disk: &Path, place: &Path) {
    shut_down(place);
    unmount(place);
    platters(disk);
    mount(disk, place);
}

#[test]
fn nothing_acknowledged_is_lost_in_a_power_cut() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "powercut::child_that_is_cut", "--nocapture", "--test-threads=1"])
        .env("SHIPWAY_POWERCUT", folder.path())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("six cuts survived"), "{said}");
}

#[test]
fn child_that_is_cut() {
    let Ok(folder) = std::env::var("SHIPWAY_POWERCUT") else { return };
    let (disk, place) = (Path::new(&folder).join("disk"), Path::new(&folder).join("place"));
    std::fs::File::create(&disk).unwrap().set_len(160 << 20).unwrap();
    std::fs::create_dir(&place).unwrap();
    make_disk(&disk, &place);
    let root = place.join("root");
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..6 {
        let store = open(&root);
        for tag in &acknowledged {
            store.images().resolve(tag).unwrap_or_else(|error| panic!("round {round}: {tag} was acknowledged: {error}"));
        }
        let report = store.fsck(shipway_store::FsckOptions { strict: true, repair: false }).unwrap();
        assert_eq!(report.findings, vec![], "round {round}");
        assert!(round == 0 || !place.join(format!("unsynced{}", round - 1)).exists(), "the cut must really lose what was not synced");
        // Several builds at once, so that some share a barrier.
        std::thread::scope(|scope| {
            for builder in 0..3 {
                let store = &store;
                scope.spawn(move || {
                    let content = format!("{round} {builder}").repeat(20_000);
                    let base = layer(store, &[], &[("usr/bin/tool", &content), ("etc/config", "x")]);
                    let top = layer(store, &[base.id], &[("srv/data", &content)]);
                    image(store, &[base.id, top.id], &format!("app{builder}:r{round}"));
                });
            }
        });
        acknowledged.extend((0..3).map(|builder| format!("app{builder}:r{round}")));
        // Not acknowledged to anybody: may be lost, must not disturb.
        layer(&store, &[], &[("lost", &"y".repeat(100_000))]);
        std::fs::write(place.join(format!("unsynced{round}")), "z").unwrap();
        shut_down(&place);
        // On the dead disk nothing works any more, which must be told and must not hang.
        assert!(crate::made::try_image(&store, &[], "too:late").is_err());
        drop(store);
        unmount(&place);
        platters(&disk);
        mount(&disk, &place);
    }
    let store = open(&root);
    assert_eq!(store.images().all_tags().len(), acknowledged.len());
    drop(store);
    cut(&disk, &place);
    drop(open(&root));
    unmount(&place);
    eprintln!("six cuts survived");
}
