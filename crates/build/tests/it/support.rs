//! A store, a context folder, a few images, and an executor that does what its script says without any process.
//!
//! Scripts are lines joined by `;`: `write PATH TEXT`, `mkdir PATH`, `show PATH` (prints a file of the tree below), `say TEXT`, `sleep MS`, `fail CODE`.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use shipway_build::ports::{
    ExecuteError, Executor, FetchError, Fetched, Fetcher, ImageError, ImageSource, LogSink, ResolvedImage, RunOutcome, RunStep,
};
use shipway_build::{
    BuildContext, BuildError, BuildOptions, BuildOutcome, BuildRequest, LogStream, Ports, ProgressEvent, ProgressSink, build,
};
use shipway_dockerfile::SourceText;
use shipway_model::{BuildId, Digest, ErrorKind, ImageConfig, ImageId, LayerId, Platform, Reference, Timestamp};
use shipway_store::{CommitOptions, LayerOrigin, PrepareOptions, Store, StoreConfig};
use shipway_sys::path::Root;
use tokio_util::sync::CancellationToken;

/// A place to build in.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) ports: Ports,
    pub(crate) executor: Arc<FakeExecutor>,
    pub(crate) images: Arc<FakeImages>,
    pub(crate) events: Arc<Mutex<Vec<ProgressEvent>>>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("shipway-build-").tempdir_in("/dev/shm").unwrap();
        let store = Store::open(StoreConfig { root: folder.path().join("store") }).unwrap();
        std::fs::create_dir(folder.path().join("context")).unwrap();
        let executor = Arc::new(FakeExecutor::default());
        let images = Arc::new(FakeImages { store: store.clone(), images: Mutex::default() });
        let ports = Ports::new(executor.clone(), images.clone(), Arc::new(FakeFetcher));
        let bench = Self { folder, store, ports, executor, images, events: Arc::default() };
        bench.image(
            "diamol/base",
            &[("bin/sh", "shell"), ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\n")],
        );
        bench
    }

    /// Puts an image with one layer of these files into the image source.
    pub(crate) fn image(&self, name: &str, files: &[(&str, &str)]) {
        let config = ImageConfig { os: "linux".into(), architecture: Platform::host().architecture, ..ImageConfig::default() };
        self.image_with(name, files, config);
    }

    pub(crate) fn image_with(&self, name: &str, files: &[(&str, &str)], mut config: ImageConfig) {
        let snapshot = self.store.prepare(&[], PrepareOptions::default()).unwrap();
        for (path, text) in files {
            put(&snapshot.upper.join(path), text);
        }
        let layer =
            snapshot.commit(CommitOptions { created: Timestamp::from_unix(1000, 0), origin: LayerOrigin::Imported, newest: None }).unwrap();
        config.rootfs.diff_ids = vec![layer.diff_id];
        config.history = vec![shipway_model::History {
            created: Some(Timestamp::from_unix(1000, 0)),
            created_by: format!("made up as {name}"),
            ..Default::default()
        }];
        let reference = Reference::parse(name).unwrap().with_default_tag();
        let resolved = ResolvedImage {
            id: ImageConfig::id(&config.to_bytes()),
            config,
            layers: vec![layer.id],
            digest: None,
            reference: reference.clone(),
        };
        self.images.images.lock().unwrap().insert(reference.canonical(), resolved);
    }

    /// Names the outcome of a build, so that later builds can begin from it.
    pub(crate) fn adopt(&self, name: &str, outcome: &BuildOutcome) {
        let reference = Reference::parse(name).unwrap().with_default_tag();
        let config = ImageConfig::parse(&outcome.config_bytes).unwrap();
        let resolved =
            ResolvedImage { id: outcome.image, config, layers: outcome.layers.clone(), digest: None, reference: reference.clone() };
        self.images.images.lock().unwrap().insert(reference.canonical(), resolved);
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.folder.path().join("context")
    }

    /// Writes a file of the context with a time that lies well in the past, as files usually do.
    pub(crate) fn file(&self, path: &str, text: &str) {
        put(&self.context().join(path), text);
        age(&self.context().join(path), 1_700_000_000);
    }

    pub(crate) fn request(&self, dockerfile: &str, options: BuildOptions) -> BuildRequest {
        let path = self.context();
        let context = BuildContext::Folder { root: Root::open(&path).unwrap(), path, index_file: self.folder.path().join("context.index") };
        let ignore = std::fs::read_to_string(self.context().join(".dockerignore")).ok();
        BuildRequest { id: BuildId::from_random([7; 32]), dockerfile: SourceText::new("Dockerfile", dockerfile), ignore, context, options }
    }

    fn sink(&self) -> ProgressSink {
        let events = self.events.clone();
        Arc::new(move |event| events.lock().unwrap().push(event))
    }

    pub(crate) async fn try_build_with(&self, dockerfile: &str, options: BuildOptions) -> Result<BuildOutcome, BuildError> {
        self.events.lock().unwrap().clear();
        let request = self.request(dockerfile, options);
        build(request, self.store.clone(), self.ports.clone(), self.sink(), CancellationToken::new()).await
    }

    pub(crate) async fn try_build(&self, dockerfile: &str) -> Result<BuildOutcome, BuildError> {
        self.try_build_with(dockerfile, BuildOptions::default()).await
    }

    pub(crate) async fn build(&self, dockerfile: &str) -> BuildOutcome {
        self.build_with(dockerfile, BuildOptions::default()).await
    }

    pub(crate) async fn build_with(&self, dockerfile: &str, options: BuildOptions) -> BuildOutcome {
        match self.try_build_with(dockerfile, options).await {
            Ok(outcome) => outcome,
            Err(error) => panic!("{}", error.render()),
        }
    }

    /// The rendered error of a build that must fail.
    pub(crate) async fn error(&self, dockerfile: &str) -> String {
        match self.try_build(dockerfile).await {
            Ok(_) => panic!("the build succeeded"),
            Err(error) => error.render(),
        }
    }

    pub(crate) fn runs(&self) -> usize {
        self.executor.runs.load(Ordering::SeqCst)
    }

    /// Every path of the image with type, mode, owner and what it holds, one line each, without the base.
    pub(crate) fn listing(&self, layers: &[LayerId]) -> Vec<String> {
        let tree = self.store.tree(layers).unwrap();
        let mut lines = Vec::new();
        for entry in tree.walk(b"").unwrap() {
            let entry = entry.unwrap();
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            if path.is_empty() || path.starts_with("bin") || path.starts_with("etc") {
                continue;
            }
            let what = match &entry.node {
                shipway_archive::index::Node::File { size, .. } => {
                    let (_, host) = tree.layer_path(Path::new(&path)).unwrap().unwrap();
                    let text = if *size < 200 { std::fs::read_to_string(host).unwrap_or_default() } else { format!("{size} bytes") };
                    format!("= {}", text.escape_default())
                }
                shipway_archive::index::Node::Directory { .. } => "/".to_owned(),
                shipway_archive::index::Node::Symlink { target } => format!("-> {}", String::from_utf8_lossy(target)),
                other => format!("{other:?}"),
            };
            lines.push(format!("{path} {:o} {}:{} {what}", entry.mode, entry.uid, entry.gid));
        }
        lines
    }

    /// The host path of a file of the image.
    pub(crate) fn host_path(&self, layers: &[LayerId], path: &str) -> PathBuf {
        let tree = self.store.tree(layers).unwrap();
        tree.layer_path(Path::new(path)).unwrap().unwrap_or_else(|| panic!("no {path}")).1
    }

    pub(crate) fn vertex_names(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        events.iter().filter_map(|event| if let ProgressEvent::Vertex { name, .. } = event { Some(name.clone()) } else { None }).collect()
    }

    pub(crate) fn log(&self) -> String {
        let events = self.events.lock().unwrap();
        let logs = events.iter().filter_map(|event| if let ProgressEvent::Log { bytes, .. } = event { Some(bytes.clone()) } else { None });
        String::from_utf8(logs.flatten().collect()).unwrap()
    }
}

