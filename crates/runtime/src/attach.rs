//! The daemon's side of the service line: connecting, attaching, asking.
//!
//! What must stay true: every line has one reading and one writing task, which end when either side leaves; a slow consumer slows the line down, not
//! the daemon.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::message::{Answer, AttachWish, LONGEST_FRAME, Request, frame, json_frame, tag};
use crate::monitor::SOCKET;

/// Frames kept for a consumer that is behind.
const FRAMES_AHEAD: usize = 64;

/// Which stream a piece of output belongs to. A terminal's output is all standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFrame {
    /// Where it was written.
    pub stream: StreamKind,
    /// What.
    pub bytes: Bytes,
}

/// What to attach to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachOptions {
    /// Feed the input.
    pub stdin: bool,
    /// Receive standard output.
    pub stdout: bool,
    /// Receive standard error.
    pub stderr: bool,
}

impl AttachOptions {
    /// Both outputs, no input.
    pub const OUTPUT: Self = Self { stdin: false, stdout: true, stderr: true };
    /// Everything.
    pub const ALL: Self = Self { stdin: true, stdout: true, stderr: true };
    /// Nothing: run detached.
    pub const NONE: Self = Self { stdin: false, stdout: false, stderr: false };
}

impl From<AttachOptions> for AttachWish {
    fn from(options: AttachOptions) -> Self {
        AttachWish { stdin: options.stdin, stdout: options.stdout, stderr: options.stderr }
    }
}

/// Being attached.
#[derive(Debug)]
pub struct Attachment {
    /// Output as it comes; `None` when the program has ended and everything was received. Must be received or dropped: the program is slowed down
    /// to this consumer, and after ten seconds of standstill with 4 MiB waiting the attachment is cut.
    pub output: mpsc::Receiver<OutputFrame>,
    /// Input; dropping every sender ends it (which closes the program's input where that was asked for).
    pub input: Option<mpsc::Sender<Bytes>>,
}

/// A line in use.
pub(crate) struct Line {
    pub(crate) attachment: Attachment,
    pub(crate) answers: mpsc::Receiver<Answer>,
}

/// The name of `name` in the folder behind `folder`, short enough for a socket address wherever the folder lies.
pub(crate) fn short_path(folder: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

/// Connects to the monitor whose folder this is.
pub(crate) async fn connect(state_dir: &Path) -> std::io::Result<UnixStream> {
    let folder = File::open(state_dir)?;
    UnixStream::connect(short_path(&folder, SOCKET)).await
}

/// Sends one request and starts the two tasks of the line.
pub(crate) async fn request(state_dir: &Path, request: &Request, feeds_input: bool) -> Result<Line, Error> {
    let mut stream = connect(state_dir).await.map_err(|_| Error::NotRunning)?;
    stream.write_all(&json_frame(request)).await.map_err(|_| Error::NotRunning)?;
    Ok(line(stream, feeds_input))
}

/// Sends one request and waits for its one answer.
pub(crate) async fn ask(state_dir: &Path, request_: &Request) -> Result<Answer, Error> {
    let mut line = request(state_dir, request_, false).await?;
    line.answers.recv().await.ok_or(Error::NotRunning)
}

/// Starts the two tasks of a line.
pub(crate) fn line(stream: UnixStream, feeds_input: bool) -> Line {
    let (read, write) = stream.into_split();
    let (output_sender, output) = mpsc::channel(FRAMES_AHEAD);
    let (answer_sender, answers) = mpsc::channel(4);
    let input = if feeds_input {
        let (sender, receiver) = mpsc::channel(FRAMES_AHEAD);
        tokio::spawn(write_line(write, receiver));
        tokio::spawn(read_line(read, None, output_sender, answer_sender));
        Some(sender)
    } else {
        // The writing half stays open with the reading one, or the monitor would take the line for abandoned.
        tokio::spawn(read_line(read, Some(write), output_sender, answer_sender));
        None
    };
    Line { attachment: Attachment { output, input }, answers }
}

async fn write_line(mut write: OwnedWriteHalf, mut input: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = input.recv().await {
        let mut out = Vec::with_capacity(bytes.len() + 5);
        frame(tag::DATA, &bytes, &mut out);
        if write.write_all(&out).await.is_err() {
            return;
        }
    }
    let mut out = Vec::new();
    frame(tag::OTHER, &[], &mut out);
    // A monitor that has left needs no farewell.
    let _ = write.write_all(&out).await;
    let _ = write.shutdown().await;
}

async fn read_line(
    mut read: OwnedReadHalf,
    _write: Option<OwnedWriteHalf>,
    output: mpsc::Sender<OutputFrame>,
    answers: mpsc::Sender<Answer>,
) {
    let mut buffer = BytesMut::with_capacity(16 << 10);
    loop {
        while let Some((tag, bytes)) = match next_frame(&mut buffer) {
            Ok(frame) => frame,
            Err(()) => return,
        } {
            match tag {
                tag::DATA | tag::OTHER => {
                    let stream = if tag == tag::DATA { StreamKind::Stdout } else { StreamKind::Stderr };
                    // A consumer that is no longer interested in output may still wait for answers.
                    let _ = output.send(OutputFrame { stream, bytes }).await;
                }
                _ => {
                    if let Ok(answer) = serde_json::from_slice(&bytes) {
                        let _ = answers.send(answer).await;
                    }
                }
            }
        }
        let abandoned = async {
            output.closed().await;
            answers.closed().await;
        };
        tokio::select! {
            outcome = read.read_buf(&mut buffer) => match outcome {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            },
            // Both consumers left while the process is silent: without this the line would stay open until it speaks (S-122).
            () = abandoned => return,
        }
    }
}

fn next_frame(buffer: &mut BytesMut) -> Result<Option<(u8, Bytes)>, ()> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length == 0 || length > LONGEST_FRAME {
        return Err(());
    }
    if buffer.len() < 4 + length {
        buffer.reserve(4 + length - buffer.len());
        return Ok(None);
    }
    let mut whole = buffer.split_to(4 + length).freeze();
    let tag = whole[4];
    Ok(Some((tag, whole.split_off(5))))
}
