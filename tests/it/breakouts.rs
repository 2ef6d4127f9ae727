//! The escapes of the past (security.md 4.1), tried on the whole product. Test names begin with the attack's number there.
//!
//! What must stay true: each test watches the host for the damage the attack was famous for, and shows that its own watching works.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags};
use serde_json::{Value, json};
use shipway_testkit::{Daemon, Tar, busybox_tar, eventually};

use crate::BINARY;

fn start() -> Daemon {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    daemon
}

/// Exchanges two names as fast as it can until dropped (renameat2(2), RENAME_EXCHANGE): what a container would do in a shared folder.
struct Swapper {
    stop: std::sync::Arc<AtomicBool>,
    count: std::sync::Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapper {
    fn start(one: PathBuf, other: PathBuf) -> Self {
        let (stop, count) = (std::sync::Arc::new(AtomicBool::new(false)), std::sync::Arc::new(AtomicU64::new(0)));
        let (stopping, counting) = (stop.clone(), count.clone());
        let work = move || {
            while !stopping.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                counting.fetch_add(1, Ordering::Relaxed);
                // Two processors are shared by everybody: let the victim run between the swaps.
                std::thread::yield_now();
            }
        };
        let thread = std::thread::Builder::new().name("swapper".to_owned()).spawn(work).unwrap();
        Self { stop, count, thread: Some(thread) }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn host_mounts() -> BTreeSet<String> {
    // Neighbours in other tests come and go; what is theirs has their name in it.
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn s_101_our_binary_survives_a_container_that_attacks_every_exec() {
    let daemon = start();
    let before = std::fs::read(BINARY).unwrap();
    let attack = "touch /own; chmod 755 /own
        while :; do for exe in /proc/[0-9]*/exe; do
          name=$(readlink $exe) || continue
          case $name in /bin/busybox) echo seen > /seen;; *) echo $name >> /strange;; esac
          (exec 3>>$exe) 2>/dev/null && echo $exe $name >> /written
        done; done";
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sh", "-c", attack]}));
    for _ in 0..40 {
        assert_eq!(daemon.exec(&id, "echo hello").said(), "hello\n");
    }
    assert_eq!(daemon.exec(&id, "cat /seen").said(), "seen\n", "the attack looks where it should");
    assert_eq!(daemon.exec(&id, "cat /written; true").said(), "", "nothing may be opened for writing");
    // Its own programs are what it ever sees.
    let strange = daemon.exec(&id, "sort -u /strange; true").said();
    assert_eq!(strange, "", "processes of ours were visible: {strange}");
    // The classic: the image's program is whatever starts it. That may run, sealed and as confined as any other program, or be refused.
    for _ in 0..5 {
        if let Ok(id) = daemon.try_run(&json!({"Image": "box", "Entrypoint": ["/proc/self/exe"], "Cmd": ["version"]})) {
            daemon.wait(&id);
        }
    }
    assert!(before == std::fs::read(BINARY).unwrap(), "our binary was changed");
}

#[test]
fn s_102_s_106_a_swapped_mount_target_never_leads_to_the_host() {
    let daemon = start();
    let token = format!("shipway-token-{}", daemon.name());
    let (shared, source) = (daemon.scratch().join("shared"), daemon.scratch().join("source"));
    for folder in [&shared, &source, &shared.join("target")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::os::unix::fs::symlink("/", shared.join("link")).unwrap();
    let before = host_mounts();
    let swapper = Swapper::start(shared.join("target"), shared.join("link"));
    let binds = json!([format!("{}:/shared", shared.display()), format!("{}:/shared/target/{token}/deep", source.display())]);
    let (mut started, mut rounds) = (0, 0);
    // On a busy machine a thousand swaps take longer.
    while rounds < 30 || (swapper.count() <= 1000 && rounds < 400) {
        rounds += 1;
        if let Ok(id) = daemon.try_run(&json!({"Image": "box", "Cmd": ["sleep", "1000"], "HostConfig": {"Binds": binds}})) {
            started += 1;
            daemon.delete(&format!("/containers/{id}?force=1")).fine();
        }
    }
    let swaps = swapper.count();
    drop(swapper);
    assert!(swaps > 1000, "the race was run: {swaps} swaps, {started} of {rounds} started");
    assert!(!Path::new("/").join(&token).exists(), "a folder was made on the host");
    let new: Vec<String> =
        host_mounts().difference(&before).filter(|line| line.contains(daemon.name()) || line.contains(&token)).cloned().collect();
    assert!(new.is_empty(), "mounts appeared on the host: {new:#?}");
    daemon.remove_all_containers();
    // Without the race it works, so the race is what was tested.
    let link = shared.join("target");
    if link.is_symlink() {
        std::fs::remove_file(&link).unwrap();
        std::fs::create_dir(&link).unwrap();
    }
    let quiet = daemon.run(&json!({"Image": "box", "Cmd": ["ls", format!("/shared/target/{token}")], "HostConfig": {"Binds": binds}}));
    assert_eq!(quiet.said(), "deep\n");
}

#[test]
fn s_104_nothing_takes_the_place_of_proc_or_sys() {
    let daemon = start();
    for (name, target) in [("proc", "/evil"), ("sys", "../tmp"), ("dev", "/evil"), ("proc", "/"), ("sys", "/proc")] {
        let image = busybox_tar().folder("evil", 0o755).link(name, target);
        daemon.import("evil", &image.finish());
        let refused = daemon.try_run(&json!({"Image": "evil", "Cmd": ["ls", "-l", format!("/{name}")]}));
        let answer = refused.expect_err("a symlink in the place of a system folder must be refused");
        assert!(answer.text().contains(name), "{}", answer.text());
        let step = Tar::new().file("Dockerfile", "FROM evil\nRUN ls -l /proc /sys\n").finish();
        assert!(daemon.build("t=never&nocache=1", &step).is_err(), "/{name} -> {target} was built on");
    }
    for target in ["/proc", "/proc/sys/kernel", "/proc/self", "/./proc/../proc/sysrq-trigger"] {
        let host = json!({"Binds": [format!("{}:{target}", daemon.scratch().display())]});
        assert!(daemon.try_run(&json!({"Image": "box", "Cmd": ["true"], "HostConfig": host})).is_err(), "{target} was mounted over");
    }
    assert_eq!(daemon.shell("box", "echo fine").said(), "fine\n");
    daemon.assert_sound();
}

#[test]
fn s_105_no_working_directory_leads_out() {
    let daemon = start();
    let token = "token-of-the-host-5c1d";
    std::fs::write(daemon.scratch().join("token"), token).unwrap();
    // From a folder handle of the host, enough steps up end at the host's root.
    let up = format!("../../../../../../..{}/token", daemon.scratch().display());
    let steal = format!("pwd; cat {up} 2>/dev/null; cat /proc/self/cwd/{up} 2>/dev/null; ls -id . ..; true");
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"]}));
    let mut refused = 0;
    for number in 3..40 {
        for dir in [format!("/proc/self/fd/{number}"), format!("/proc/1/fd/{number}")] {
            match daemon.try_exec(&id, json!({"Cmd": ["sh", "-c", steal], "WorkingDir": dir})) {
                Ok(outcome) => assert!(!outcome.stdout.contains(token), "exec in {dir}: {outcome:?}"),
                Err(_) => refused += 1,
            }
        }
        if number % 3 == 0 {
            let dir = format!("/proc/self/fd/{number}");
            match daemon.try_run(&json!({"Image": "box", "Cmd": ["sh", "-c", steal], "WorkingDir": dir})) {
                Ok(id) => {
                    daemon.wait(&id);
                    let said = daemon.logs(&id);
                    assert!(!said.0.contains(token), "run in {dir}: {said:?}");
                }
                Err(_) => refused += 1,
            }
        }
        if number < 12 {
            let step = Tar::new().file("Dockerfile", format!("FROM box\nWORKDIR /proc/self/fd/{number}\nRUN {steal}\n")).finish();
            if let Ok(said) = daemon.build("t=never&nocache=1", &step) {
                assert!(!said.contains(token), "{said}");
            }
        }
    }
    eprintln!("{refused} refused");
    // The watching works: with the host's root bound the same script finds the token.
    let bound = json!({"Image": "box", "Cmd": ["sh", "-c", steal], "WorkingDir": "/host", "HostConfig": {"Binds": [format!("{0}:{0}", daemon.scratch().display())]}});
    assert!(daemon.run(&bound).stdout.contains(token));
}

#[test]
fn s_107_masks_are_ours_whatever_the_image_calls_null() {
    let daemon = start();
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let ask = "stat -L -c '%F %t:%T' /proc/keys /proc/interrupts; echo evil > /proc/keys; echo evil > /proc/interrupts; cat /proc/keys | wc -c; cat /dev/null | wc -c";
    let expected = "character special file 1:3\ncharacter special file 1:3\n0\n0\n";
    let evil = [
        busybox_tar().folder("dev", 0o755).link("dev/null", "/proc/sys/kernel/core_pattern"),
        busybox_tar().folder("dev", 0o755).file("dev/null", "evil bytes"),
        busybox_tar().folder("dev", 0o755).pipe("dev/null"),
        busybox_tar().folder("dev", 0o755).folder("dev/null", 0o755),
    ];
    for image in evil {
        daemon.import("evil", &image.finish());
        assert_eq!(daemon.run(&json!({"Image": "evil", "Cmd": ["sh", "-c", ask]})).stdout, expected);
    }
    // A neighbour swaps the null of a shared /dev while containers start.
    let dev = daemon.scratch().join("dev");
    std::fs::create_dir(&dev).unwrap();
    std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", dev.join("null")).unwrap();
    std::fs::write(dev.join("other"), "").unwrap();
    let swapper = Swapper::start(dev.join("null"), dev.join("other"));
    let ask = "stat -L -c '%F %t:%T' /proc/keys /proc/interrupts; echo evil 2>&1 > /proc/keys; true";
    let (mut started, mut rounds) = (0, 0);
    // On a busy machine the neighbour needs longer for its thousand swaps.
    while rounds < 20 || (swapper.count() <= 1000 && rounds < 400) {
        rounds += 1;
        let body = json!({"Image": "box", "Cmd": ["sh", "-c", ask], "HostConfig": {"Binds": [format!("{}:/dev", dev.display())]}});
        if let Ok(id) = daemon.try_run(&body) {
            started += 1;
            daemon.wait(&id);
            assert_eq!(daemon.logs(&id).0, "character special file 1:3\ncharacter special file 1:3\n");
            daemon.delete(&format!("/containers/{id}?force=1")).fine();
        }
    }
    assert!(swapper.count() > 1000);
    eprintln!("{started} of {rounds} started with a shared /dev");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), pattern, "the host's core pattern was changed");
}

