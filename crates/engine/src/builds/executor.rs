//! Runs the processes of RUN steps: build's wish, fulfilled with the runtime's hands.

use std::sync::Weak;

use futures_util::future::BoxFuture;
use shipway_build::ports::{ExecuteError, Executor, LogSink, LogStream, RunOutcome, RunStep};
use shipway_build::{ExtraHost, ExtraHostAddress, RunNetwork};
use shipway_model::{Classified, ContainerId, ErrorKind};
use shipway_runtime::{
    BuildStepSpec, FileSource, GeneratedFile, LaunchError, NetNs, OutputFrame, ProcessSpec, Reserved, RootFs, StreamKind,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use shipway_network::files::ResolverKind;

use crate::containers::{Accounts, NameSettings};
use crate::networks::WiredStep;
use crate::{Engine, Inner, blocking, clock};

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
        let engine = Engine { inner: std::sync::Arc::clone(&inner) };
        let id = ContainerId::from_random(clock::random());
        crate::containers::refuse_limits(&step.limits).map_err(failed)?;
        let network = match &step.network {
            RunNetwork::Default if inner.config.bridge => Some(crate::networks::BRIDGE.to_owned()),
            RunNetwork::Named(name) => Some(name.clone()),
            RunNetwork::Default | RunNetwork::None | RunNetwork::Host => None,
        };
        let (reserved, wired) = match network {
            Some(network) => {
                let reserved = inner.runtime.reserve_step().await.map_err(explain)?;
                let (reserved, wired) = wire(&engine, id, network, reserved).await.map_err(failed)?;
                (Some(reserved), Some(wired))
            }
            None => (None, None),
        };
        let spec = step_spec(&inner, id, step, wired.as_ref())?;
        let (sender, mut frames) = mpsc::channel::<OutputFrame>(FRAMES);
        let pump = tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                let stream = if frame.stream == StreamKind::Stderr { LogStream::Stderr } else { LogStream::Stdout };
                output(stream, frame.bytes);
            }
        });
        let exit = inner.runtime.run_step_in(reserved, spec, sender, cancel).await.map_err(explain);
        // The network goes with the step's processes.
        drop(wired);
        let exit = exit?;
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
fn step_spec(inner: &Inner, id: ContainerId, step: RunStep, wired: Option<&WiredStep>) -> Result<BuildStepSpec, ExecuteError> {
    let user = Accounts::read(&step.tree, None).resolve(&step.user, &[]).map_err(failed)?;
    let mut env = step.env;
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", user.home));
    }
    let hostname = step.hostname.unwrap_or_else(|| "buildkitsandbox".to_owned());
    let extra_hosts: Vec<String> = step.extra_hosts.iter().map(host_line).collect();
    let shares_host = step.network == RunNetwork::Host;
    let resolver = match wired {
        Some(wired) if wired.has_names() => ResolverKind::Embedded,
        Some(_) => ResolverKind::Direct,
        None => ResolverKind::Host,
    };
    let settings = NameSettings {
        hostname: &hostname,
        domainname: None,
        extra_hosts: &extra_hosts,
        shares_host,
        resolver,
        own: wired.map(WiredStep::addresses).unwrap_or_default(),
        host_gateway: wired.and_then(WiredStep::gateway).or(shares_host.then_some([127, 0, 0, 1].into())).into_iter().collect(),
        links: Vec::new(),
        dns: &inner.config.dns,
        dns_search: &inner.config.dns_search,
        dns_options: &inner.config.dns_options,
    };
    let hosts = settings.hosts().map_err(failed)?;
    let resolv_conf = settings.resolv_conf().map_err(failed)?;
    let mut rlimits = inner.config.default_ulimits.clone();
    for limit in step.ulimits {
        rlimits.retain(|known| known.name != limit.name);
        rlimits.push(limit);
    }
    let process = ProcessSpec { args: step.args, env, cwd: step.cwd, user: user.ids, rlimits, ..ProcessSpec::default() };
    let root = RootFs { lowers: step.lowers, upper: Some((step.upper, step.work)), volatile: true, plain: None };
    let mut spec = BuildStepSpec::new(id, root, process);
    spec.hostname = hostname;
    spec.limits = step.limits;
    if let Some(size) = step.shm_size {
        spec.shm_size = size;
    }
    if shares_host {
        spec.namespaces.net = NetNs::Host;
    }
    spec.files = [("/etc/hosts", hosts), ("/etc/resolv.conf", resolv_conf)]
        .into_iter()
        .map(|(target, text)| GeneratedFile { target: target.to_owned(), source: FileSource::Content(text.into_bytes()), read_only: false })
        .collect();
    Ok(spec)
}

/// Gives the reserved place of a step a foot in a network.
async fn wire(engine: &Engine, id: ContainerId, network: String, reserved: Reserved) -> crate::Result<(Reserved, WiredStep)> {
    let engine = engine.clone();
    blocking::files(move || {
        let wired = WiredStep::claim(&engine, id, &network)?;
        let netns = reserved.network_namespace().map_err(crate::Error::sys("open the network namespace of a build step"))?;
        wired.attach(netns)?;
        Ok((reserved, wired))
    })
    .await
}

fn failed(error: crate::Error) -> ExecuteError {
    ExecuteError::Failed { message: error.to_string(), kind: error.kind(), hint: error.hint() }
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
