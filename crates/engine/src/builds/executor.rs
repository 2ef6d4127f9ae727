//! Runs the processes of RUN steps: build's wish, fulfilled with the runtime's hands.

use std::sync::Weak;

use futures_util::future::BoxFuture;
use shipway_build::ports::{ExecuteError, Executor, LogSink, LogStream, RunOutcome, RunStep};
use shipway_build::{ExtraHost, ExtraHostAddress, RunNetwork};
use shipway_model::{Classified, ContainerId, ErrorKind};
use shipway_runtime::{BuildStepSpec, FileSource, GeneratedFile, LaunchError, NetNs, OutputFrame, ProcessSpec, RootFs, StreamKind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::containers::{Accounts, NameSettings, NetworkMode};
use crate::{Engine, Inner, clock};

/// Output pieces that wait for the build before the step is held back.
const FRAMES: usize = 256;

/// The hands of all builds. Holds the engine weakly: the engine owns it.
pub(super) struct StepExecutor {
    engine: Weak<Inner>,
}

impl StepExecutor {
    pub(super) fn new(engine: &Engine) -> Self {
        Self { engine: std::sync::Arc::downgrade(&engine.inner) }
    }

    async fn run_step(&self, step: RunStep, output: LogSink, cancel: CancellationToken) -> Result<RunOutcome, ExecuteError> {
        let inner = self.engine.upgrade().ok_or(ExecuteError::Cancelled)?;
        let spec = step_spec(&inner, step)?;
        let (sender, mut frames) = mpsc::channel::<OutputFrame>(FRAMES);
        let pump = tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                let stream = if frame.stream == StreamKind::Stderr { LogStream::Stderr } else { LogStream::Stdout };
                output(stream, frame.bytes);
            }
        });
        let exit = inner.runtime.run_step(spec, sender, cancel).await.map_err(explain)?;
        // All output is with the build before it hears of the end. A panic in the sink has been reported by its own hook.
        let _ = pump.await;
        Ok(RunOutcome { exit_code: exit.code, oom_killed: exit.oom_killed })
    }
}

impl Executor for StepExecutor {
    fn run<'a>(&'a self, step: RunStep, output: LogSink, cancel: CancellationToken) -> BoxFuture<'a, Result<RunOutcome, ExecuteError>> {
        Box::pin(self.run_step(step, output, cancel))
    }
}

/// Everything the launch of a step needs, as finished values.
fn step_spec(inner: &Inner, step: RunStep) -> Result<BuildStepSpec, ExecuteError> {
    let failed = |error: crate::Error| ExecuteError::Failed { message: error.to_string(), kind: error.kind(), hint: error.hint() };
    let user = Accounts::read(&step.tree, None).resolve(&step.user, &[]).map_err(failed)?;
    let mut env = step.env;
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", user.home));
    }
    let hostname = step.hostname.unwrap_or_else(|| "buildkitsandbox".to_owned());
    let extra_hosts: Vec<String> = step.extra_hosts.iter().map(host_line).collect();
    let network = if step.network == RunNetwork::Host { NetworkMode::Host } else { NetworkMode::None };
    let settings = NameSettings {
        hostname: &hostname,
        domainname: None,
        extra_hosts: &extra_hosts,
        network: &network,
        dns: &inner.config.dns,
        dns_search: &inner.config.dns_search,
        dns_options: &inner.config.dns_options,
    };
    let hosts = settings.hosts().map_err(failed)?;
    let resolv_conf = settings.resolv_conf(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let mut rlimits = inner.config.default_ulimits.clone();
    for limit in step.ulimits {
        rlimits.retain(|known| known.name != limit.name);
        rlimits.push(limit);
    }
    let process = ProcessSpec { args: step.args, env, cwd: step.cwd, user: user.ids, rlimits, ..ProcessSpec::default() };
    let root = RootFs { lowers: step.lowers, upper: Some((step.upper, step.work)), volatile: true, plain: None };
    let mut spec = BuildStepSpec::new(ContainerId::from_random(clock::random()), root, process);
    spec.hostname = hostname;
    spec.limits = step.limits;
    if let Some(size) = step.shm_size {
        spec.shm_size = size;
    }
    if step.network == RunNetwork::Host {
        spec.namespaces.net = NetNs::Host;
    }
    spec.files = [("/etc/hosts", hosts), ("/etc/resolv.conf", resolv_conf)]
        .into_iter()
        .map(|(target, text)| GeneratedFile { target: target.to_owned(), source: FileSource::Content(text.into_bytes()), read_only: false })
        .collect();
    Ok(spec)
}

fn host_line(host: &ExtraHost) -> String {
    match host.address {
        ExtraHostAddress::Ip(address) => format!("{}={address}", host.name),
        ExtraHostAddress::HostGateway => format!("{}=host-gateway", host.name),
    }
}

fn explain(error: LaunchError) -> ExecuteError {
    match error {
        LaunchError::Cancelled => ExecuteError::Cancelled,
        LaunchError::NotFound { .. } => ExecuteError::NotStarted { message: error.to_string(), exit_code: 127 },
        LaunchError::NotExecutable { .. } => ExecuteError::NotStarted { message: error.to_string(), exit_code: 126 },
        other => {
            let kind = if other.kind() == ErrorKind::Cancelled { ErrorKind::Internal } else { other.kind() };
            ExecuteError::Failed { message: other.to_string(), kind, hint: other.hint() }
        }
    }
}
