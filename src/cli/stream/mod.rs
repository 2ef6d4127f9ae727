//! Two-way streams with a container or an exec: what is typed goes in, what it prints comes out.
//!
//! What must stay true: output is written in the order it arrives; the end of input is passed on (half-close) and does not end the output; the
//! detach keys leave the container alone.

mod detach;
mod input;
pub(crate) mod signals;

pub(crate) use detach::DetachKeys;

use super::client::{Answer, Upgraded, broken};
use super::exit::{Failure, Outcome};
use super::output;
use super::terminal::RawMode;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use shipway_wire::stream::{Channel, FrameDecoder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// How a stream is to be carried.
pub(crate) struct Relay {
    /// Standard input is passed on.
    pub(crate) input: bool,
    /// The other side has a terminal: bytes are raw, keys are ours to watch.
    pub(crate) terminal: bool,
    /// Keys that detach.
    pub(crate) detach: DetachKeys,
    /// Which outputs to show.
    pub(crate) output: bool,
    pub(crate) errors: bool,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The other side is done.
    Finished,
    /// The detach keys were pressed.
    Detached,
}

impl Relay {
    /// Carries bytes both ways until the other side ends or the person detaches.
    pub(crate) async fn carry(mut self, upgraded: Upgraded) -> Outcome<Ended> {
        let _raw = if self.input && self.terminal { RawMode::enter() } else { None };
        // Content types differ between versions of the API; that a terminal is never framed and everything else is, does not.
        let mut printer = Printer::new(!self.terminal, self.output, self.errors);
        printer.print(&upgraded.already_read)?;
        let (mut from, mut to) = tokio::io::split(upgraded.wire);
        let mut keys = self.input.then(input::keys);
        let mut buffer = vec![0; 32 * 1024];
        loop {
            tokio::select! {
                read = from.read(&mut buffer) => match read {
                    Ok(0) => return Ok(Ended::Finished),
                    Ok(length) => printer.print(&buffer[..length])?,
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(Ended::Finished),
                    Err(error) => return Err(Failure::new(format!("the connection to the daemon broke: {error}"))),
                },
                typed = next(&mut keys) => match typed {
                    Some(typed) => {
                        let (pass, detached) = if self.terminal { self.detach.filter(&typed) } else { (typed, false) };
                        // A process that closed its input makes this fail; its output still counts.
                        if !pass.is_empty() && to.write_all(&pass).await.is_err() {
                            keys = None;
                        }
                        if detached {
                            return Ok(Ended::Detached);
                        }
                    }
                    None => {
                        keys = None;
                        let _ = to.shutdown().await;
                    }
                },
            }
        }
    }
}

async fn next(keys: &mut Option<tokio::sync::mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match keys {
        Some(keys) => keys.recv().await,
        None => std::future::pending().await,
    }
}

/// Prints an answer's body as it arrives; without a terminal it is made of frames.
pub(crate) async fn print_body(answer: Answer, terminal: bool) -> Outcome {
    let mut printer = Printer::new(!terminal, true, true);
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(broken)?.into_data() {
            printer.print(&piece)?;
        }
    }
    Ok(())
}

/// Sorts bytes onto standard output and standard error.
struct Printer {
    decoder: Option<FrameDecoder>,
    output: bool,
    errors: bool,
}

impl Printer {
    fn new(framed: bool, output: bool, errors: bool) -> Self {
        Self { decoder: framed.then(FrameDecoder::new), output, errors }
    }

    fn print(&mut self, bytes: &[u8]) -> Outcome {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some(decoder) = &mut self.decoder else { return output::bytes(bytes) };
        let (mut result, mut refused) = (Ok(()), None);
        let (output, errors) = (self.output, self.errors);
        let decoded = decoder.feed(bytes, |channel, piece| {
            let written = match channel {
                Channel::Error if errors => output::error_bytes(piece),
                Channel::System => {
                    refused = Some(String::from_utf8_lossy(piece).into_owned());
                    Ok(())
                }
                Channel::Output | Channel::Input if output => output::bytes(piece),
                _ => Ok(()),
            };
            if result.is_ok() {
                result = written;
            }
        });
        decoded.map_err(|error| Failure::new(format!("cannot understand the daemon's stream: {error}")))?;
        if let Some(message) = refused {
            return Err(Failure::new(format!("error from daemon in stream: {message}")));
        }
        result
    }
}
