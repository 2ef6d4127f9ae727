//! A daemon of one's own: started, killed, restarted, and cleaned up after.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::Netns;

/// A word in the daemon's environment that must never be seen inside a container.
pub const CANARY: &str = "canary-4f1c9a72e0";
/// How long a daemon may take to answer its first request.
const READY: Duration = Duration::from_secs(20);
/// How long it may take to leave when asked.
const LEAVING: Duration = Duration::from_secs(20);

/// How a daemon is to be started.
#[derive(Debug)]
pub struct Setup {
    binary: PathBuf,
    data_root: Option<PathBuf>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    is_docker: bool,
    /// Bridges exist, in a network namespace that is not the machine's.
    has_networks: bool,
}

/// Docker's daemon, where it is installed.
const DOCKERD: &str = "/usr/sbin/dockerd";

impl Setup {
    /// With everything at its default; `binary` is the product.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            data_root: None,
            environment: Vec::new(),
            arguments: Vec::new(),
            is_docker: false,
            has_networks: false,
        }
    }

    /// A private dockerd without networks, to compare with; `None` where it is not installed.
    pub fn dockerd() -> Option<Self> {
        let mut setup = Self::new(DOCKERD);
        setup.is_docker = true;
        Path::new(DOCKERD).exists().then_some(setup)
    }

    /// Durable data lives here instead of in memory.
    #[must_use]
    pub fn data_root(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_root = Some(path.into());
        self
    }

    /// Dies at the `pass`-th pass of the fault point `name`.
    #[must_use]
    pub fn fault(mut self, name: &str, pass: u32) -> Self {
        self.environment.push(("SHIPWAY_FAULT".to_owned(), format!("{name}:{pass}")));
        self
    }

    /// One more argument of the daemon.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Gives it bridges. It lives in a network namespace of its own, so that the machine's is left alone and tests do not meet.
    #[must_use]
    pub fn with_networks(mut self) -> Self {
        self.has_networks = true;
        self
    }

    /// Starts it and waits until it answers.
    pub fn start(self) -> Daemon {
        crate::leftovers::sweep_abandoned();
        let home = tempfile::Builder::new().prefix("shipway-it-").rand_bytes(8).tempdir_in("/dev/shm").expect("tempdir");
        let data_root = self.data_root.clone().unwrap_or_else(|| home.path().join("data"));
        let name = home.path().file_name().and_then(|name| name.to_str()).expect("a plain name").to_owned();
        let netns = self.has_networks.then(Netns::new);
        let mut daemon = Daemon { setup: self, data_root, name, child: None, home, ready_after: Duration::ZERO, netns };
        daemon.launch();
        daemon
    }
}

/// A running (or killed) daemon with folders, socket and cgroups of its own.
#[derive(Debug)]
pub struct Daemon {
    setup: Setup,
    data_root: PathBuf,
    name: String,
    child: Option<Child>,
    home: tempfile::TempDir,
    ready_after: Duration,
    netns: Option<Netns>,
}

impl Daemon {
    /// One at default settings.
    pub fn start(binary: impl Into<PathBuf>) -> Self {
        Setup::new(binary).start()
    }

    /// Where its durable data lives.
    pub fn data_root(&self) -> &Path {
        &self.data_root
    }

    /// Where its data of this boot lives.
    pub fn exec_root(&self) -> PathBuf {
        self.home.path().join("exec")
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.home.path().join("api.sock")
    }

    /// The word that all its folders and cgroups have in their path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A folder that goes with the fixture.
    pub fn scratch(&self) -> PathBuf {
        let path = self.home.path().join("scratch");
        std::fs::create_dir_all(&path).expect("mkdir");
        path
    }

