//! What the box looks like from inside.

use shipway_model::{CapabilitySet, Ulimit};
use shipway_runtime::{DeviceRule, FileSource, GeneratedFile, LaunchError, Mount, Namespace, NetNs, SeccompChoice, UserIds};

use crate::fixture::Fixture;

#[tokio::test]
async fn identity_is_what_was_asked() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("id -u; id -g; id -G; pwd; echo $WORD; hostname; umask");
    spec.process.user = UserIds { uid: 1000, gid: 2000, additional: vec![3000] };
    spec.process.cwd = "/made/up".to_owned();
    spec.process.env.push("WORD=hello world".to_owned());
    spec.hostname = "box".to_owned();
    let outcome = fixture.run(spec).await;
    // S-115: the primary group is among the supplementary ones.
    assert_eq!(outcome.stdout, "1000\n2000\n2000 3000\n/made/up\nhello world\nbox\n0022\n", "{outcome:?}");
}

#[tokio::test]
async fn capabilities_are_dockers_fourteen_and_no_more() {
    let fixture = Fixture::new();
    let said = fixture.said("grep -E 'Cap|NoNew|Seccomp:' /proc/self/status").await;
    let expected = "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n\
                    CapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n";
    assert_eq!(said, expected);
    let mut spec = fixture.shell("grep -E 'CapInh|CapPrm|CapEff|CapBnd|NoNew' /proc/self/status");
    spec.process.user.uid = 1000;
    spec.process.no_new_privileges = true;
    let outcome = fixture.run(spec).await;
    let expected =
        "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\n";
    assert_eq!(outcome.stdout, expected, "{outcome:?}");
}

#[tokio::test]
async fn only_the_standard_handles_are_open() {
    let fixture = Fixture::with_pool(1);
    // 3 is the folder that ls reads; a leaked one would be there too.
    for _ in 0..2 {
        assert_eq!(fixture.said("exec ls /proc/self/fd").await, "0\n1\n2\n3\n");
    }
}

#[tokio::test]
async fn a_leaked_handle_is_no_working_directory() {
    let fixture = Fixture::new();
    for number in 3..24 {
        let mut spec = fixture.shell("pwd; ls / | head -n 40");
        spec.process.cwd = format!("/proc/self/fd/{number}");
        match fixture.runtime().launch(spec).await {
            Err(LaunchError::Cwd { .. }) => {}
            Err(other) => panic!("{other}"),
            Ok(running) => panic!("S-105: fd {number} was entered: {running:?}"),
        }
    }
}

#[tokio::test]
async fn masked_and_read_only_paths_hold() {
    let fixture = Fixture::new();
    let script =
        "stat -c '%t:%T' /proc/interrupts /proc/keys /proc/timer_list; ls -A /sys/firmware /proc/scsi 2>/dev/null | grep -v ':$' | grep . ;
                  for p in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/profiling /proc/irq/default_smp_affinity; do
                    sh -c \"echo x > $p\" 2>/dev/null && echo \"$p is writable\"; done; echo end";
    assert_eq!(fixture.said(script).await, "1:3\n1:3\n1:3\nend\n");
}

#[tokio::test]
async fn the_images_own_dev_null_is_never_the_mask() {
    // S-107: the image's /dev is hidden by ours; its null must not be used.
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.image().join("dev")).expect("mkdir");
    std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", fixture.image().join("dev/null")).expect("link");
    assert_eq!(fixture.said("stat -c '%F %t:%T' /dev/null /proc/keys").await, "character special file 1:3\ncharacter special file 1:3\n");
}

#[tokio::test]
async fn symlinked_system_folders_are_refused() {
    // S-104, S-110.
    for name in ["proc", "dev", "sys"] {
        let fixture = Fixture::new();
        std::os::unix::fs::symlink("/tmp", fixture.image().join(name)).expect("link");
        let error = fixture.refusal(fixture.shell("true")).await;
        assert!(matches!(error, LaunchError::Mount { .. }), "{name}: {error}");
    }
}