#[test]
fn s_110_s_111_links_in_an_image_are_followed_inside_it() {
    let daemon = start();
    // Not below /dev, where a container has mounts of its own.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let canary = folder.path().to_owned();
    let outside = canary.display().to_string();
    let image = busybox_tar().link("w", &format!("/../../../..{outside}"));
    daemon.import("linked", &image.finish());
    // A link to what is not there inside may be refused; followed outside it must not be.
    let dangling = daemon.try_run(&json!({"Image": "linked", "Cmd": ["touch", "made"], "WorkingDir": "/w/x"}));
    let step = Tar::new()
        .file("f", "x")
        .file("Dockerfile", "FROM linked\nWORKDIR /w/y\nRUN touch z\nCOPY f /w/copied\nADD f /w/added/\n")
        .finish();
    let built = daemon.build("t=linked2", &step);
    eprintln!("run: {}, build: {}", dangling.is_ok(), built.is_ok());
    let left: Vec<_> = std::fs::read_dir(&canary).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    // With the folder there inside, it is that one which is used.
    let step = format!("FROM linked\nRUN mkdir -p {outside}\nWORKDIR /w/y\nRUN touch z\nCOPY f /w/copied\nADD f /w/added/\n");
    daemon.build("t=linked3", &Tar::new().file("f", "x").file("Dockerfile", step).finish()).unwrap();
    assert_eq!(
        daemon.run(&json!({"Image": "linked3", "Cmd": ["sh", "-c", format!("ls {outside} {outside}/y")]})).said().replace(&outside, ""),
        ":\nadded\ncopied\ny\n\n/y:\nz\n"
    );
    assert_eq!(daemon.run(&json!({"Image": "linked3", "Cmd": ["pwd"], "WorkingDir": "/w/x"})).said().trim(), format!("{outside}/x"));
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
}

