//! One client on the service line.
//!
//! What must stay true: nothing is ever waited for; what a client has not taken yet is bounded by `FULL`, after which its program's output is read no
//! more until the client catches up, or is dropped for standing still too long.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::Serialize;

use crate::message::{AttachWish, frame, json_frame, take_frame};

/// Bytes kept for a client that is behind.
pub(super) const FULL: usize = 4 << 20;
/// How long a full client may take nothing at all before it is dropped, so that the container goes on.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What a client is here for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Has not said yet.
    New,
    /// Frames of this session.
    Attached { session: u32, wish: AttachWish },
    /// Wants to hear of the end of the first program.
    Waiting,
    /// Has been answered.
    Done,
}

/// One client.
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pub(super) role: Role,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    sent: usize,
    progress: Instant,
    /// Has said all it will say.
    pub(super) finished_reading: bool,
    /// Is to be closed once the outbox is empty.
    pub(super) closing: bool,
    pub(super) broken: bool,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, role: Role) -> Self {
        // A blocking socket would let one client stop everything.
        let _ = rustix::io::ioctl_fionbio(&socket, true);
        let progress = Instant::now();
        Self {
            socket,
            role,
            inbox: Vec::new(),
            outbox: Vec::new(),
            sent: 0,
            progress,
            finished_reading: false,
            closing: false,
            broken: false,
        }
    }

    pub(super) fn has_output(&self) -> bool {
        self.sent < self.outbox.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.outbox.len() - self.sent >= FULL
    }

    pub(super) fn stands_still(&self) -> bool {
        self.is_full() && self.progress.elapsed() > PATIENCE
    }

    pub(super) fn is_over(&self) -> bool {
        self.broken || (self.closing && !self.has_output())
    }

    /// Queues a JSON answer and tries to send it.
    pub(super) fn answer(&mut self, value: &impl Serialize) {
        self.queue(&json_frame(value));
    }

    /// Queues a piece of output and tries to send it.
    pub(super) fn pass(&mut self, tag: u8, bytes: &[u8]) {
        let mut whole = Vec::with_capacity(bytes.len() + 5);
        frame(tag, bytes, &mut whole);
        self.queue(&whole);
    }

    fn queue(&mut self, bytes: &[u8]) {
        if !self.has_output() {
            self.progress = Instant::now();
        }
        self.outbox.extend_from_slice(bytes);
        self.send();
    }

    /// Sends what the client takes.
    pub(super) fn send(&mut self) {
        while self.has_output() {
            match rustix::net::send(&self.socket, &self.outbox[self.sent..], rustix::net::SendFlags::NOSIGNAL) {
                Ok(length) => {
                    self.sent += length;
                    self.progress = Instant::now();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
        if !self.has_output() {
            self.outbox.clear();
            self.sent = 0;
        } else if self.sent > FULL {
            self.outbox.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Reads what the client has sent and returns the whole frames.
    pub(super) fn receive(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut buffer = vec![0; 64 << 10];
        match rustix::io::read(&self.socket, &mut buffer) {
            Ok(0) => self.finished_reading = true,
            Ok(length) => self.inbox.extend_from_slice(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.broken = true,
        }
        let mut frames = Vec::new();
        loop {
            match take_frame(&mut self.inbox) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return frames,
                Err(()) => {
                    self.broken = true;
                    return frames;
                }
            }
        }
    }
}