#[tokio::test]
async fn the_filter_denies_what_docker_denies() {
    let fixture = Fixture::new();
    let outcome =
        fixture.run(fixture.shell("unshare -U true; unshare -m true; mount -t tmpfs x /tmp; chroot / true && echo chroot works")).await;
    assert_eq!(outcome.stdout, "chroot works\n");
    assert_eq!(
        outcome.stderr.matches("Operation not permitted").count() + outcome.stderr.matches("permission denied").count(),
        3,
        "{outcome:?}"
    );
    let mut spec = fixture.shell("unshare -U true && echo allowed");
    spec.process.seccomp = SeccompChoice::Unconfined;
    assert_eq!(fixture.run(spec).await.stdout, "allowed\n");
    let mut spec = fixture.shell("mkdir /tmp/x; echo $?");
    let profile =
        br#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}"#;
    spec.process.seccomp = SeccompChoice::Profile(profile.as_slice().into());
    let outcome = fixture.run(spec).await;
    assert!(outcome.stderr.contains("not supported") && outcome.stdout == "1\n", "{outcome:?}");
}

#[tokio::test]
async fn devices_are_denied_unless_named() {
    let fixture = Fixture::new();
    let script = "mknod /tmp/sda b 8 0 && cat /tmp/sda; mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg; head -c 1 /dev/zero | wc -c; echo x > /dev/full; ls /dev";
    let outcome = fixture.run(fixture.shell(script)).await;
    assert_eq!(outcome.stderr.matches("Operation not permitted").count(), 2, "S-114: {outcome:?}");
    let names: Vec<&str> = outcome.stdout.split_whitespace().collect();
    assert_eq!(
        names,
        [
            "1", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom",
            "zero"
        ]
    );
    let mut spec = fixture.shell(
        "(exec 3</dev/hw/fuse) && echo read; (exec 3<>/dev/hw/fuse) 2>/dev/null || echo not written; mknod /tmp/hpet c 10 228; mknod /tmp/fuse c 10 229;
         (exec 3</tmp/fuse) && echo same; stat -c %a /dev/hw/fuse",
    );
    spec.devices = vec![shipway_runtime::Device {
        host_path: "/dev/fuse".into(),
        container_path: "/dev/hw/fuse".to_owned(),
        permissions: "rm".to_owned(),
    }];
    let outcome = fixture.run(spec).await;
    assert!(outcome.stdout.starts_with("read\nnot written\nsame\n"), "{outcome:?}");
    let mut spec = fixture.shell("mknod /tmp/fuse c 10 229; (exec 3<>/tmp/fuse) && echo by rule");
    spec.device_rules = vec![DeviceRule::character(10, Some(229))];
    let outcome = fixture.run(spec).await;
    assert_eq!(outcome.stdout, "by rule\n", "{outcome:?}");
}

#[tokio::test]
async fn mounts_are_where_and_how_they_were_asked() {
    let fixture = Fixture::new();
    let host = fixture.folder.path().join("host");
    std::fs::create_dir_all(host.join("inner")).expect("mkdir");
    std::fs::write(host.join("file"), "content\n").expect("write");
    let mut spec = fixture.shell(
        "cat /data/file; echo x > /data/new && echo wrote; echo x > /ro/new || echo refused; cat /etc/motd; echo y >> /etc/motd || echo sealed;
         cat /etc/hosts; echo more >> /etc/hosts && tail -n 1 /etc/hosts; stat -f -c %T /run/t; stat -c %a /run/t; grep -c ' /data ' /proc/self/mountinfo",
    );
    spec.mounts = vec![
        Mount::bind(&host, "/data", false),
        Mount::bind(&host, "/ro", true),
        Mount::bind(host.join("file"), "/etc/motd", true),
        Mount::Tmpfs { target: "/run/t".to_owned(), options: vec!["size=1m".to_owned(), "mode=1777".to_owned()] },
    ];
    spec.files = vec![GeneratedFile {
        target: "/etc/hosts".to_owned(),
        source: FileSource::Content(b"127.0.0.1 localhost\n".to_vec()),
        read_only: false,
    }];
    let outcome = fixture.run(spec).await;
    assert_eq!(outcome.stdout, "content\nwrote\nrefused\ncontent\nsealed\n127.0.0.1 localhost\nmore\ntmpfs\n1777\n1\n", "{outcome:?}");
    assert!(host.join("new").exists());
}