#[test]
fn s_114_cgroups_and_devices_are_out_of_reach() {
    let daemon = start();
    let script = "for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/devices/devices.allow /sys/fs/cgroup/pids.max; do
          [ -e $f ] && echo seen && echo 1 > $f; done
        mkdir /sys/fs/cgroup/escape /sys/fs/cgroup/memory/escape; mount -t cgroup -o memory x /tmp; mount -t cgroup2 x /tmp
        for n in 'sda b 8 0' 'vda b 254 0' 'loop0 b 7 0' 'mem c 1 1' 'kmsg c 1 11' 'kvm c 10 232' 'fuse c 10 229' 'tun c 10 200'; do
          mknod /tmp/$n && (exec 3<>/tmp/${n%% *}) && echo opened $n; done; echo end";
    let outcome = daemon.shell("box", script);
    assert!(outcome.stdout.contains("seen\n") && outcome.stdout.ends_with("end\n") && !outcome.stdout.contains("opened"), "{outcome:?}");
    assert!(outcome.stderr.contains("Read-only file system"), "{outcome:?}");
    assert!(outcome.stderr.matches("Operation not permitted").count() >= 8, "{outcome:?}");
    // What is allowed can be opened by the same means.
    assert_eq!(daemon.shell("box", "mknod /tmp/z c 1 5 && head -c 3 /tmp/z | wc -c").said(), "3\n");
}

