//! What a container can see and do by default (contract C9, security.md section 6): Docker's isolation or stricter.
//!
//! One script of busybox says everything it finds, line by line; `GOLDEN` is what it must say. Where dockerd is installed the same script runs there, and
//! every line that differs must be one of `STRICTER`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use shipway_testkit::{CANARY, Daemon, Setup, Tar};

use crate::BINARY;

/// `KEY<tab>VALUE` lines. Each value has no blanks at its ends.
const PROBE: &str = r#"
say() { printf '%s\t' "$1"; shift; echo $*; }
exec 2>/dev/null
while read -r key value; do
  case $key in Cap*|NoNewPrivs:|Seccomp:|Seccomp_filters:|Uid:|Gid:|Groups:) say "status $key" $value;; esac
done < /proc/self/status
say fds $(exec ls /proc/self/fd)
for path in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi /proc/timer_list \
    /proc/timer_stats /sys/firmware /sys/devices/virtual/powercap; do
  if [ -d $path ]; then say "mask $path" folder of $(ls -A $path | wc -l), $(mkdir $path/x && echo writable || echo sealed)
  elif [ -e $path ]; then say "mask $path" $(stat -c '%F %t:%T' $path), $(head -c 9 $path | wc -c) bytes
  else say "mask $path" absent; fi
done
for path in /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger /sys /sys/fs/cgroup /sys/kernel /proc/sys/kernel/core_pattern; do
  if [ -d $path ]; then say "write $path" $(touch $path/shipway-probe && echo yes || echo no)
  else say "write $path" $(sh -c "echo > $path" && echo yes || echo no); fi