#[tokio::test]
async fn mount_targets_never_leave_the_root() {
    // S-102, S-106, S-111: a symlink in the image is walked inside it.
    let fixture = Fixture::new();
    std::os::unix::fs::symlink("/../../../../../../dev/shm", fixture.image().join("out")).expect("link");
    let name = format!("shipway-escape-{}", std::process::id());
    let host = fixture.folder.path().join("host");
    std::fs::create_dir_all(&host).expect("mkdir");
    let mut spec = fixture.shell("pwd");
    spec.mounts = vec![Mount::bind(&host, format!("/out/{name}"), false)];
    spec.process.cwd = format!("/out/{name}-cwd");
    fixture.run(spec).await;
    assert!(!std::path::Path::new("/dev/shm").join(&name).exists());
    assert!(!std::path::Path::new("/dev/shm").join(format!("{name}-cwd")).exists());
}

#[tokio::test]
async fn nothing_is_mounted_inside_proc() {
    let fixture = Fixture::new();
    for target in ["/proc/sys/kernel", "/proc"] {
        let mut spec = fixture.shell("true");
        spec.mounts = vec![Mount::bind("/tmp", target, false)];
        let error = fixture.refusal(spec).await;
        assert!(error.to_string().contains("inside /proc"), "{error}");
    }
}

#[tokio::test]
async fn a_read_only_root_cannot_be_written() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("echo x > /file || echo refused; echo x > /dev/shm/file && echo shm; echo x > /t/f && echo tmp");
    spec.read_only_root = true;
    spec.mounts = vec![Mount::Tmpfs { target: "/t".to_owned(), options: Vec::new() }];
    let outcome = fixture.run(spec).await;
    assert_eq!(outcome.stdout, "refused\nshm\ntmp\n", "{outcome:?}");
}