#[test]
fn s_116_users_of_digits_are_numbers_and_no_number_wraps() {
    let daemon = start();
    let image = busybox_tar().file("etc/passwd", "root:x:0:0::/root:/bin/sh\n1001:x:0:0::/:/bin/sh\n0x0:x:0:0::/:/bin/sh\n");
    daemon.import("accounts", &image.finish());
    let ids = |user: &str| daemon.run(&json!({"Image": "accounts", "Cmd": ["sh", "-c", "echo $(id -u) $(id -g)"], "User": user})).said();
    assert_eq!(ids("1001"), "1001 0\n");
    assert_eq!(ids("1001:7"), "1001 7\n");
    assert_eq!(ids("0001"), "1 0\n");
    assert_eq!(ids("2147483647"), "2147483647 0\n");
    for user in ["2147483648", "4294967295", "4294967296", "18446744073709551616", "-1", "1001:4294967296", "0:-1", "1001:2147483648"] {
        let refused = daemon.try_run(&json!({"Image": "accounts", "Cmd": ["id"], "User": user}));
        assert!(refused.is_err(), "user {user} was taken");
        let step = Tar::new().file("Dockerfile", format!("FROM accounts\nUSER {user}\nRUN id\n")).finish();
        assert!(daemon.build("t=never", &step).is_err(), "USER {user} was built");
    }
}

