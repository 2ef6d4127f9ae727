//! Accepting: one task per listener, one task per connection, and patience when the machine is out of descriptors.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Listener;
use crate::connection::{self, Application};

/// Shortest and longest pause after an accept that failed for lack of resources.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How serving behaves.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Connections at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// How long connections may finish what they are doing after the order to stop.
    pub shutdown_grace: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { max_connections: 16_384, shutdown_grace: Duration::from_secs(5) }
    }
}

/// Serves all `listeners` until `stop` is cancelled, then lets connections finish, for a while.
pub async fn serve(listeners: Vec<Listener>, application: Arc<dyn Application>, options: ServeOptions, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(options.max_connections));
    let connections = TaskTracker::new();
    let acceptors = TaskTracker::new();
    for listener in listeners {
        acceptors.spawn(accept_all(listener, Arc::clone(&application), Arc::clone(&places), connections.clone(), stop.clone()));
    }
    acceptors.close();
    acceptors.wait().await;
    connections.close();
    if tokio::time::timeout(options.shutdown_grace, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections did not end in time; closing them");
    }
}

async fn accept_all(
    listener: Listener,
    application: Arc<dyn Application>,
    places: Arc<Semaphore>,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    let mut pause = SHORTEST_PAUSE;
    let mut failing = false;
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok(socket) => {
                if failing {
                    tracing::info!(listener = listener.name(), "accepting connections again");
                }
                (failing, pause) = (false, SHORTEST_PAUSE);
                let served = connection::serve(socket, Arc::clone(&application), stop.clone());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            // The client gave up while it was waiting: the next one is not concerned.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => {
                // EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the queue, so trying again at once would only burn a core.
                if !failing {
                    tracing::error!(%error, listener = listener.name(), "cannot accept connections; trying again until it works");
                    failing = true;
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                    () = stop.cancelled() => return,
                }
            }
        }
    }
}