pub(crate) fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Sets the time of a file or symlink.
pub(crate) fn age(path: &Path, seconds: i64) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let moment = Timespec { tv_sec: seconds, tv_nsec: 0 };
    utimensat(CWD, path, &Timestamps { last_access: moment, last_modification: moment }, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[derive(Default)]
pub(crate) struct FakeExecutor {
    pub(crate) runs: AtomicUsize,
    pub(crate) killed: AtomicUsize,
    pub(crate) steps: Mutex<Vec<RunStep>>,
    pub(crate) spans: Mutex<Vec<(Instant, Instant)>>,
}

impl Executor for FakeExecutor {
    fn run<'a>(&'a self, step: RunStep, output: LogSink, cancel: CancellationToken) -> BoxFuture<'a, Result<RunOutcome, ExecuteError>> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.steps.lock().unwrap().push(step.clone());
        Box::pin(async move {
            let begun = Instant::now();
            let script = step.args.last().cloned().unwrap_or_default();
            let mut exit_code = 0;
            for line in script.split(';').map(str::trim) {
                let mut words = line.splitn(3, ' ');
                let (verb, first, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
                let say = |text: String| output(LogStream::Stdout, Bytes::from(text));
                match verb {
                    "write" => put(&step.upper.join(first.trim_start_matches('/')), rest),
                    "mkdir" => std::fs::create_dir_all(step.upper.join(first.trim_start_matches('/'))).unwrap(),
                    "show" => {
                        let path = first.trim_start_matches('/');
                        let found = step.lowers.iter().find_map(|lower| std::fs::read_to_string(lower.join(path)).ok());
                        say(format!("{}\n", found.unwrap_or_else(|| "nothing".to_owned())));
                    }
                    "say" => say(format!("{first} {rest}\n")),
                    "sleep" => {
                        let time = Duration::from_millis(first.parse().unwrap());
                        tokio::select! {
                            () = tokio::time::sleep(time) => {}
                            () = cancel.cancelled() => {
                                self.killed.fetch_add(1, Ordering::SeqCst);
                                return Err(ExecuteError::Cancelled);
                            }
                        }
                    }
                    "fail" => exit_code = first.parse().unwrap(),
                    _ => {}
                }
            }
            self.spans.lock().unwrap().push((begun, Instant::now()));
            Ok(RunOutcome { exit_code, oom_killed: false })
        })
    }
}