/// Resident memory of a process in KiB.
fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn s_117_account_files_cannot_exhaust_or_hang_the_daemon() {
    let daemon = start();
    let evil = [
        "truncate -s 2G /etc/group; truncate -s 2G /etc/passwd",
        "rm /etc/passwd /etc/group; mkfifo /etc/passwd /etc/group",
        "rm /etc/passwd /etc/group; ln -s /dev/zero /etc/passwd; ln -s /dev/zero /etc/group",
        "rm /etc/passwd /etc/group; ln -s /proc/kmsg /etc/passwd; ln -s /dev/tty /etc/group",
        "rm /etc/passwd /etc/group; ln -s passwd /etc/passwd; ln -s ../../../../../../../../etc/shadow /etc/group",
        "rm /etc/passwd; mknod /etc/passwd c 1 5",
        "rm -r /etc; ln -s /proc/1/root/etc /etc",
        "dd if=/dev/zero bs=1M count=3 2>/dev/null | tr '\\0' x > /etc/passwd",
    ];
    for deed in evil {
        let script = format!("if [ -e /done ]; then echo again; else touch /done; {deed}; fi");
        let id =
            daemon.run_detached(&json!({"Image": "box", "Cmd": ["sh", "-c", script], "User": "0:0", "HostConfig": {"GroupAdd": ["3000"]}}));
        let ended = eventually(deed, 30, || {
            Some(daemon.get(&format!("/containers/{id}/json"))["State"].clone()).filter(|state| state["Running"] == false)
        });
        assert_eq!(ended["Status"], "exited", "{deed}: {ended}");
        let (before, begun) = (resident(daemon.pid()), std::time::Instant::now());
        let answer = daemon.post(&format!("/containers/{id}/start"), &Value::Null);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(3), "{deed}: {took:?}");
        let grown = resident(daemon.pid()).saturating_sub(before);
        assert!(grown < 24 << 10, "{deed}: {grown} KiB");
        if answer.is_fine() {
            daemon.wait(&id);
        }
        // A name that only such a file could know is an error, at once.
        let refused = daemon.try_exec(&id, json!({"Cmd": ["id"], "User": "nosuchuser"}));
        assert!(refused.is_err(), "{deed}");
        daemon.delete(&format!("/containers/{id}?force=1")).fine();
    }
    assert_eq!(daemon.shell("box", "id -un").said(), "root\n", "the daemon is well");
}

#[test]
fn s_118_no_socket_of_ours_is_abstract() {
    let daemon = start();
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "host"}}));
    let seen = daemon.exec(&id, "cat /proc/net/unix").said();
    assert!(seen.contains(daemon.name()), "the container sees the host's sockets, also ours with a path");
    let mut ours = vec![daemon.pid().to_string()];
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let mut waiting = vec![hierarchy.path().join(daemon.name())];
        while let Some(folder) = waiting.pop() {
            ours.extend(std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines().map(str::to_owned));
            waiting
                .extend(std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
        }
    }
    assert!(ours.len() > 2, "{ours:?}");
    let mut inodes = BTreeSet::new();
    for pid in &ours {
        for handle in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let target = std::fs::read_link(handle.path()).unwrap_or_default().display().to_string();
            inodes.extend(target.strip_prefix("socket:[").map(|rest| rest.trim_end_matches(']').to_owned()));
        }
    }
    assert!(inodes.len() > 1);
    let abstract_ones: Vec<&str> =
        seen.lines().filter(|line| line.contains(" @") && inodes.iter().any(|inode| line.contains(&format!(" {inode} ")))).collect();
    assert!(abstract_ones.is_empty(), "{abstract_ones:?}");
    // With a path, they are for root alone.
    let denied = daemon.try_exec(&id, json!({"Cmd": ["sh", "-c", format!("ls {}", daemon.exec_root().display())]})).unwrap();
    assert_ne!(denied.code, 0, "the folder is not even there");
    for path in [daemon.data_root().to_owned(), daemon.exec_root().join("containers").join(&id)] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777;
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
}

#[test]
fn a_daemon_under_attack_leaves_nothing_behind() {
    let daemon = start();
    let id = daemon.run_detached(
        &json!({"Image": "box", "Cmd": ["sh", "-c", "while :; do (sleep 100 &); sleep 0.01; done"], "HostConfig": {"PidsLimit": 100}}),
    );
    eventually("many processes", 20, || (daemon.get(&format!("/containers/{id}/top"))["Processes"].as_array()?.len() > 50).then_some(()));
    daemon.post(&format!("/containers/{id}/kill"), &Value::Null).fine();
    assert_eq!(daemon.wait(&id), 137);
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}
