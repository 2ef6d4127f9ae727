//! Signals sent to this command, passed on to the container.

use crate::cli::client::{Call, Client, path_escape};
use crate::cli::exit::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that are passed on. Not: those about this process itself (CHLD, WINCH, PIPE, URG), nor job control.
fn forwarded() -> [(&'static str, SignalKind); 7] {
    [
        ("HUP", SignalKind::hangup()),
        ("INT", SignalKind::interrupt()),
        ("QUIT", SignalKind::quit()),
        ("TERM", SignalKind::terminate()),
        ("USR1", SignalKind::user_defined1()),
        ("USR2", SignalKind::user_defined2()),
        ("ALRM", SignalKind::alarm()),
    ]
}

/// How often INT or TERM may come before the person is believed to mean this command.
const PATIENCE: u32 = 3;

/// Catches signals from now on.
pub(crate) struct Forwarder {
    signals: Vec<(&'static str, Signal)>,
}

impl Forwarder {
    /// Begins catching. Signals that arrive before [`Forwarder::run`] are kept.
    pub(crate) fn new() -> Self {
        let signals = forwarded().into_iter().filter_map(|(name, kind)| Some((name, signal(kind).ok()?))).collect();
        Self { signals }
    }

    /// Passes signals on for as long as it is polled; fails when INT or TERM came three times.
    pub(crate) async fn run(mut self, client: &Client, container: &str) -> Failure {
        let mut insisted = 0;
        loop {
            let name = self.next().await;
            if name == "INT" || name == "TERM" {
                insisted += 1;
                if insisted >= PATIENCE {
                    return Failure::new("got 3 SIGTERM/SIGINTs, forcefully exiting");
                }
            }
            // The container may be gone already, or not running yet; neither is this command's failure.
            let _ = client.done(Call::post(format!("/containers/{}/kill", path_escape(container))).query("signal", name)).await;
        }
    }

    async fn next(&mut self) -> &'static str {
        std::future::poll_fn(|context| {
            for (name, signal) in &mut self.signals {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
