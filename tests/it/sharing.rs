//! What a container shares with others and with the host: namespaces, kernel settings, devices.

use serde_json::{Value, json};
use shipway_testkit::{Daemon, Setup};

use crate::BINARY;

fn host(script: &str, host: Value) -> Value {
    json!({"Image": "box", "Cmd": ["sh", "-c", script], "HostConfig": host})
}

fn refused(daemon: &Daemon, wanted: Value) -> (u16, String) {
    match daemon.try_run(&host("true", wanted)) {
        Ok(id) => panic!("{id} runs"),
        Err(answer) => (answer.status, answer.json()["message"].as_str().unwrap_or_default().to_owned()),
    }
}

#[test]
fn namespaces_are_joined_shared_and_kept_apart() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let donor = daemon.run_detached(&host("echo here > /dev/shm/x; exec sleep 1000", json!({"IpcMode": "shareable"})));
    let aloof = daemon.run_detached(&host("exec sleep 1000", json!({})));
    let join = |mode: &str, id: &str| json!({mode: format!("container:{id}")});
    assert!(daemon.run(&host("ps", join("PidMode", &donor))).said().contains("sleep 1000"));
    let both = "cat /dev/shm/x; readlink /proc/self/ns/ipc; echo back > /dev/shm/y; ls -d /dev/mqueue";
    let said = daemon.run(&host(both, join("IpcMode", &donor))).said();
    let space = daemon.exec(&donor, "readlink /proc/self/ns/ipc; cat /dev/shm/y").said();
    assert_eq!(said, format!("here\n{}\n/dev/mqueue\n", space.lines().next().unwrap()));
    assert_eq!(space.lines().nth(1), Some("back"));
    let (status, words) = refused(&daemon, join("IpcMode", &aloof));
    let reason = "non-shareable IPC (hint: use IpcMode:shareable for the donor container)";
    assert_eq!((status, words), (400, format!("can't join IPC of container {aloof}: {reason}")));

    assert_eq!(daemon.run(&host("ls /dev/shm 2>/dev/null || echo none", json!({"IpcMode": "none"}))).said(), "none\n");
    let ours = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
    for (mode, value, name) in
        [("IpcMode", "host", "ipc"), ("PidMode", "host", "pid"), ("UTSMode", "host", "uts"), ("CgroupnsMode", "host", "cgroup")]
    {
        let script = format!("readlink /proc/self/ns/{name}");
        assert_eq!(daemon.run(&host(&script, json!({mode: value}))).said().trim(), ours(name), "{mode}={value}");
        assert_ne!(daemon.run(&host(&script, json!({}))).said().trim(), ours(name), "{mode} private");
    }
    daemon.post(&format!("/containers/{donor}/kill"), &Value::Null).fine();
    let (status, words) = refused(&daemon, join("PidMode", &donor));
    assert_eq!((status, words), (409, format!("container {donor} is not running")));
    for (wanted, status, words) in [
        (json!({"PidMode": "odd"}), 400, "invalid PID mode: odd"),
        (json!({"IpcMode": "odd"}), 400, "Invalid IPC mode: odd"),
        (json!({"UTSMode": "odd"}), 400, "invalid UTS mode: odd"),
        (json!({"CgroupnsMode": "odd"}), 400, "invalid cgroup namespace mode: odd"),
        (json!({"UsernsMode": "keep-id"}), 400, "invalid user namespace mode: keep-id"),
        (json!({"PidMode": "container:nosuch"}), 404, "No such container: nosuch"),
        (json!({"Isolation": "hyperv"}), 400, "Invalid isolation: \"hyperv\" - linux only supports 'default'"),
    ] {
        assert_eq!(refused(&daemon, wanted), (status, words.to_owned()));
    }
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn kernel_settings_reach_the_containers_own_namespaces_and_no_others() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let read = |path: &str| std::fs::read_to_string(format!("/proc/sys/{path}")).unwrap();
    let before = ["net/ipv4/ip_forward", "kernel/msgmax", "vm/swappiness"].map(read);
    let settings = json!({"Sysctls": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "9001", "fs.mqueue.msg_max": "11"}});
    let script = "cd /proc/sys; cat net/ipv4/ip_forward kernel/msgmax fs/mqueue/msg_max";
    assert_eq!(daemon.run(&host(script, settings)).said(), "1\n9001\n11\n");
    for (key, mode) in [
        ("vm.swappiness", json!({})),
        ("kernel.core_pattern", json!({})),
        ("net.ipv4/../../kernel/core_pattern", json!({})),
        ("net.ipv4.ip_forward", json!({"NetworkMode": "host"})),
        ("kernel.msgmax", json!({"IpcMode": "host"})),
    ] {
        let mut wanted = mode;
        wanted["Sysctls"] = json!({key: "1"});
        assert_eq!(refused(&daemon, wanted).0, 400, "{key}");
    }
    assert_eq!(["net/ipv4/ip_forward", "kernel/msgmax", "vm/swappiness"].map(read), before, "the host is as it was");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn devices_come_with_the_rights_that_were_asked_for() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let device =
        |rights: &str| json!({"Devices": [{"PathOnHost": "/dev/zero", "PathInContainer": "/dev/mine", "CgroupPermissions": rights}]});
    let script = "head -c1 /dev/mine | wc -c; mknod /k c 1 11 && cat /k >/dev/null; echo $?";
    assert_eq!(daemon.run(&host(script, device("rwm"))).stdout, "1\n1\n", "a device of the default list, and one that is not");
    // No driver has this number: whoever may open it is told that, everybody else that he may not.
    let open = "mknod /k c 240 7; : < /k";
    let mut more = device("r");
    more["DeviceCgroupRules"] = json!(["c 240:* rwm"]);
    assert!(daemon.run(&host(open, more)).stderr.contains("No such device"));
    assert!(daemon.run(&host(open, device("r"))).stderr.contains("Operation not permitted"));
    for (wanted, words) in [
        (json!({"Devices": [{"PathOnHost": "/etc/passwd"}]}), "not a device node"),
        (json!({"Devices": [{"PathOnHost": "/dev/nosuch"}]}), "no such file or directory"),
        (json!({"DeviceCgroupRules": ["c 1:q r"]}), "invalid device cgroup rule format: 'c 1:q r'"),
        (
            json!({"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}),
            "could not select device driver \"\" with capabilities: [[gpu]]",
        ),
    ] {
        let (status, said) = refused(&daemon, wanted);
        assert!((400..=501).contains(&status) && said.contains(words), "{said}");
    }
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn described_devices_bring_their_variables_mounts_and_nodes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shared.txt"), "from the vendor\n").unwrap();
    let description = json!({
        "cdiVersion": "0.6.0",
        "kind": "nvidia.com/gpu",
        "containerEdits": {"env": ["VENDOR=1"], "mounts": [{"hostPath": folder.path().join("shared.txt"), "containerPath": "/opt/shared.txt", "options": ["ro", "bind"]}]},
        "devices": [
            {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/zero"}], "env": ["GPU=0"]}},
            {"name": "1", "containerEdits": {"deviceNodes": [{"path": "/dev/gpu1", "hostPath": "/dev/zero"}], "env": ["GPU=1"]}},
            {"name": "hooked", "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/bin/true"}]}}
        ]
    });
    std::fs::write(folder.path().join("gpu.json"), description.to_string()).unwrap();
    std::fs::write(folder.path().join("broken.json"), "{").unwrap();
    let yaml = "---\ncdiVersion: 0.5.0\nkind: example.com/board\ndevices:\n- name: all\n  containerEdits:\n    deviceNodes:\n    \
                - path: /dev/board\n      hostPath: /dev/zero\ncontainerEdits:\n  env: [BOARD=yes]\n  hooks: ~\n";
    std::fs::write(folder.path().join("board.yaml"), yaml).unwrap();
    std::fs::write(folder.path().join("broken.yaml"), "a: [").unwrap();
    let daemon = Setup::new(BINARY).argument("--cdi-spec-dir").argument(&folder.path().display().to_string()).start();
    daemon.import_busybox("box");
    let request = |ids: &[&str]| json!({"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ids}]});
    let script =
        "echo $VENDOR $GPU; cat /opt/shared.txt; ls /dev/gpu*; head -c1 /dev/gpu1 | wc -c; touch /opt/shared.txt 2>/dev/null || echo ro";
    let said = daemon.run(&host(script, request(&["nvidia.com/gpu=0", "nvidia.com/gpu=1"]))).said();
    assert_eq!(said, "1 1\nfrom the vendor\n/dev/gpu0\n/dev/gpu1\n1\nro\n");
    let two = json!({"DeviceRequests": [{"Count": 2, "Capabilities": [["gpu"]]}]});
    assert_eq!(daemon.run(&host("ls /dev/gpu*", two)).said(), "/dev/gpu0\n/dev/gpu1\n");
    assert_eq!(refused(&daemon, request(&["nvidia.com/gpu=hooked"])), (501, "a CDI device with hooks is not supported yet".to_owned()));
    let board = daemon.run(&host("echo $BOARD; head -c1 /dev/board | wc -c", request(&["example.com/board=all"])));
    assert_eq!(board.said(), "yes\n1\n");
    let (_, words) = refused(&daemon, request(&["other.com/x=1"]));
    assert_eq!(words, "CDI device injection failed: unresolvable CDI devices other.com/x=1");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

/// S-101: what leads to our own binary from inside is no program.
#[test]
fn the_engines_own_binary_does_not_run_inside() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    for program in ["/proc/self/exe", "/proc/1/exe", "/proc/thread-self/exe"] {
        let answer = daemon.try_run(&json!({"Image": "box", "Cmd": [program, "version"]})).unwrap_err();
        let words = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(words.contains("the engine's own binary"), "{program}: {words}");
    }
    let id = daemon.run_detached(&host(
        "printf '#!/proc/self/exe\\n' > /bin/trick; chmod +x /bin/trick; ln -s /proc/self/exe /bin/sneaky; exec sleep 1000",
        json!({}),
    ));
    shipway_testkit::eventually("the script", 5, || (daemon.exec(&id, "test -L /bin/sneaky").code == 0).then_some(()));
    for program in ["/bin/trick", "/bin/sneaky", "/proc/self/exe"] {
        match daemon.try_exec(&id, json!({"Cmd": [program]})) {
            Err(answer) => assert!(answer.text().contains("the engine's own binary"), "{program}: {}", answer.text()),
            Ok(outcome) => assert!(outcome.code == 126 || outcome.stderr.contains("own binary"), "{program}: {outcome:?}"),
        }
    }
    assert_eq!(daemon.exec(&id, "echo fine").stdout, "fine\n");
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}

#[test]
fn a_cgroup_parent_is_the_hosts_and_survives_the_daemon() {
    let mut daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let parent = format!("{}-parent/inner", daemon.name());
    let id =
        daemon.run_detached(&host("exec sleep 1000", json!({"CgroupParent": format!("/{parent}"), "PidsLimit": 77, "IpcMode": "host"})));
    let pid = daemon.get(&format!("/containers/{id}/json"))["State"]["Pid"].as_i64().unwrap();
    let stands = |pid: i64| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(stands(pid).lines().any(|line| line.ends_with(&format!("/{parent}/{id}"))), "{}", stands(pid));
    daemon.kill_9();
    daemon.restart();
    assert_eq!(daemon.exec(&id, "echo inside").said(), "inside\n");
    let top = daemon.get(&format!("/containers/{id}/top"));
    assert_eq!(top["Processes"].as_array().unwrap().len(), 1, "{top}");
    daemon.post(&format!("/containers/{id}/stop?t=0"), &Value::Null).fine();
    daemon.post(&format!("/containers/{id}/start"), &Value::Null).fine();
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
    // The parent is whoever's named it; nothing of ours is in it any more.
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        for folder in [hierarchy.path().join(&parent), hierarchy.path().join(format!("{}-parent", daemon.name()))] {
            let left: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()).collect();
            assert!(left.is_empty(), "{left:?}");
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// What is wired before the first process stands must also reach a process that stands elsewhere.
#[test]
fn a_cgroup_parent_and_a_network_go_together_and_a_stack_is_shared() {
    let mut daemon = Setup::new(BINARY).with_networks().start();
    daemon.import_busybox("box");
    daemon.post("/networks/create", &json!({"Name": "own"})).fine();
    let parent = format!("{}-parent", daemon.name());
    let serve = "echo here > /tmp/x; exec httpd -f -p 80 -h /tmp";
    let bodies = [json!({}), json!({"PidMode": "host"})].map(|mut wanted| {
        wanted["CgroupParent"] = json!(format!("/{parent}"));
        wanted["NetworkMode"] = json!("own");
        host(serve, wanted)
    });
    let servers: Vec<String> = bodies.iter().map(|body| daemon.run_detached(body)).collect();
    daemon.kill_9();
    daemon.restart();
    for server in &servers {
        let short = &server[..12];
        let ask = format!("for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - http://{short}/x && break; sleep 0.2; done");
        assert_eq!(daemon.run(&host(&ask, json!({"NetworkMode": "own"}))).said(), "here\n");
        // The same stack: its ports by the loopback address, its name and its addresses.
        let shared = json!({"NetworkMode": format!("container:{short}")});
        let both = "wget -q -O - http://127.0.0.1/x; hostname; ip -o -4 addr show eth0 | wc -l; cat /etc/hosts | tail -1 | cut -f2";
        let name = daemon.exec(server, "hostname").said();
        assert_eq!(daemon.run(&host(both, shared)).said(), format!("here\n{name}1\n{short}\n"));
    }
    let listed = |filter: &str, value: &str| {
        let filters = shipway_testkit::escape(&json!({filter: [value]}).to_string());
        daemon.get(&format!("/containers/json?filters={filters}")).as_array().unwrap().len()
    };
    let id = daemon.get("/networks/own")["Id"].as_str().unwrap().to_owned();
    assert_eq!(
        (listed("network", "own"), listed("network", &id[..9]), listed("network", "bridge"), listed("network", "host")),
        (2, 2, 0, 0)
    );
    let mut published = host("exec sleep 1000", json!({"PortBindings": {"80/udp": [{"HostPort": "7080"}]}}));
    published["ExposedPorts"] = json!({"90/tcp": {}});
    daemon.run_detached(&published);
    let found = ["7080/udp", "7000-8000/udp", "7080", "80/udp"].map(|value| listed("publish", value));
    assert_eq!((found, listed("expose", "80/udp"), listed("expose", "90")), ([1, 1, 0, 0], 1, 1));
    let (status, words) = refused(&daemon, json!({"NetworkMode": "container:nosuch"}));
    assert_eq!((status, words.as_str()), (404, "No such container: nosuch"));
    daemon.delete(&format!("/containers/{}?force=1", servers[0])).fine();
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let _ = std::fs::remove_dir(hierarchy.path().join(&parent));
    }
}

/// People and scripts look for Docker's name.
#[test]
fn the_process_before_the_program_looks_like_dockers() {
    let daemon = Daemon::start(BINARY);
    daemon.import_busybox("box");
    let wanted = json!({"Image": "box", "Cmd": ["sh", "-c", "cat /proc/1/comm; tr '\\0' '|' < /proc/1/cmdline; echo; echo $$; exit 3"], "HostConfig": {"Init": true}});
    let outcome = daemon.run(&wanted);
    let line = "/sbin/docker-init|--|sh|-c|cat /proc/1/comm; tr '\\0' '|' < /proc/1/cmdline; echo; echo $$; exit 3|";
    assert_eq!((outcome.stdout.as_str(), outcome.code), (format!("docker-init\n{line}\n2\n").as_str(), 3));
    daemon.remove_all_containers();
    daemon.assert_nothing_left();
}
