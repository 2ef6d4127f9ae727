//! `attach`: a client's ends of a process's standard streams.
//!
//! The docker client attaches before it starts, so that it misses nothing: such clients wait in the container's *lobby* and are let in by
//! the launch itself, from the first byte.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use shipway_runtime::{OutputFrame, StreamKind};
use tokio::sync::{mpsc, oneshot};

use super::{Container, ContainerState, LogOptions};
use crate::{Engine, Error, Result};

/// Frames that wait for a client before the monitor is held back.
pub(super) const FRAMES: usize = 64;

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)]
pub struct AttachOptions {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Stay attached to what comes.
    pub stream: bool,
    /// First what was written so far.
    pub logs: bool,
}

impl AttachOptions {
    fn wish(self) -> shipway_runtime::AttachOptions {
        // A terminal has one stream, and it counts as standard output.
        shipway_runtime::AttachOptions { stdin: self.stdin, stdout: self.stdout || self.stderr, stderr: self.stderr }
    }
}

/// A client's ends. Output ends when the process does; dropping it detaches.
pub struct Attachment {
    /// One stream without frames.
    pub tty: bool,
    pub output: mpsc::Receiver<OutputFrame>,
    pub input: Option<Input>,
}

/// Where a client writes. Dropping it closes the input where that was asked for.
pub struct Input {
    sender: Mutex<Option<mpsc::Sender<Bytes>>>,
}

impl Input {
    pub(super) fn new(sender: mpsc::Sender<Bytes>) -> Self {
        Self { sender: Mutex::new(Some(sender)) }
    }

    /// Hands bytes to the process's standard input; waits while it is full.
    ///
    /// # Errors
    /// `Conflict` when the input is closed or the process has ended.
    pub async fn write(&self, bytes: Bytes) -> Result<()> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let closed = || Error::Conflict { reason: "standard input is closed".to_owned(), hint: None };
        sender.ok_or_else(closed)?.send(bytes).await.map_err(|_| closed())
    }

    /// The client has no more input.
    pub fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// A client that attached before the start.
pub(super) struct Waiting {
    wish: shipway_runtime::AttachOptions,
    deliver: oneshot::Sender<shipway_runtime::Attachment>,
}

/// Clients waiting for the start.
pub(super) type Lobby = Mutex<Vec<Waiting>>;

/// What the launch must attach for the clients in the lobby, and the clients.
pub(super) fn open_lobby(container: &Container) -> (Option<shipway_runtime::AttachOptions>, Vec<Waiting>) {
    let mut waiting = std::mem::take(&mut *container.lobby.lock().unwrap_or_else(PoisonError::into_inner));
    // One that left must not take the standard input of those who stayed.
    waiting.retain(|client| !client.deliver.is_closed());
    let wish = waiting.iter().map(|client| client.wish).reduce(|one, other| shipway_runtime::AttachOptions {
        stdin: one.stdin || other.stdin,
        stdout: one.stdout || other.stdout,
        stderr: one.stderr || other.stderr,
    });
    (wish, waiting)
}

/// Lets the waiting clients in: one gets the attachment itself, several share it.
pub(super) fn let_in(attachment: shipway_runtime::Attachment, mut waiting: Vec<Waiting>) {
    if waiting.len() == 1 {
        if let Some(client) = waiting.pop() {
            // The client may have left meanwhile.
            let _ = client.deliver.send(attachment);
        }
        return;
    }
    let shipway_runtime::Attachment { mut output, input } = attachment;
    let mut outputs = Vec::with_capacity(waiting.len());
    for client in waiting {
        let (sender, receiver) = mpsc::channel(FRAMES);
        // Whoever types is heard; the input ends when the last of them is done.
        let own_input = if client.wish.stdin { input.clone() } else { None };
        if client.deliver.send(shipway_runtime::Attachment { output: receiver, input: own_input }).is_ok() {
            outputs.push(sender);
        }
    }
    tokio::spawn(async move {
        while let Some(frame) = output.recv().await {
            for sender in &outputs {
                let _ = sender.send(frame.clone()).await;
            }
        }
    });
}

