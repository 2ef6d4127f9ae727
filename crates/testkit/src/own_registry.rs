//! The product's own registry, `shipway registry serve`, as a fixture: started, killed, started again at the same address over the same folder.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A registry that goes with this value, storage and all.
#[derive(Debug)]
pub struct OwnRegistry {
    binary: PathBuf,
    options: Vec<String>,
    child: Option<Child>,
    /// `127.0.0.1:PORT`.
    address: String,
    storage: PathBuf,
    /// Socket of the daemon whose store it shares.
    engine: Option<PathBuf>,
    home: tempfile::TempDir,
}

impl OwnRegistry {
    /// One with a folder of its own; `options` go to `registry serve`.
    pub fn start(binary: impl Into<PathBuf>, options: &[&str]) -> Self {
        Self::begin(binary.into(), None, None, options.iter().map(|option| (*option).to_owned()).collect(), None)
    }

    /// One that shares the store of a daemon that runs.
    pub fn beside(binary: impl Into<PathBuf>, daemon: &crate::Daemon, options: &[&str]) -> Self {
        let (storage, options) = (daemon.data_root().join("registry"), options.iter().map(|option| (*option).to_owned()).collect());
        Self::begin(binary.into(), Some(daemon.socket()), Some(storage), options, None)
    }

    /// One whose storage is somewhere else, for instance on a disk that can lose power.
    pub fn start_in(binary: impl Into<PathBuf>, storage: &Path, options: &[&str]) -> Self {
        Self::begin(binary.into(), None, Some(storage.to_owned()), options.iter().map(|option| (*option).to_owned()).collect(), None)
    }

    /// One for people with an account only: `accounts` are lines as `htpasswd -B` writes them.
    pub fn guarded(binary: impl Into<PathBuf>, accounts: &str) -> Self {
        Self::begin(binary.into(), None, None, Vec::new(), Some(accounts))
    }

    fn begin(binary: PathBuf, engine: Option<PathBuf>, storage: Option<PathBuf>, mut options: Vec<String>, accounts: Option<&str>) -> Self {
        let home = tempfile::Builder::new().prefix("shipway-it-").rand_bytes(8).tempdir_in("/dev/shm").expect("tempdir");
        if let Some(accounts) = accounts {
            let file = home.path().join("htpasswd");
            std::fs::write(&file, accounts).expect("write");
            options.extend(["--htpasswd".to_owned(), file.display().to_string()]);
        }
        let storage = storage.unwrap_or_else(|| home.path().join("registry"));
        let mut registry = Self { binary, options, child: None, address: "127.0.0.1:0".to_owned(), storage, engine, home };
        registry.launch(None);
        registry
    }

    /// Its name in references.
    pub fn host(&self) -> &str {
        &self.address
    }

    /// Where its blobs are.
    pub fn storage(&self) -> &Path {
        &self.storage
    }

    /// A folder that goes with the fixture.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(&path).expect("mkdir");
        path
    }

    /// What it has written to its log, over all its lives.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.home.path().join("log")).unwrap_or_default()).into_owned()
    }

    /// Kills it without warning.
    pub fn kill_9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// Starts it again at the same address (killing it when it runs).
    pub fn restart(&mut self) {
        self.kill_9();
        self.launch(None);
    }

    /// Starts it again, to die at the `pass`-th pass of the fault point `name`.
    pub fn restart_with_fault(&mut self, name: &str, pass: u32) {
        self.kill_9();
        self.launch(Some(format!("{name}:{pass}")));
    }

    /// Waits until it has died by itself.
    pub fn wait_for_death(&mut self, seconds: u64) -> ExitStatus {
        crate::death_of(&mut self.child, "registry", seconds)
    }

    fn launch(&mut self, fault: Option<String>) {
        let log = std::fs::File::options().create(true).append(true).open(self.home.path().join("log")).expect("log");
        let storage = if self.engine.is_some() { Path::new("engine") } else { &self.storage };
        let mut child = Command::new(&self.binary)
            .args(self.engine.iter().flat_map(|socket| ["-H".to_owned(), format!("unix://{}", socket.display())]))
            .args(["registry", "serve", "--addr", &self.address, "--log-level", "warn", "--storage"])
            .arg(storage)
            .args(&self.options)
            .env_clear()
            .envs(fault.map(|fault| ("SHIPWAY_FAULT".to_owned(), fault)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.binary.display()));
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        self.child = Some(child);
        let ready = lines.map_while(Result::ok).find(|line| line.starts_with("registry at "));
        let ready = ready.unwrap_or_else(|| panic!("the registry does not say where it is:\n{}", self.log()));
        let address = ready.split("://").nth(1).and_then(|rest| rest.split(',').next());
        self.address = address.expect("an address").to_owned();
    }
}

impl Drop for OwnRegistry {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have left by itself, which the test has seen.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
