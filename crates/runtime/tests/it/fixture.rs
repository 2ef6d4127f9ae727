//! A root made of busybox, a runtime over it, and the shortest way to "run this and tell me".

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use shipway_model::ContainerId;
use shipway_runtime::{
    AttachOptions, Attachment, ContainerSpec, ExitStatus, LaunchError, LogConfig, ProcessSpec, RootFs, Running, Runtime, RuntimeConfig,
    StreamKind,
};

/// Programs of busybox that the tests use.
const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "true", "false", "id", "ls", "env", "pwd", "sleep", "stat", "mount", "umount", "hostname", "readlink", "grep",
    "head", "dd", "mknod", "unshare", "tty", "stty", "kill", "ps", "touch", "mkdir", "wc", "tr", "seq", "chroot", "su", "ln", "rm", "ip",
    "nc", "test", "chmod", "tail", "yes", "rmdir",
];

pub(crate) struct Fixture {
    pub(crate) runtime: Option<Runtime>,
    pub(crate) folder: tempfile::TempDir,
    name: String,
    counter: std::sync::atomic::AtomicU8,
}

/// What a finished container said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Fixture {
    /// A runtime without a pool: fastest for a single launch.
    pub(crate) fn new() -> Self {
        Self::with_pool(0)
    }

    pub(crate) fn with_pool(pool_size: usize) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").expect("tempdir");
        make_root(&folder.path().join("image"));
        let name = format!("shipway-it-{}", folder.path().file_name().expect("name").to_string_lossy().trim_start_matches('.'));
        let mut fixture = Self { runtime: None, folder, name, counter: std::sync::atomic::AtomicU8::new(0) };
        fixture.runtime = Some(fixture.start_runtime(pool_size));
        fixture
    }

    pub(crate) fn start_runtime(&self, pool_size: usize) -> Runtime {
        let mut config = RuntimeConfig::new(self.folder.path().join("run"), self.name.clone());
        config.pool_size = pool_size;
        config.binary = PathBuf::from(env!("CARGO_BIN_EXE_shipway-monitor"));
        Runtime::start(config).expect("runtime")
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("there is one")
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    pub(crate) fn id(&self) -> ContainerId {
        let number = self.counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut bytes = [number; 32];
        bytes[..4].copy_from_slice(&std::process::id().to_le_bytes());
        ContainerId::from_random(bytes)
    }

    /// A root with an upper folder of its own.
    pub(crate) fn root(&self, id: &ContainerId) -> RootFs {
        let base = self.folder.path().join(id.to_string());
        for name in ["upper", "work"] {
            std::fs::create_dir_all(base.join(name)).expect("mkdir");
        }
        RootFs { lowers: vec![self.image()], upper: Some((base.join("upper"), base.join("work"))), volatile: false, plain: None }
    }

    /// `sh -c script`, attached.
    pub(crate) fn shell(&self, script: &str) -> ContainerSpec {
        self.spec(&["/bin/sh", "-c", script])
    }

    pub(crate) fn spec(&self, args: &[&str]) -> ContainerSpec {
        let id = self.id();
        let process = ProcessSpec {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: vec!["PATH=/usr/bin:/bin".to_owned()],
            ..ProcessSpec::default()
        };
        let mut spec = ContainerSpec::new(id, self.root(&id), process, self.folder.path().join("run").join(id.to_string()));
        spec.attach = Some(AttachOptions::OUTPUT);
        spec
    }

    pub(crate) fn with_log(&self, spec: &mut ContainerSpec) -> PathBuf {
        let path = self.folder.path().join(format!("{}.log", spec.id));
        spec.log = LogConfig::JsonFile { path: path.clone(), max_size: 0, max_files: 1, compress: false, attributes: Default::default() };
        path
    }

    pub(crate) async fn start(&self, spec: ContainerSpec) -> Running {
        self.runtime().launch(spec).await.expect("launch")
    }

    pub(crate) async fn refusal(&self, spec: ContainerSpec) -> LaunchError {
        self.runtime().launch(spec).await.expect_err("must be refused")
    }

    /// Runs to the end and waits until nothing is left.
    pub(crate) async fn run(&self, spec: ContainerSpec) -> Outcome {
        let mut running = self.start(spec).await;
        let (stdout, stderr) = drain(running.attachment.take().expect("attached")).await;
        let status = running.handle.wait().await;
        within("teardown", running.handle.gone()).await;
        Outcome { status, stdout, stderr }
    }

    /// Output of a script that must succeed.
    pub(crate) async fn said(&self, script: &str) -> String {
        let outcome = self.run(self.shell(script)).await;
        assert_eq!(outcome.status.code, 0, "{outcome:?}");
        outcome.stdout
    }

    /// Names of our cgroups that are left in any hierarchy.
    pub(crate) fn cgroups(&self) -> Vec<String> {
        let mut found = Vec::new();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
            for entry in std::fs::read_dir(hierarchy.path().join(&self.name)).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    found.push(entry.path().display().to_string());
                }
            }
        }
        found
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // A failing test leaves its container; this is the broom.
        if let Some(mut runtime) = self.runtime.take() {
            runtime.sweep(&std::collections::BTreeSet::new());
            runtime.shutdown();
        }
    }
}

/// Everything an attachment says, to its end.
pub(crate) async fn drain(mut attachment: Attachment) -> (String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let all = async {
        while let Some(frame) = attachment.output.recv().await {
            match frame.stream {
                StreamKind::Stdout => stdout.extend_from_slice(&frame.bytes),
                StreamKind::Stderr => stderr.extend_from_slice(&frame.bytes),
            }
        }
    };
    within("output", all).await;
    (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

/// Waits for output until it contains `word`.
pub(crate) async fn until(attachment: &mut Attachment, word: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(word) {
        let frame = within(word, attachment.output.recv()).await.unwrap_or_else(|| panic!("ended before {word:?}: {seen:?}"));
        seen.push_str(&String::from_utf8_lossy(&frame.bytes));
    }
    seen
}

pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

pub(crate) fn make_root(root: &Path) {
    for folder in ["bin", "usr/bin", "etc", "tmp", "root", "home/user"] {
        std::fs::create_dir_all(root.join(folder)).expect("mkdir");
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("link");
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n").expect("passwd");
    std::fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\n").expect("group");
    std::fs::write(root.join("bin/plain"), "echo no interpreter line\n").expect("plain");
    std::fs::write(root.join("bin/lost"), "#!/no/such/interpreter\n").expect("lost");
    std::fs::set_permissions(root.join("bin/lost"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    std::fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777)).expect("chmod");
}
