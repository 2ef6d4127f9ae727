//! `shipway daemon`: builds the parts, wires them, serves until it is told to stop.

use std::ffi::OsString;
use std::time::Duration;

use shipway_engine::Engine;
use shipway_server::{Api, ApiOptions, ListenAddress, ListenOptions, Listener, ServeOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{self, ConfigError, DaemonConfig};

/// Exit codes of the daemon (house rule 3e).
const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 64;
/// A daemon that a client started leaves after so long without work.
const IDLE: Duration = Duration::from_secs(300);
const IDLE_CHECK: Duration = Duration::from_secs(15);

/// Runs the daemon; `arguments` begin with the program's name.
pub(crate) fn run(arguments: &[OsString]) -> u8 {
    let config = match config::read(arguments) {
        Ok(config) => config,
        Err(ConfigError::Usage(error)) => {
            // Help and usage errors: clap knows where each belongs. Nobody is left to tell when that cannot be written.
            let _ = error.print();
            return if error.use_stderr() { BAD_CONFIGURATION } else { 0 };
        }
        Err(ConfigError::Wrong(reason)) => {
            eprintln!("shipway daemon: {reason}");
            return BAD_CONFIGURATION;
        }
    };
    if config.validate {
        eprintln!("configuration OK");
        return 0;
    }
    start_log(&config.log_level);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("shipway-worker").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("shipway daemon: cannot start worker threads: {error}");
            return FAILED;
        }
    };
    let code = match runtime.block_on(serve(config)) {
        Ok(()) => 0,
        Err(reason) => {
            eprintln!("shipway daemon: {reason}");
            FAILED
        }
    };
    // Blocking readers of clients that never come back must not keep us.
    runtime.shutdown_timeout(Duration::from_secs(2));
    code
}

pub(crate) fn start_log(level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(format!("{level},hyper=warn")).unwrap_or_default();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

async fn serve(config: DaemonConfig) -> Result<(), String> {
    let started = tokio::time::Instant::now();
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return Err(format!("cannot listen for signals: {error}")),
    };
    let engine = Engine::start(config.engine).await.map_err(|error| error.to_string())?;
    let options = ListenOptions { group: config.group, insecure_tcp: config.insecure_tcp, has_token: false };
    let listeners = listen(&config.hosts, &options)?;
    let names: Vec<String> = listeners.iter().map(|listener| listener.name().to_owned()).collect();
    let stop = CancellationToken::new();
    let api = Api::new(engine.clone(), ApiOptions::default());
    let serving = tokio::spawn(shipway_server::serve(listeners, api, ServeOptions::default(), stop.clone()));
    tracing::info!(took_ms = started.elapsed().as_millis(), addresses = ?names, "ready");
    tell_service_manager();
    let reason = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = idle(&engine), if config.on_demand => "idleness",
    };
    tracing::info!(reason, "stopping");
    stop.cancel();
    serving.await.map_err(|error| format!("serving ended abnormally: {error}"))?;
    engine.shutdown().await;
    Ok(())
}

/// Opens every address; `fd://` means the sockets that systemd opened.
fn listen(hosts: &[String], options: &ListenOptions) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    for host in hosts {
        let address: ListenAddress = host.parse().map_err(|error: shipway_server::ListenError| error.to_string())?;
        if address == ListenAddress::Activation {
            listeners.extend(inherited()?);
        } else {
            listeners.push(Listener::bind(&address, options).map_err(explain)?);
        }
    }
    Ok(listeners)
}

fn explain(error: shipway_server::ListenError) -> String {
    use shipway_model::Classified;
    match error.hint() {
        Some(hint) => format!("{error}\n  hint: {hint}"),
        None => error.to_string(),
    }
}

/// The sockets of socket activation (sd_listen_fds(3)).
fn inherited() -> Result<Vec<Listener>, String> {
    let variable = |name: &str| std::env::var_os(name).and_then(|value| value.into_string().ok());
    let count =
        shipway_server::listen::inherited_sockets(variable("LISTEN_PID").as_deref(), variable("LISTEN_FDS").as_deref(), std::process::id());
    if count == 0 {
        return Err("fd:// was asked for, but no socket was handed over; start the daemon by a systemd socket unit".to_owned());
    }
    shipway_sys::socket::take_inherited(count).into_iter().map(|socket| Listener::from_fd(socket).map_err(explain)).collect()
}

/// Ends when nothing has run and nobody has asked for anything for `IDLE`.
async fn idle(engine: &Engine) {
    let mut since = tokio::time::Instant::now();
    while since.elapsed() < IDLE {
        tokio::time::sleep(IDLE_CHECK).await;
        if !engine.is_idle() {
            since = tokio::time::Instant::now();
        }
    }
}

/// Tells systemd that we are ready (sd_notify(3)); nothing without it.
fn tell_service_manager() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", path));
    if let Err(error) = told {
        tracing::warn!(%error, "cannot tell the service manager that we are ready");
    }
}
