//! `shipway daemon`: builds the parts, wires them, serves until it is told to stop.

use std::ffi::OsString;
use std::time::Duration;

use shipway_engine::Engine;
use shipway_server::{Server, ServerConfig};
use tokio::signal::unix::{SignalKind, signal};

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

fn start_log(level: &str) {
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
    let settings = ServerConfig { hosts: config.hosts, group: config.group, insecure_tcp: config.insecure_tcp };
    let server = Server::bind(engine.clone(), settings).await.map_err(|error| error.to_string())?;
    tracing::info!(took_ms = started.elapsed().as_millis(), addresses = ?server.addresses(), "ready");
    tell_service_manager();
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = idle(&engine), if config.on_demand => "idleness",
        }
    };
    let reason = server.serve_until(stop).await;
    tracing::info!(reason, "stopping");
    engine.shutdown().await;
    Ok(())
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