pub(crate) struct FakeImages {
    store: Store,
    pub(crate) images: Mutex<HashMap<String, ResolvedImage>>,
}

impl ImageSource for FakeImages {
    fn resolve<'a>(&'a self, reference: &'a Reference, _: &'a Platform, _: bool) -> BoxFuture<'a, Result<ResolvedImage, ImageError>> {
        Box::pin(async move {
            let found = self.images.lock().unwrap().get(&reference.clone().with_default_tag().canonical()).cloned();
            let _ = &self.store;
            found.ok_or_else(|| ImageError::NotFound { reference: reference.familiar(), nearest: self.nearest(&reference.familiar()) })
        })
    }

    fn is_known(&self, name: &str) -> bool {
        Reference::parse(name).is_ok_and(|name| self.images.lock().unwrap().contains_key(&name.with_default_tag().canonical()))
    }

    fn nearest(&self, name: &str) -> Vec<String> {
        let known: Vec<String> = self.images.lock().unwrap().values().map(|image| image.reference.familiar()).collect();
        let known: Vec<&str> = known.iter().map(|name| name.trim_end_matches(":latest")).collect();
        let near = shipway_model::suggest::nearest(name.trim_end_matches(":latest"), known, 2);
        near.map(str::to_owned).into_iter().collect()
    }
}

/// Serves `http://files/<text>` as a file with that text.
pub(crate) struct FakeFetcher;

impl Fetcher for FakeFetcher {
    fn fetch<'a>(&'a self, url: &'a str, into: &'a Path, _limit: u64) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let text = url.strip_prefix("http://files/").or(url.strip_prefix("http://user:T0KEN@files/")).ok_or_else(|| {
                FetchError::Failed { url: url.to_owned(), message: "no such host".to_owned(), kind: ErrorKind::NotFound, hint: None }
            })?;
            std::fs::write(into, text).unwrap();
            let digest = Digest::sha256_of(text.as_bytes());
            Ok(Fetched {
                last_modified: Some(Timestamp::from_unix(1_234_567_890, 0)),
                size: text.len() as u64,
                digest,
                file_name: None,
                shown: url.replace("user:T0KEN", "[secret]"),
            })
        })
    }
}

/// The config a build made.
pub(crate) fn config_of(outcome: &BuildOutcome) -> ImageConfig {
    assert_eq!(ImageConfig::id(&outcome.config_bytes), outcome.image);
    ImageConfig::parse(&outcome.config_bytes).unwrap()
}

/// Shortens the type of ids in comparisons.
pub(crate) fn ids(outcomes: &[BuildOutcome]) -> Vec<ImageId> {
    outcomes.iter().map(|outcome| outcome.image).collect()
}

impl FakeImages {
    pub(crate) fn empty(store: Store) -> Self {
        Self { store, images: Mutex::default() }
    }
}
