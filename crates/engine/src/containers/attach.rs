//! `attach`: a client's ends of a process's standard streams.

use bytes::Bytes;
use shipway_runtime::{InputHandle, OutputFrame};
use tokio::sync::mpsc;

use super::kill::not_running;
use super::{ContainerState, LogOptions};
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

/// A client's ends. Output ends when the process does; dropping it detaches.
pub struct Attachment {
    /// One stream without frames.
    pub tty: bool,
    pub output: mpsc::Receiver<OutputFrame>,
    pub input: Option<Input>,
}

/// Where a client writes.
pub struct Input {
    pub(super) handle: InputHandle,
}

impl Input {
    /// Hands bytes to the process's standard input; waits while it is full.
    pub async fn write(&self, bytes: Bytes) -> Result<()> {
        self.handle.write(bytes).await.map_err(|source| Error::Runtime { doing: "write to standard input".to_owned(), source })
    }

    /// The client has no more input.
    pub async fn close(&self) {
        self.handle.close().await;
    }
}

impl Engine {
    /// Attaches to the container `name`: at once when it runs, else as soon as it starts.
    pub async fn attach(&self, name: &str, options: AttachOptions) -> Result<Attachment> {
        let container = self.container(name)?;
        let record = container.record();
        if matches!(record.state, ContainerState::Paused { .. }) {
            return Err(Error::Conflict { reason: format!("container {} is paused, unpause the container before attach", record.id), hint: None });
        }
        let tty = record.spec.tty;
        let (sender, output) = mpsc::channel(FRAMES);
        if options.logs {
            let wanted = LogOptions { stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
            let mut past = self.logs(name, wanted).await?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Some(line) = past.lines.recv().await {
                    if sender.send(OutputFrame { stream: line.stream, bytes: line.bytes }).await.is_err() {
                        return;
                    }
                }
            });
        }
        if !options.stream {
            return Ok(Attachment { tty, output, input: None });
        }
        let attached = match container.handle() {
            Some(handle) => handle.attach(options.stdin).await.map_err(|source| Error::Runtime { doing: format!("attach to container {}", record.name), source })?,
            // The docker client attaches before it starts: the runtime keeps the wish until the launch.
            None if matches!(record.state, ContainerState::Created { .. } | ContainerState::Exited { .. }) => self.inner.runtime.attach_next(record.id, options.stdin),
            None => return Err(not_running(&container, "attach")),
        };
        let input = attached.input.filter(|_| options.stdin).map(|handle| Input { handle });
        let mut frames = attached.output;
        tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                let wanted = tty || if frame.stream.is_stderr() { options.stderr } else { options.stdout };
                if wanted && sender.send(frame).await.is_err() {
                    return;
                }
            }
        });
        Ok(Attachment { tty, output, input })
    }
}