    /// Time from its start to its first answer.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its process id; it runs.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// What it has written to its log, over all its lives.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.home.path().join("log")).unwrap_or_default()).into_owned()
    }

    /// Kills it without warning. Its containers go on.
    pub fn kill_9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// Waits until it has died by itself, for instance at a fault point.
    pub fn wait_for_death(&mut self, seconds: u64) -> ExitStatus {
        crate::death_of(&mut self.child, "daemon", seconds)
    }

    /// True while it has not died.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("wait").is_none())
    }

    /// Starts it again (killing it when it runs), without the fault it was armed with.
    pub fn restart(&mut self) -> Duration {
        self.kill_9();
        self.setup.environment.clear();
        self.launch();
        self.ready_after
    }

    /// The product from now on; it runs from the next restart.
    pub fn use_binary(&mut self, binary: impl Into<PathBuf>) {
        self.setup.binary = binary.into();
    }

    /// Starts it and kills it `after` a while, answering or not.
    pub fn restart_and_kill_after(&mut self, after: Duration) {
        self.kill_9();
        self.setup.environment.clear();
        self.spawn();
        std::thread::sleep(after);
        self.kill_9();
    }

    /// Starts it again, to die at the `pass`-th pass of the fault point `name`.
    pub fn restart_with_fault(&mut self, name: &str, pass: u32) {
        self.kill_9();
        self.setup.environment = vec![("SHIPWAY_FAULT".to_owned(), format!("{name}:{pass}"))];
        self.launch();
    }

    /// Asks it to leave and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let pid = Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::TERM).expect("SIGTERM");
        let until = Instant::now() + LEAVING;
        loop {
            match child.try_wait().expect("wait") {
                Some(status) => return status,
                None if Instant::now() > until => {
                    child.kill().expect("kill");
                    return child.wait().expect("wait");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn spawn(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.home.path().join("log")).expect("log");
        let mut command = match &self.netns {
            Some(netns) => netns.command(&self.setup.binary),
            None => Command::new(&self.setup.binary),
        };
        if self.setup.is_docker {
            command.arg("--pidfile").arg(self.home.path().join("dockerd.pid")).arg("--cgroup-parent").arg(format!("/{}", self.name));
        } else {
            command.args(["daemon", "--cgroup-parent", &self.name]);
        }
        match (self.setup.has_networks, self.setup.is_docker) {
            (true, _) => {}
            (false, true) => drop(command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"])),
            (false, false) => drop(command.arg("--bridge=none")),
        }
        let child = command
            .arg("--data-root")
            .arg(&self.data_root)
            .arg("--exec-root")
            .arg(self.exec_root())
            .arg("-H")
            .arg(format!("unix://{}", self.socket().display()))
            .arg("--config-file")
            .arg(self.settings())
            .args(&self.setup.arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOST_SECRET", CANARY)
            .envs(self.setup.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.setup.binary.display()));
        self.child = Some(child);
    }

    fn launch(&mut self) {
        let started = Instant::now();
        self.spawn();
        while !self.answers() {
            if !self.is_alive() {
                // A fault point on the way to readiness is a legitimate place to die; the caller finds out.
                assert!(!self.setup.environment.is_empty(), "the daemon did not start:\n{}", self.log());
                break;
            }
            assert!(started.elapsed() < READY, "the daemon does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.ready_after = started.elapsed();
    }

    fn answers(&self) -> bool {
        crate::http::call(&self.socket(), "GET", "/_ping", "text/plain", b"").is_ok_and(|answer| answer.status == 200)
    }

    /// An empty configuration file: the host's own must not matter.
    fn settings(&self) -> PathBuf {
        let path = self.home.path().join("daemon.json");
        std::fs::write(&path, "{}").expect("write");
        path
    }

    /// The network namespace it lives in, when it has one of its own.
    ///
    /// # Panics
    /// Without [`Setup::with_networks`].
    pub fn netns(&self) -> &Netns {
        self.netns.as_ref().expect("a daemon with networks")
    }

    /// Runs our own command line against this daemon.
    pub fn shipway(&self, arguments: &[&str]) -> std::process::Output {
        self.client(&self.setup.binary.clone(), arguments, "")
    }

    /// The same with something on its standard input.
    pub fn shipway_with_input(&self, arguments: &[&str], input: &str) -> std::process::Output {
        self.client(&self.setup.binary.clone(), arguments, input)
    }

    /// Runs docker's command line against this daemon; `None` when it is not installed.
    pub fn docker(&self, arguments: &[&str]) -> Option<std::process::Output> {
        let program = Path::new("/usr/local/bin/docker");
        program.exists().then(|| self.client(program, arguments, ""))
    }

    fn client(&self, program: &Path, arguments: &[&str], input: &str) -> std::process::Output {
        let address = format!("unix://{}", self.socket().display());
        let stdin = self.home.path().join(format!("stdin-{:?}", std::thread::current().id()));
        std::fs::write(&stdin, input).expect("write");
        Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.home.path())
            .env("SHIPWAY_HOST", &address)
            .env("DOCKER_HOST", &address)
            .env("DOCKER_BUILDKIT", "0")
            .stdin(std::fs::File::open(&stdin).expect("open"))
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
    }

    /// Removes every container, as a user would.
    pub fn remove_all_containers(&self) {
        let Ok(answer) = crate::http::call(&self.socket(), "GET", "/containers/json?all=1", "", b"") else { return };
        for container in answer.json().as_array().into_iter().flatten() {
            let id = container["Id"].as_str().unwrap_or_default();
            let _ = crate::http::call(&self.socket(), "DELETE", &format!("/containers/{id}?force=1&v=1"), "", b"");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- the daemon's last lines:\n{}\n---", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        if self.is_alive() {
            self.remove_all_containers();
            let status = self.stop();
            if !status.success() && !std::thread::panicking() {
                eprintln!("the daemon left with {status} (signal {:?})", status.signal());
            }
        }
        crate::leftovers::sweep(&self.name);
        // dockerd leaves its network namespace mounted (exec/netns/default).
        crate::leftovers::unmount_below(self.home.path());
    }
}