done
while read -r id parent device root place options rest; do
  case $place in
    /|/sys/fs/cgroup/?*) ;;
    /etc/*) say "mount $place" $options;;
    /proc*|/sys*|/dev*) say "mount $place" $options ${rest#*- };;
    *) say "mount $place" $options unexpected;;
  esac
done < /proc/self/mountinfo
grep ' /sys/fs/cgroup/' /proc/self/mountinfo | while read -r id parent device root place options rest; do
  case $options in ro,*) ;; *) say "writable cgroup $place" $options;; esac
done
say dev $(ls /dev)
for node in null zero full random urandom tty ptmx; do say "device $node" $(stat -L -c '%F %t:%T %a %u:%g' /dev/$node); done
for link in core fd stdin stdout stderr ptmx; do say "link $link" $(readlink /dev/$link); done
mknod /tmp/sda b 8 0 && say mknod allowed || say mknod refused
(exec 3</tmp/sda) && say "open disk" yes || say "open disk" no
mknod /tmp/kmsg c 1 11; (exec 3</tmp/kmsg) && say "open kmsg" yes || say "open kmsg" no
mknod /tmp/fuse c 10 229; (exec 3</tmp/fuse) && say "open fuse" yes || say "open fuse" no
mknod /tmp/kvm c 10 232; (exec 3</tmp/kvm) && say "open kvm" yes || say "open kvm" no
say "shm" $(df -k /dev/shm | tail -n 1 | awk '{print $2}') KiB
say "pids limit" $(cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max)
say "mount call" $(mount -t tmpfs x /mnt-probe && echo yes || echo no)
say "new user namespace" $(unshare -U true && echo yes || echo no)
say "new mount namespace" $(unshare -m true && echo yes || echo no)
say "kernel log" $(dmesg | head -n 1 | wc -l)
say interfaces $(ls /sys/class/net)
say env $(env | sed 's/=.*//' | sort)
say path $PATH
say home $HOME
say cwd $(pwd)
say umask $(umask)
say "hostname length" $(hostname | wc -c)
say "hostname variable" $([ "$HOSTNAME" = "$(hostname)" ] && echo same)
say "core limit" $(ulimit -c)
say "oom score" $(cat /proc/self/oom_score_adj)
say "sysctl ping" $(cat /proc/sys/net/ipv4/ping_group_range)
say "sysctl ports" $(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
say "process 1" $(tr '\0' ' ' < /proc/1/cmdline | head -c 5)
say "root is" $(stat -c '%a %u:%g' /)
say "dockerenv" $(ls /.dockerenv)
"#;

/// What the script says in a default container, beside what depends on the kernel's configuration (see `check_masks`).
const GOLDEN: &str = "
core limit	0
cwd	/
dev	core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero
device full	character special file 1:7 666 0:0
device null	character special file 1:3 666 0:0
device ptmx	character special file 5:2 666 0:0
device random	character special file 1:8 666 0:0
device tty	character special file 5:0 666 0:0
device urandom	character special file 1:9 666 0:0
device zero	character special file 1:5 666 0:0
dockerenv	/.dockerenv
env	HOME HOSTNAME PATH PWD SHLVL
fds	0 1 2 3
home	/root
hostname length	13
hostname variable	same
interfaces	lo
kernel log	0
link core	/proc/kcore
link fd	/proc/self/fd
link ptmx	pts/ptmx
link stderr	/proc/self/fd/2
link stdin	/proc/self/fd/0
link stdout	/proc/self/fd/1
mknod	allowed
mount /dev	rw,nosuid,relatime tmpfs tmpfs rw,size=65536k,mode=755
mount /dev/mqueue	rw,nosuid,nodev,noexec,relatime mqueue mqueue rw
mount /dev/pts	rw,nosuid,noexec,relatime devpts devpts rw,gid=5,mode=620,ptmxmode=666
mount /dev/shm	rw,nosuid,nodev,noexec,relatime tmpfs shm rw,size=65536k
mount /etc/hostname	rw,relatime
mount /etc/hosts	rw,relatime
mount /etc/resolv.conf	rw,relatime
mount /proc	rw,nosuid,nodev,noexec,relatime proc proc rw
mount call	no
new mount namespace	no
new user namespace	no
oom score	0
open disk	no
open fuse	no
open kmsg	no
open kvm	no
path	/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
process 1	sh -c
root is	755 0:0
shm	65536 KiB
status CapAmb:	0000000000000000
status CapBnd:	00000000a80425fb
status CapEff:	00000000a80425fb
status CapInh:	0000000000000000
status CapPrm:	00000000a80425fb
status Gid:	0 0 0 0
status Groups:	0
status NoNewPrivs:	0
status Seccomp:	2
status Seccomp_filters:	1
status Uid:	0 0 0 0
sysctl ping	0 2147483647
sysctl ports	0
umask	0022
write /proc/bus	no
write /proc/fs	no
write /proc/irq	no
write /proc/sys	no
write /proc/sys/kernel/core_pattern	no
write /proc/sysrq-trigger	no
write /sys	no
write /sys/fs/cgroup	no
write /sys/kernel	no
";

/// Lines that may differ from dockerd's (20.10 to 28), with what we say. Everything here is stricter than Docker or a name of the same thing.
const STRICTER: &[(&str, &str)] = &[
    // Docker 20.10 makes this link only when /proc/kcore exists; 28 always.
    ("dev", "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"),
    ("link core", "/proc/kcore"),
    // Masked since Docker 27.
    ("mask /proc/interrupts", "character special file 1:3, 0 bytes"),
    ("pids limit", "4097"),
    ("write /sys/fs/cgroup", "no"),
];

type Facts = BTreeMap<String, String>;

fn facts(text: &str) -> Facts {
    text.lines().filter_map(|line| line.split_once('\t')).map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

/// Runs the script in a container with these settings beside.
fn probe(daemon: &Daemon, mut body: Value) -> Facts {
    body["Image"] = json!("box");
    body["Cmd"] = json!(["sh", "-c", PROBE]);
    facts(&daemon.run(&body).stdout)
}

fn start() -> Daemon {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    daemon
}

/// Compares with the golden lines, `changed` taking the place of some of them ("" for a line that must be absent).
#[track_caller]
fn check(found: &Facts, changed: &[(&str, &str)]) {
    let mut expected = facts(GOLDEN);
    for (key, value) in changed {
        expected.insert((*key).to_owned(), (*value).to_owned());
    }
    let mut wrong = Vec::new();
    for (key, value) in &expected {
        let said = found.get(key).map_or("", String::as_str);
        if said != value {
            wrong.push(format!("{key}: {said:?} instead of {value:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Each masked path that this kernel has is our null device or an empty folder that cannot be written; every read-only mount is read-only.
#[track_caller]
fn check_masks(found: &Facts) {
    let mut seen = 0;
    for (key, value) in found {
        if key.starts_with("mask ") {
            seen += 1;
            assert!(["absent", "folder of 0, sealed", "character special file 1:3, 0 bytes"].contains(&value.as_str()), "{key}: {value}");
        }
        assert!(!key.starts_with("writable cgroup") && !value.ends_with("unexpected"), "{key}: {value}");
        if ["mount /sys", "mount /sys/fs/cgroup", "mount /proc/sys", "mount /proc/bus", "mount /proc/fs", "mount /proc/irq"]
            .contains(&key.as_str())
        {
            assert!(value.starts_with("ro,nosuid,nodev,noexec"), "{key}: {value}");
        }
    }
    assert_eq!(seen, 12, "the script asks for all of them");
    assert!(found.values().filter(|value| value.contains("1:3, 0 bytes")).count() >= 2, "at least keys and interrupts exist everywhere");
}

#[test]
fn a_default_container_is_as_documented() {
    let daemon = start();
    let found = probe(&daemon, json!({}));
    check(&found, &[]);
    check_masks(&found);
    // 4096 for the program, one for the process that holds its namespaces.
    assert_eq!(found["pids limit"], "4097");
}

#[test]
fn an_exec_sees_what_the_first_process_sees() {
    let daemon = start();
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"]}));
    let outcome = daemon.try_exec(&id, json!({"Cmd": ["sh", "-c", PROBE]})).unwrap();
    let found = facts(&outcome.stdout);
    check(&found, &[("process 1", "sleep")]);
    check_masks(&found);
    let user = daemon.try_exec(&id, json!({"Cmd": ["sh", "-c", "grep Cap /proc/self/status; id -u"], "User": "1000"})).unwrap().said();
    let none = "0000000000000000";
    assert_eq!(
        user,
        format!("CapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapBnd:\t00000000a80425fb\nCapAmb:\t{none}\n1000\n"),
        "S-112"
    );
}

#[test]
fn a_build_step_is_no_less_confined_than_a_container() {
    let daemon = start();
    let context =
        Tar::new().program("probe", PROBE).file("Dockerfile", "FROM box\nCOPY probe /probe\nRUN sh /probe > /facts; true\n").finish();
    daemon.build("t=probed", &context).unwrap();
    let found = facts(&daemon.run(&json!({"Image": "probed", "Cmd": ["cat", "/facts"]})).stdout);
    let names = found["env"].clone();
    assert!(names.split(' ').all(|name| ["HOME", "HOSTNAME", "PATH", "PWD", "SHLVL"].contains(&name)), "{names}");
    let process = found["process 1"].clone();
    let mut changed = vec![("dockerenv", ""), ("env", names.as_str()), ("process 1", process.as_str())];
    changed.extend(["hostname length", "hostname variable"].map(|key| (key, found[key].as_str())));
    // The generated files of a step are memory of its own, tighter than a container's.
    changed.extend([
        ("mount /etc/hostname", ""),
        ("mount /etc/hosts", "rw,nosuid,nodev,relatime"),
        ("mount /etc/resolv.conf", "rw,nosuid,nodev,relatime"),
    ]);
    check(&found, &changed);
    check_masks(&found);
}

#[test]
fn what_differs_from_dockerd_is_stricter() {
    // Without dockerd there is nothing to compare; the golden lines are tested above all the same.
    let Some(setup) = Setup::dockerd() else { return };
    let docker = setup.start();
    docker.import_busybox("box");
    let daemon = start();
    let (ours, theirs) =
        (probe(&daemon, json!({"HostConfig": {"NetworkMode": "none"}})), probe(&docker, json!({"HostConfig": {"NetworkMode": "none"}})));
    assert!(theirs.len() > 60, "{theirs:?}");
    let mut unexplained = Vec::new();
    for key in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let (our, their) = (ours.get(key).map_or("", String::as_str), theirs.get(key).map_or("", String::as_str));
        let explained = STRICTER.iter().any(|(known, value)| known == key && *value == our);
        // The times and sizes of mounts are compared with golden lines; that they are read-only where Docker's are is what matters here.
        let same_mount = key.starts_with("mount /") && (their.is_empty() || our.starts_with("ro,") || !their.starts_with("ro,"));
        if our != their {
            eprintln!("{key}: {our:?}, dockerd: {their:?}");
            if !explained && !same_mount {
                unexplained.push(key);
            }
        }
    }
    assert!(unexplained.is_empty(), "{unexplained:?}");
}

#[test]
fn the_daemons_environment_stays_outside() {
    let daemon = start();
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"]}));
    let inside = daemon.exec(&id, "cat /proc/*/environ | tr '\\0' '\\n'; env").said();
    assert!(inside.contains("PATH=") && !inside.contains(CANARY), "{inside}");
    let context = Tar::new().file("Dockerfile", "FROM box\nRUN cat /proc/*/environ > /all; env >> /all\n").finish();
    daemon.build("t=environment", &context).unwrap();
    assert!(!daemon.run(&json!({"Image": "environment", "Cmd": ["cat", "/all"]})).stdout.contains(CANARY));
    assert!(!daemon.call("GET", &format!("/containers/{id}/json"), &Value::Null).text().contains(CANARY));
    // The canary can be found at all.
    let own = std::fs::read(format!("/proc/{}/environ", daemon.pid())).unwrap();
    assert!(String::from_utf8_lossy(&own).contains(CANARY));
}

#[test]
fn every_namespace_is_private() {
    let daemon = start();
    let id = daemon.run_detached(&json!({"Image": "box", "Cmd": ["sleep", "1000"]}));
    let pid = daemon.get(&format!("/containers/{id}/json"))["State"]["Pid"].as_i64().unwrap();
    for name in ["mnt", "net", "uts", "pid", "ipc", "cgroup"] {
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_ne!(namespace(&pid.to_string()), namespace("self"), "{name}");
    }
}

#[test]
fn options_change_what_they_say_and_nothing_else() {
    let daemon = start();
    let none = "0000000000000000";
    let no_caps = [("status CapPrm:", none), ("status CapEff:", none)];

    let dropped = probe(&daemon, json!({"HostConfig": {"CapDrop": ["ALL"]}}));
    check(&dropped, &[no_caps.as_slice(), &[("status CapBnd:", none), ("mknod", "refused")]].concat());

    let added = probe(&daemon, json!({"HostConfig": {"CapDrop": ["ALL"], "CapAdd": ["NET_ADMIN"]}}));
    let one = "0000000000001000";
    check(&added, &[("status CapBnd:", one), ("status CapPrm:", one), ("status CapEff:", one), ("mknod", "refused")]);

    let sealed = probe(&daemon, json!({"HostConfig": {"SecurityOpt": ["no-new-privileges"]}}));
    check(&sealed, &[("status NoNewPrivs:", "1")]);

    // S-115 and S-103: the primary group is among the others; nothing is inherited.
    let user = probe(&daemon, json!({"User": "1000:2000", "HostConfig": {"GroupAdd": ["3000"], "CapAdd": ["NET_ADMIN"]}}));
    let bound = "00000000a80435fb";
    let ids = [
        ("status Uid:", "1000 1000 1000 1000"),
        ("status Gid:", "2000 2000 2000 2000"),
        ("status Groups:", "2000 3000"),
        ("home", "/home/user"),
    ];
    check(&user, &[no_caps.as_slice(), &ids, &[("status CapBnd:", bound), ("mknod", "refused")]].concat());

    let read_only = json!({"Image": "box", "Cmd": ["sh", "-c", "touch /x || echo refused; touch /dev/shm/x && echo shm; touch /etc/hosts 2>&1"], "HostConfig": {"ReadonlyRootfs": true}});
    let outcome = daemon.run(&read_only);
    assert_eq!(outcome.stdout, "refused\nshm\n", "{outcome:?}");

    let limited = probe(&daemon, json!({"Hostname": "box", "HostConfig": {"PidsLimit": 20, "ShmSize": 1 << 20}}));
    assert_eq!((limited["shm"].as_str(), limited["pids limit"].as_str(), limited["hostname length"].as_str()), ("1024 KiB", "21", "4"));
}

#[test]
fn privileged_gives_everything_and_says_so() {
    let daemon = start();
    let all = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = all.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap().to_owned();
    let found = probe(&daemon, json!({"HostConfig": {"Privileged": true}}));
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(found[&format!("status {set}")], bounding, "{set}");
    }
    assert_eq!((found["status CapInh:"].as_str(), found["status CapAmb:"].as_str()), ("0000000000000000", "0000000000000000"), "S-103");
    assert_eq!(
        (found["status Seccomp:"].as_str(), found["open kmsg"].as_str(), found["new mount namespace"].as_str()),
        ("0", "yes", "yes")
    );
    assert!(!found["mask /proc/keys"].contains("1:3"), "{}", found["mask /proc/keys"]);
    assert_eq!(found["fds"], "0 1 2 3", "not even here");
}