impl Engine {
    /// Attaches to the container `name`: at once when it runs, else as soon as it starts.
    pub async fn attach(&self, name: &str, options: AttachOptions) -> Result<Attachment> {
        let container = self.container(name)?;
        let record = container.record();
        if matches!(record.state, ContainerState::Paused { .. }) {
            return Err(Error::Conflict {
                reason: format!("container {} is paused, unpause the container before attach", record.id),
                hint: None,
            });
        }
        let tty = record.spec.tty;
        let (sender, output) = mpsc::channel(FRAMES);
        let past = if options.logs {
            let wanted = LogOptions { stdout: options.stdout || tty, stderr: options.stderr, ..LogOptions::default() };
            Some(self.logs(name, wanted).await?)
        } else {
            None
        };
        let (input, live) = if options.stream { self.live_streams(&container, options).await? } else { (None, None) };
        let client = sender.clone();
        let carry = async move {
            let filter = Filter { tty, options, sender };
            if let Some(mut past) = past {
                while let Some(line) = past.lines.recv().await {
                    if !filter.pass(OutputFrame { stream: line.stream, bytes: line.bytes }).await {
                        return;
                    }
                }
            }
            let Some(live) = live else { return };
            // Nobody delivers when the start failed or the container was removed.
            let Ok(mut frames) = live.await else { return };
            while let Some(frame) = frames.recv().await {
                if !filter.pass(frame).await {
                    return;
                }
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                () = carry => {}
                // The client left: a silent process would not tell us (S-122).
                () = client.closed() => {}
            }
        });
        self.publish_container(&container, "attach", std::collections::BTreeMap::new());
        Ok(Attachment { tty, output, input })
    }

    /// The live ends: of the running process, or of the one that will start.
    async fn live_streams(
        &self,
        container: &Arc<Container>,
        options: AttachOptions,
    ) -> Result<(Option<Input>, Option<oneshot::Receiver<mpsc::Receiver<OutputFrame>>>)> {
        let (mut deliver_output, live) = oneshot::channel();
        if let Some(handle) = container.handle() {
            let doing = format!("attach to container {}", container.name());
            let attached = handle.attach(options.wish()).await.map_err(|error| Error::internal(format!("{doing}: {error}")))?;
            let _ = deliver_output.send(attached.output);
            return Ok((attached.input.map(Input::new), Some(live)));
        }
        let (deliver, delivered) = oneshot::channel();
        let mut lobby = container.lobby.lock().unwrap_or_else(PoisonError::into_inner);
        lobby.retain(|client| !client.deliver.is_closed());
        lobby.push(Waiting { wish: options.wish(), deliver });
        drop(lobby);
        let (early, mut typed) = mpsc::channel::<Bytes>(FRAMES);
        tokio::spawn(async move {
            let delivered = tokio::select! {
                delivered = delivered => delivered,
                // The client left; so does its place in the lobby.
                () = deliver_output.closed() => return,
            };
            let Ok(attached) = delivered else { return };
            let _ = deliver_output.send(attached.output);
            let Some(input) = attached.input else { return };
            while let Some(bytes) = typed.recv().await {
                if input.send(bytes).await.is_err() {
                    return;
                }
            }
        });
        Ok((options.stdin.then(|| Input::new(early)), Some(live)))
    }
}

/// Passes on what one client wants to see.
struct Filter {
    tty: bool,
    options: AttachOptions,
    sender: mpsc::Sender<OutputFrame>,
}

impl Filter {
    /// False when the client left.
    async fn pass(&self, frame: OutputFrame) -> bool {
        let wanted = self.tty || if frame.stream == StreamKind::Stderr { self.options.stderr } else { self.options.stdout };
        !wanted || self.sender.send(frame).await.is_ok()
    }
}