#[tokio::test]
async fn system_folders_come_from_below_the_image_and_are_no_change() {
    let fixture = Fixture::new();
    let spec = fixture.shell("test -e /.dockerenv && cat /etc/hostname; ls -d /proc /sys /dev");
    let upper = spec.root.upper.clone().expect("upper").0;
    let outcome = fixture.run(spec).await;
    assert_eq!(outcome.stdout, "/dev\n/proc\n/sys\n", "{outcome:?}");
    let left: Vec<_> = std::fs::read_dir(upper).expect("list").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn cgroups_are_seen_read_only_and_as_a_root() {
    let fixture = Fixture::with_pool(1);
    let script =
        "cat /proc/self/cgroup | grep -E 'memory|pids' | grep -v ':/$'; test -e /sys/fs/cgroup/memory/memory.limit_in_bytes && echo seen;
                  mkdir /sys/fs/cgroup/memory/x 2>/dev/null || echo sealed";
    for _ in 0..2 {
        let outcome = fixture.run(fixture.shell(script)).await;
        if std::path::Path::new("/sys/fs/cgroup/memory").exists() {
            assert_eq!(outcome.stdout, "seen\nsealed\n", "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn shared_namespaces_are_the_hosts() {
    let fixture = Fixture::new();
    let host = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).expect("ns").display().to_string();
    let names = ["net", "pid", "ipc", "uts", "mnt", "cgroup"];
    let script = names.map(|name| format!("readlink /proc/self/ns/{name}")).join(";");
    let own = fixture.said(&script).await;
    for (name, line) in names.iter().zip(own.lines()) {
        assert_ne!(line, host(name), "{name} is private by default");
    }
    let mut spec = fixture.shell(&script);
    spec.namespaces.net = NetNs::Host;
    spec.namespaces.pid = Namespace::Host;
    spec.namespaces.ipc = Namespace::Host;
    spec.namespaces.uts = Namespace::Host;
    let shared = fixture.run(spec).await;
    for (name, line) in ["net", "pid", "ipc", "uts"].iter().zip(shared.stdout.lines()) {
        assert_eq!(line, host(name), "{name}");
    }
}

#[tokio::test]
async fn another_containers_namespaces_can_be_joined() {
    let fixture = Fixture::new();
    let first = fixture.start(fixture.shell("sleep 100")).await;
    let mut spec = fixture.shell("readlink /proc/self/ns/net; ls -d /proc/1 && readlink /proc/1/ns/pid");
    spec.namespaces.net = NetNs::Container(first.pid);
    spec.namespaces.pid = Namespace::Container(first.pid);
    let outcome = fixture.run(spec).await;
    let theirs = |name: &str| std::fs::read_link(format!("/proc/{}/ns/{name}", first.pid)).expect("ns").display().to_string();
    assert_eq!(outcome.stdout.lines().next(), Some(theirs("net").as_str()), "{outcome:?}");
    assert_eq!(outcome.stdout.lines().last(), Some(theirs("pid").as_str()), "{outcome:?}");
    first.handle.kill_all().await;
    first.handle.gone().await;
}

#[tokio::test]
async fn a_reserved_network_is_the_one_that_is_used() {
    let fixture = Fixture::with_pool(1);
    let reserved = fixture.runtime().reserve().await.expect("reserve");
    let namespace = reserved.network_namespace().expect("namespace");
    let inode = rustix::fs::fstat(&namespace).expect("stat").st_ino;
    let mut spec = fixture.shell("readlink /proc/self/ns/net; ip link | grep -c 'lo: <LOOPBACK,UP'");
    spec.attach = Some(shipway_runtime::AttachOptions::OUTPUT);
    let mut running = fixture.runtime().launch_reserved(reserved, spec).await.expect("launch");
    let (stdout, _) = crate::fixture::drain(running.attachment.take().expect("attached")).await;
    assert_eq!(stdout, format!("net:[{inode}]\n1\n"));
    running.handle.gone().await;
}

#[tokio::test]
async fn limits_of_the_process_are_set_or_lowered() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("ulimit -c; ulimit -n");
    spec.process.rlimits =
        vec![Ulimit { name: "core".to_owned(), soft: 0, hard: 0 }, Ulimit { name: "nofile".to_owned(), soft: 100, hard: 1 << 30 }];
    let outcome = fixture.run(spec).await;
    assert_eq!(outcome.stdout, "0\n100\n", "{outcome:?}");
}

#[tokio::test]
async fn kernel_settings_are_the_containers_own() {
    let fixture = Fixture::new();
    let host = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("host");
    let mut spec = fixture.shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start");
    spec.sysctls = [("net.ipv4.ip_forward", "1"), ("kernel.msgmax", "12345")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let outcome = fixture.run(spec).await;
    assert_eq!(outcome.stdout, "1\n12345\n0\n", "{outcome:?}");
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("host"), host);
}

#[tokio::test]
async fn the_size_of_shared_memory_is_what_was_asked() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("grep ' /dev/shm ' /proc/mounts");
    spec.shm_size = 1 << 20;
    let outcome = fixture.run(spec).await;
    assert!(outcome.stdout.contains("size=1024k"), "{outcome:?}");
}

#[tokio::test]
async fn privileged_means_everything() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("mount -t tmpfs x /tmp && echo mounts; test -e /dev/kmsg && head -c 1 /dev/kmsg | wc -c; test -w /sys/kernel && echo sys; ls /sys/firmware | wc -l");
    spec.privileged = true;
    spec.masked_paths.clear();
    spec.readonly_paths.clear();
    spec.process.capabilities = CapabilitySet::from_mask(u64::MAX);
    spec.process.seccomp = SeccompChoice::Unconfined;
    let outcome = fixture.run(spec).await;
    assert!(outcome.stdout.starts_with("mounts\n1\nsys\n"), "{outcome:?}");
}

#[tokio::test]
async fn our_binary_cannot_be_reached_from_inside() {
    // S-101: process 1 is our code under --init; its file is a sealed memory file.
    let fixture = Fixture::new();
    let mut spec = fixture.shell("cat /proc/1/exe > /dev/null && echo readable; readlink /proc/1/fd/0; readlink /proc/1/exe; echo x > /proc/1/exe && echo written; echo end");
    spec.init = true;
    let outcome = fixture.run(spec).await;
    assert_eq!(outcome.stdout, "end\n", "{outcome:?}");
}
