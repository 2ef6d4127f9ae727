//! An engine with folders and cgroups of its own, and the shortest way to run something in it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use shipway_engine::containers::{AttachOptions, ContainerState, CreateSpec, Echo, HostOptions, LogOptions, RemoveOptions, WaitCondition};
use shipway_engine::images::ImportOptions;
use shipway_engine::values::StreamKind;
use shipway_engine::{Engine, EngineConfig, blocking};
use shipway_model::Reference;

/// An engine on scratch folders; `finish` takes everything down again.
pub(crate) struct Fixture {
    pub(crate) engine: Engine,
    home: Option<tempfile::TempDir>,
}

impl Drop for Fixture {
    /// After a failed test: its containers end with it.
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            shipway_testkit::leftovers::sweep(&home.path().file_name().unwrap().to_string_lossy());
        }
    }
}

/// Folders for one or several lives of an engine.
pub(crate) fn home() -> tempfile::TempDir {
    shipway_testkit::leftovers::sweep_abandoned();
    tempfile::Builder::new().prefix("shipway-engine-it-").rand_bytes(8).tempdir_in("/dev/shm").unwrap()
}

/// The settings of an engine in `home`.
pub(crate) fn settings(home: &Path) -> EngineConfig {
    let mut config = EngineConfig::new(home.join("data"), home.join("run"));
    config.bridge = false;
    config.pool_size = 0;
    config.monitor_binary = Some(PathBuf::from(env!("CARGO_BIN_EXE_shipway-engine-monitor")));
    config.cgroup_parent = Some(home.file_name().unwrap().to_string_lossy().into_owned());
    config
}

/// Brings busybox in as the image "bb".
pub(crate) async fn import_busybox(engine: &Engine, changes: &[&str]) {
    let (sender, reader) = blocking::stream_in();
    let archive = Bytes::from(shipway_testkit::busybox_tar().finish());
    tokio::spawn(async move { sender.send(Ok(archive)).await.unwrap() });
    let options = ImportOptions {
        reference: Some(Reference::parse("bb").unwrap()),
        changes: changes.iter().map(|change| (*change).to_owned()).collect(),
        ..ImportOptions::default()
    };
    engine.import_image(reader, options).await.unwrap();
}

impl Fixture {
    /// An engine that has the image "bb".
    pub(crate) async fn new() -> Self {
        let home = home();
        let engine = Engine::start(settings(home.path())).await.unwrap();
        import_busybox(&engine, &["CMD [\"sh\"]"]).await;
        Self { engine, home: Some(home) }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.home.as_ref().unwrap().path()
    }

    /// The folder of this engine's cgroups in the hierarchy of `controller`.
    pub(crate) fn group(&self, controller: &str) -> PathBuf {
        let name = self.folder().file_name().unwrap();
        let first = PathBuf::from("/sys/fs/cgroup").join(controller).join(name);
        if first.is_dir() { first } else { PathBuf::from("/sys/fs/cgroup").join(name) }
    }

    /// Creates "name" to run `script`.
    pub(crate) async fn create(&self, name: &str, script: &str) {
        self.engine.create_container(shell(name, script)).await.unwrap();
    }

    /// Creates and starts it.
    pub(crate) async fn start(&self, name: &str, script: &str) {
        self.create(name, script).await;
        self.engine.start_container(name).await.unwrap();
    }

    /// Runs it to its end; the exit code.
    pub(crate) async fn run(&self, name: &str, script: &str) -> i32 {
        self.start(name, script).await;
        self.wait(name).await
    }

    pub(crate) async fn wait(&self, name: &str) -> i32 {
        let handle = self.engine.wait_container(name, WaitCondition::NotRunning).await.unwrap();
        within("the end", handle.finished()).await.unwrap().code
    }

    pub(crate) async fn state(&self, name: &str) -> ContainerState {
        self.engine.inspect_container(name, false).await.unwrap().record.state
    }

    /// What `logs` says with `options`.
    pub(crate) async fn logs(&self, name: &str, options: LogOptions) -> String {
        let mut stream = self.engine.logs(name, LogOptions { stdout: true, stderr: true, ..options }).await.unwrap();
        let mut said = String::new();
        while let Some(line) = within("a log line", stream.lines.recv()).await {
            said.push_str(&String::from_utf8_lossy(&line.bytes));
        }
        said
    }

    pub(crate) async fn remove(&self, name: &str) {
        self.engine.remove_container(name, RemoveOptions { force: true, ..RemoveOptions::default() }).await.unwrap();
    }

    /// Ends this life of the engine; the folders stay for the next.
    pub(crate) async fn stop(mut self) -> tempfile::TempDir {
        self.engine.shutdown().await;
        self.home.take().unwrap()
    }

    /// Takes everything down and checks that the store is sound.
    pub(crate) async fn finish(self) {
        sweep(&self.engine).await;
        let report = self.engine.fsck(shipway_engine::values::FsckOptions { strict: true, repair: false }).await.unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
        self.engine.shutdown().await;
    }
}

/// Removes every container and waits until their folders are gone too.
pub(crate) async fn sweep(engine: &Engine) {
    let all = shipway_engine::containers::ContainerFilter { all: true, ..Default::default() };
    for view in engine.list_containers(&all).await.unwrap() {
        // One started with --rm may go by itself meanwhile.
        let _ = engine.remove_container(&view.record.id.to_string(), RemoveOptions { force: true, ..RemoveOptions::default() }).await;
    }
    let active = engine.config().data_root.join("active");
    for _ in 0..500 {
        if std::fs::read_dir(&active).is_ok_and(|mut entries| entries.next().is_none()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("writable layers stay behind in {}", active.display());
}

/// A container "name" of the image "bb" that runs `sh -c script`.
pub(crate) fn shell(name: &str, script: &str) -> CreateSpec {
    CreateSpec {
        name: Some(name.parse().unwrap()),
        image: "bb".to_owned(),
        platform: None,
        entrypoint: None,
        command: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
        env: Vec::new(),
        working_dir: None,
        user: None,
        hostname: None,
        domainname: None,
        tty: false,
        open_stdin: false,
        stdin_once: false,
        labels: Default::default(),
        exposed_ports: Default::default(),
        volumes: Default::default(),
        stop_signal: None,
        stop_timeout: None,
        healthcheck: None,
        host: HostOptions::default(),
        echo: Echo::default(),
    }
}

/// Attached to all three streams.
pub(crate) fn everything() -> AttachOptions {
    AttachOptions { stdin: true, stdout: true, stderr: true, stream: true, logs: false }
}

/// All output of an attachment: standard output and standard error.
pub(crate) async fn drain(mut attachment: shipway_engine::containers::Attachment) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(frame) = within("output", attachment.output.recv()).await {
        let side = if frame.stream == StreamKind::Stderr { &mut err } else { &mut out };
        side.extend_from_slice(&frame.bytes);
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// Waits, but not for ever.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}
