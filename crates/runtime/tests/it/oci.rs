//! The OCI face: one bundle after another through the real command line.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::make_root;

/// A bundle and a folder for state.
struct Bench {
    folder: tempfile::TempDir,
    name: String,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").expect("tempdir");
        let name = format!("oci-it-{}", folder.path().file_name().expect("name").to_string_lossy().trim_start_matches('.'));
        std::fs::create_dir(folder.path().join("bundle")).expect("mkdir");
        make_root(&folder.path().join("bundle/rootfs"));
        let bench = Self { folder, name };
        assert_eq!(bench.oci(&["spec", "--bundle", &bench.bundle()]).status.code(), Some(0));
        bench.change(|config| config["process"]["terminal"] = false.into());
        bench
    }

    /// A bundle whose program is `sh -c script`.
    fn shell(script: &str) -> Self {
        let bench = Self::new();
        bench.change(|config| config["process"]["args"] = json!(["sh", "-c", script]));
        bench
    }

    fn bundle(&self) -> String {
        self.folder.path().join("bundle").to_string_lossy().into_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path("bundle/config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).expect("config")).expect("json");
        change(&mut config);
        std::fs::write(&path, config.to_string()).expect("write");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shipway-monitor"));
        command.arg("oci").arg("--root").arg(self.path("state")).args(words).stdin(Stdio::null());
        command
    }

    fn oci(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("oci")
    }

    /// A command that must succeed; what it says.
    fn done(&self, words: &[&str]) -> String {
        let output = self.oci(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// A command that must be refused with 1; why.
    fn refused(&self, words: &[&str]) -> String {
        let output = self.oci(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Runs the bundle to its end.
    fn run(&self) -> Output {
        self.oci(&["run", "--bundle", &self.bundle(), &self.name])
    }

    /// Creates with the given standard output; the pipe or file is the container's.
    fn create_with_output(&self, output: Stdio) {
        let mut command =
            self.command(&["create", "--bundle", &self.bundle(), "--pid-file", &self.path("pid").to_string_lossy(), &self.name]);
        let status = command.stdout(output).status().expect("create");
        assert!(status.success());
    }

    fn create(&self) {
        self.create_with_output(Stdio::null());
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.done(&["state", &self.name])).expect("json")
    }

    fn wait_for(&self, status: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.state()["status"] != status {
            assert!(Instant::now() < end, "{:?} is not {status}", self.state());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn start(&self) {
        self.done(&["start", &self.name]);
    }

    /// What is left of the container anywhere.
    fn leftovers(&self) -> Vec<PathBuf> {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten();
        let mut places: Vec<PathBuf> = hierarchies.map(|entry| entry.path().join(&self.name)).collect();
        places.push(self.path("state").join(&self.name));
        places.retain(|place| place.exists());
        places
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A failing test leaves its container; this is the broom.
        let _ = self.oci(&["delete", "--force", &self.name]);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_life_from_spec_to_delete() {
    let bench = Bench::shell("echo $0 here; exec sleep 100");
    let output = bench.path("output");
    bench.create_with_output(std::fs::File::create(&output).expect("file").into());
    let state = bench.state();
    assert_eq!(state["status"], "created");
    let keys: Vec<&str> = state.as_object().expect("object").keys().map(String::as_str).collect();
    // Those of runc 1.1, in its order.
    assert_eq!(keys, ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"]);
    assert_eq!((&state["id"], &state["bundle"]), (&json!(bench.name), &json!(bench.bundle())));
    assert_eq!(state["pid"].to_string(), std::fs::read_to_string(bench.path("pid")).expect("pid file"));
    assert_eq!(std::fs::read_to_string(&output).expect("output"), "", "nothing runs before start");
    bench.start();
    bench.wait_for("running");
    assert!(bench.refused(&["start", &bench.name]).contains("cannot start an already running container"));
    assert!(bench.refused(&["delete", &bench.name]).contains("not stopped"));
    assert!(bench.done(&["list"]).contains(" running "));
    assert_eq!(bench.done(&["list", "-q"]), format!("{}\n", bench.name));
    assert!(bench.done(&["ps", &bench.name]).contains("sleep 100"));
    bench.done(&["kill", &bench.name, "KILL"]);
    bench.wait_for("stopped");
    assert_eq!(bench.state()["pid"], 0);
    assert!(bench.refused(&["kill", &bench.name, "KILL"]).contains("container not running"));
    assert!(bench.refused(&["start", &bench.name]).contains("has stopped"));
    assert_eq!(std::fs::read_to_string(&output).expect("output"), "sh here\n");
    bench.done(&["delete", &bench.name]);
    assert!(bench.refused(&["state", &bench.name]).contains("does not exist"));
    assert_eq!(bench.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn the_process_belongs_to_the_caller() {
    // What conmon and containerd's shim do: be the subreaper and wait for the pid of the pid file.
    let bench = Bench::shell("exit 3");
    shipway_sys::process::become_subreaper().expect("subreaper");
    bench.create();
    let pid: i32 = std::fs::read_to_string(bench.path("pid")).expect("pid file").parse().expect("number");
    bench.start();
    let pid = rustix::process::Pid::from_raw(pid).expect("pid");
    let ended = shipway_sys::process::reap_blocking(pid).expect("wait4").expect("our child");
    assert_eq!(ended.code(), 3);
}

#[test]
fn run_answers_with_the_programs_code() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$; exit 1", 1), ("sh -c 'kill -TERM $$'; exit $?", 143)] {
        let bench = Bench::shell(script);
        assert_eq!(bench.run().status.code(), Some(code), "{script}");
        assert_eq!(bench.leftovers(), Vec::<PathBuf>::new());
    }
}

#[test]
fn run_passes_standard_handles_through() {
    let bench = Bench::shell("cat; echo oops >&2");
    let mut child = bench.command(&["run", "-b", &bench.bundle(), &bench.name]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run");
    child.stdin.take().expect("input").write_all(b"hello").expect("write");
    let output = child.wait_with_output().expect("end");
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("hello", "oops\n"));
}

#[test]
fn what_cannot_run_is_told_by_create_and_leaves_nothing() {
    let bench = Bench::new();
    bench.change(|config| config["process"]["args"] = json!(["nonsense"]));
    let why = bench.refused(&["create", "-b", &bench.bundle(), &bench.name]);
    assert!(why.contains("exec: \\\"nonsense\\\": executable file not found in $PATH"), "{why}");
    bench.change(|config| {
        config["process"]["args"] = json!(["true"]);
        config["process"]["cwd"] = "/etc/passwd".into();
    });
    assert!(bench.refused(&["create", "-b", &bench.bundle(), &bench.name]).contains("chdir to cwd"));
    assert_eq!(bench.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn mistakes_are_told() {
    let bench = Bench::shell("sleep 100");
    let create = |bundle: &str, id: &str| bench.refused(&["create", "--bundle", bundle, id]);
    assert!(create("/no/such", &bench.name).contains("No such file") || create("/no/such", &bench.name).contains("no such file"));
    assert!(create(&bench.bundle(), "a/b").contains("invalid container id format"));
    bench.create();
    assert!(create(&bench.bundle(), &bench.name).contains("already exists"));
    std::fs::write(bench.path("bundle/config.json"), "{").expect("write");
    assert!(create(&bench.bundle(), "other").contains("config.json"));
    assert!(bench.refused(&["state", "nobody"]).contains("does not exist"));
    assert!(bench.refused(&["delete", "nobody"]).contains("does not exist"));
    bench.done(&["delete", "--force", "nobody"]);
    assert!(bench.refused(&["start", "--nonsense", "x"]).contains("not defined"));
    assert!(bench.refused(&["nonsense"]).contains("no command"));
    // A created container can be taken away without force, as runc allows.
    bench.done(&["delete", &bench.name]);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let bench = Bench::shell("true");
    let wishes: [(&str, Value); 5] = [
        ("/linux/uidMappings", json!([{ "containerID": 0, "hostID": 1000, "size": 1 }])),
        ("/process/apparmorProfile", "x".into()),
        ("/hooks", json!({ "startContainer": [{ "path": "/bin/true" }] })),
        ("/linux/intelRdt", json!({})),
        ("/linux/resources/unified", json!({ "a": "b" })),
    ];
    for (place, wish) in wishes {
        let original = std::fs::read(bench.path("bundle/config.json")).expect("config");
        bench.change(|config| {
            let (parent, name) = place.rsplit_once('/').expect("slash");
            config.pointer_mut(parent).expect("parent")[name] = wish;
        });
        let why = bench.refused(&["create", "-b", &bench.bundle(), &bench.name]);
        assert!(why.contains("is not supported yet"), "{place}: {why}");
        std::fs::write(bench.path("bundle/config.json"), original).expect("write");
    }
    assert_eq!(bench.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn the_inside_is_as_configured() {
    let bench = Bench::shell(
        "hostname; id -u; id -g; id -G; pwd; umask; ulimit -n; echo $HELLO; cat /proc/sys/net/ipv4/ip_forward; stat -c %t:%T /dev/null; \
         readlink /dev/ptmx; cat /marked/file; touch /ro/x 2>/dev/null || echo denied; touch /x 2>/dev/null || echo read-only; \
         grep -c . /proc/1/cgroup >/dev/null; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status; ls /proc/acpi 2>/dev/null | wc -l; \
         dd if=/proc/keys bs=1 count=1 2>/dev/null | wc -c; stat -c %T -f /tmp/scratch; cat /sys/fs/cgroup/pids/pids.max",
    );
    std::fs::create_dir(bench.path("marked")).expect("mkdir");
    std::fs::write(bench.path("marked/file"), "mark\n").expect("write");
    bench.change(|config| {
        config["hostname"] = "inside".into();
        let process = &mut config["process"];
        process["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [5, 10], "umask": 0o027 });
        process["cwd"] = "/made/for/it".into();
        process["env"].as_array_mut().expect("env").push("HELLO=world".into());
        process["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 77, "hard": 99 }]);
        process["capabilities"] =
            json!({ "bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"] });
        config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
        config["linux"]["resources"]["pids"] = json!({ "limit": 33 });
        let marked = bench.path("marked");
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.push(json!({ "destination": "/marked", "type": "bind", "source": marked, "options": ["rbind"] }));
        mounts.push(json!({ "destination": "/ro", "type": "bind", "source": marked, "options": ["bind", "ro"] }));
        mounts.push(json!({ "destination": "/tmp/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"] }));
    });
    let output = bench.run();
    let wanted = "inside\n1000\n1000\n1000 5 10\n/made/for/it\n0027\n77\nworld\n1\n1:3\npts/ptmx\nmark\ndenied\nread-only\n\
                  CapEff:\t0000000000000001\nNoNewPrivs:\t1\n0\n0\ntmpfs\n33\n";
    assert_eq!(text(&output.stdout), wanted, "{}", text(&output.stderr));
}

#[test]
fn only_what_is_mounted_is_there() {
    let bench = Bench::shell("ls /proc /sys /dev/shm 2>/dev/null | wc -l; ls /dev | tr '\\n' ' '");
    bench.change(|config| {
        config["mounts"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["root"]["readonly"] = false.into();
    });
    assert_eq!(text(&bench.run().stdout), "0\nfd full null ptmx random stderr stdin stdout tty urandom zero ");
}

#[test]
fn a_filter_is_loaded() {
    let bench = Bench::shell("mkdir /tmp/a 2>&1; echo $?");
    bench.change(|config| {
        config["root"]["readonly"] = false.into();
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30 }],
        });
    });
    assert_eq!(text(&bench.run().stdout), "mkdir: can't create directory '/tmp/a': Read-only file system\n1\n");
}

#[test]
fn namespaces_are_fresh_shared_or_entered() {
    let ours = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).expect("link").display().to_string();
    let bench = Bench::shell("for n in net uts ipc pid; do readlink /proc/self/ns/$n; done; hostname");
    bench.change(|config| {
        config["linux"]["namespaces"] =
            json!([{ "type": "mount" }, { "type": "pid" }, { "type": "ipc" }, { "type": "network", "path": "/proc/self/ns/net" }]);
        config["hostname"] = "".into();
        config["mounts"].as_array_mut().expect("mounts").retain(|mount| mount["type"] != "sysfs");
    });
    let output = bench.run();
    let said = text(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines[1]), (ours("net").as_str(), ours("uts").as_str()), "{}", text(&output.stderr));
    assert!(lines[2] != ours("ipc") && lines[3] != ours("pid"));
}

#[test]
fn a_sysctl_of_the_host_is_refused() {
    let bench = Bench::shell("true");
    for key in ["kernel.panic", "vm.swappiness", "kernel.hostname"] {
        bench.change(|config| config["linux"]["sysctl"] = json!({ key: "1" }));
        assert!(bench.refused(&["create", "-b", &bench.bundle(), &bench.name]).contains("not in a separate kernel namespace"), "{key}");
    }
    bench.change(|config| {
        config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
        config["linux"]["namespaces"] = json!([{ "type": "mount" }]);
        config["hostname"] = "".into();
    });
    assert!(bench.refused(&["create", "-b", &bench.bundle(), &bench.name]).contains("not in a separate kernel namespace"));
}

#[test]
fn exec_runs_beside_the_program() {
    let bench = Bench::shell("exec sleep 100");
    bench.create();
    // Also while the first program still stands at its gate.
    assert_eq!(bench.done(&["exec", &bench.name, "echo", "early"]), "early\n");
    bench.start();
    assert_eq!(bench.oci(&["exec", &bench.name, "sh", "-c", "exit 9"]).status.code(), Some(9));
    let said = bench.done(&[
        "exec",
        "-e",
        "A=b",
        "--cwd",
        "/etc",
        "-u",
        "1000:1000",
        "-g",
        "7",
        &bench.name,
        "sh",
        "-c",
        "echo $A; pwd; id -u; id -G; cat /proc/1/comm",
    ]);
    assert_eq!(said, "b\n/etc\n1000\n1000 7\nsleep\n");
    let caps = bench.done(&["exec", &bench.name, "grep", "CapBnd", "/proc/self/status"]);
    assert_eq!(caps, bench.done(&["exec", &bench.name, "grep", "CapBnd", "/proc/1/status"]));
    let document = bench.path("process.json");
    std::fs::write(&document, json!({ "args": ["pwd"], "cwd": "/tmp", "user": {} }).to_string()).expect("write");
    assert_eq!(bench.done(&["exec", "--process", &document.to_string_lossy(), &bench.name]), "/tmp\n");
    let missing = bench.oci(&["exec", &bench.name, "nonsense"]);
    assert_eq!(missing.status.code(), Some(255));
    assert!(text(&missing.stderr).contains("executable file not found in $PATH"));
    let pid_file = bench.path("exec-pid");
    // What stays behind keeps our handles, so a pipe would be waited for.
    let mut detached = bench.command(&["exec", "--detach", "--pid-file", &pid_file.to_string_lossy(), &bench.name, "sleep", "50"]);
    assert!(detached.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("exec").success());
    let pids: Vec<i32> = serde_json::from_str(&bench.done(&["ps", "-f", "json", &bench.name])).expect("json");
    let pid: i32 = std::fs::read_to_string(&pid_file).expect("pid file").parse().expect("number");
    assert!(pids.contains(&pid) && pids.len() == 2, "{pids:?} {pid}");
    bench.done(&["delete", "-f", &bench.name]);
    assert_eq!(bench.leftovers(), Vec::<PathBuf>::new());
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists()
            || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z"))
    );
}

/// Listens for one controlling end and reads from it until the line `word` has come: a terminal hands a line and its end over one after the other.
fn terminal(listener: &UnixListener, word: &str) -> String {
    let word = format!("{word}\r\n");
    let (client, _) = listener.accept().expect("accept");
    let (name, master) = shipway_sys::socket::receive_handle(std::os::fd::AsFd::as_fd(&client)).expect("handle");
    assert_eq!(name, b"/dev/ptmx");
    let mut master = std::fs::File::from(master);
    let mut seen = Vec::new();
    let mut piece = [0; 1024];
    while !text(&seen).contains(&word) {
        let length = master.read(&mut piece).unwrap_or_else(|error| panic!("{error}: {}", text(&seen)));
        assert_ne!(length, 0, "{}", text(&seen));
        seen.extend_from_slice(&piece[..length]);
    }
    text(&seen)
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let bench = Bench::shell("tty; stty size; stat -c %F /dev/console; echo end; sleep 100");
    bench.change(|config| {
        config["process"]["terminal"] = true.into();
        config["process"]["consoleSize"] = json!({ "height": 30, "width": 90 });
    });
    assert!(bench.refused(&["create", "-b", &bench.bundle(), &bench.name]).contains("console socket"));
    let path = bench.path("console").to_string_lossy().into_owned();
    let listener = UnixListener::bind(&path).expect("listen");
    bench.done(&["create", "-b", &bench.bundle(), "--console-socket", &path, &bench.name]);
    bench.start();
    assert_eq!(terminal(&listener, "end"), "/dev/pts/0\r\n30 90\r\ncharacter special file\r\nend\r\n");
    bench.done(&["exec", "-t", "-d", "--console-socket", &path, &bench.name, "sh", "-c", "tty; echo end; sleep 5"]);
    assert_eq!(terminal(&listener, "end"), "/dev/pts/1\r\nend\r\n");
    // Without a socket but waited for, the terminal is shown on our output.
    assert_eq!(bench.done(&["exec", "-t", &bench.name, "sh", "-c", "tty >/dev/null && echo yes"]), "yes\r\n");
}

#[test]
fn pausing_shows_in_the_state() {
    let bench = Bench::shell("sleep 100");
    bench.create();
    bench.start();
    bench.done(&["pause", &bench.name]);
    assert_eq!(bench.state()["status"], "paused");
    assert!(text(&bench.oci(&["exec", &bench.name, "true"]).stderr).contains("cannot exec in a paused container"));
    bench.done(&["resume", &bench.name]);
    assert_eq!(bench.state()["status"], "running");
    bench.done(&["update", "--pids-limit", "44", "--memory", "67108864", &bench.name]);
    assert_eq!(bench.done(&["exec", &bench.name, "cat", "/sys/fs/cgroup/pids/pids.max"]), "44\n");
    bench.done(&["pause", &bench.name]);
    bench.done(&["kill", &bench.name, "KILL"]);
    bench.wait_for("stopped");
}

#[test]
fn hooks_are_called_with_the_state() {
    let bench = Bench::shell("true");
    let log = bench.path("hooks");
    let hook = |name: &str| {
        let script = format!("echo {name} $(cat | tr -d ' ' | sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/') >> {}", log.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
    };
    bench.change(|config| {
        config["hooks"] =
            json!({ "prestart": hook("prestart"), "createRuntime": hook("createRuntime"), "poststart": hook("poststart"), "poststop": hook("poststop") });
    });
    assert_eq!(bench.run().status.code(), Some(0));
    let told = std::fs::read_to_string(&log).expect("log");
    assert_eq!(told, "prestart creating\ncreateRuntime creating\npoststart running\npoststop stopped\n");
    bench.change(|config| config["hooks"]["createRuntime"] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 4"] }]));
    let why = bench.refused(&["create", "-b", &bench.bundle(), &bench.name]);
    assert!(why.contains("createRuntime hook") && why.contains("no"), "{why}");
    bench.change(|config| config["hooks"] = json!({ "prestart": [{ "path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1 }] }));
    assert!(bench.refused(&["create", "-b", &bench.bundle(), &bench.name]).contains("took longer than 1 seconds"));
    assert_eq!(bench.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn device_rules_and_nodes() {
    let bench =
        Bench::shell("stat -c '%t:%T %a %u' /dev/mine; cat /dev/null && echo null; dd if=/dev/fuse count=0 2>/dev/null || echo denied");
    bench.change(|config| {
        config["linux"]["devices"] = json!([
            { "type": "c", "path": "/dev/mine", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 12, "gid": 0 },
            { "type": "c", "path": "/dev/fuse", "major": 10, "minor": 229 },
        ]);
    });
    assert_eq!(text(&bench.run().stdout), "1:5 640 12\nnull\ndenied\n");
}

#[test]
fn errors_reach_the_log() {
    let bench = Bench::new();
    let log = bench.path("log");
    let words = ["--log", &log.to_string_lossy(), "--log-format", "json", "state", "nobody"];
    assert_eq!(bench.oci(&words).status.code(), Some(1));
    let line: Value = serde_json::from_str(&std::fs::read_to_string(&log).expect("log")).expect("json");
    assert_eq!((&line["level"], &line["msg"]), (&json!("error"), &json!("container does not exist: \"nobody\"")));
}

#[test]
fn the_cgroup_stands_where_wished() {
    let bench = Bench::shell("grep :pids: /proc/self/cgroup");
    bench.change(|config| {
        config["linux"]["cgroupsPath"] = format!("/{}/child", bench.name).into();
        config["linux"]["namespaces"].as_array_mut().expect("namespaces").retain(|wish| wish["type"] != "cgroup");
    });
    assert_eq!(text(&bench.run().stdout).rsplit(':').next(), Some(format!("/{}/child\n", bench.name).as_str()));
    // The parent was asked for by name and stays, as with runc.
    for place in bench.leftovers() {
        std::fs::remove_dir(place).expect("only the empty parent is left");
    }
}

#[test]
fn a_tmpfs_can_begin_with_what_it_covers() {
    let bench =
        Bench::shell("cat /stuff/a/file; readlink /stuff/link; stat -c '%a %u' /stuff /stuff/a; echo new > /stuff/new; cat /stuff/new");
    let stuff = bench.path("bundle/rootfs/stuff");
    std::fs::create_dir_all(stuff.join("a")).expect("mkdir");
    std::fs::write(stuff.join("a/file"), "kept\n").expect("write");
    std::os::unix::fs::symlink("/etc/passwd", stuff.join("link")).expect("link");
    std::os::unix::fs::chown(stuff.join("a"), Some(77), None).expect("chown");
    bench.change(|config| {
        let mount = json!({ "destination": "/stuff", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "tmpcopyup"] });
        config["mounts"].as_array_mut().expect("mounts").push(mount);
    });
    let output = bench.run();
    assert_eq!(text(&output.stdout), "kept\n/etc/passwd\n755 0\n755 77\nnew\n", "{}", text(&output.stderr));
    assert!(!stuff.join("new").exists());
}
