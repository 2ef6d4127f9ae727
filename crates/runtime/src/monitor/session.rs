//! One running program and its standard handles, seen from our side.
//!
//! What must stay true: every handle here is non-blocking; input waiting to be written is bounded by whoever feeds it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Pid;
use shipway_sys::{Error, pty};

use super::log::Log;
use crate::message::Ended;

/// One read from a pipe or terminal.
const CHUNK: usize = 64 << 10;

/// Our side of a program.
#[derive(Default)]
pub(super) struct Session {
    /// Id of a later program; `None` for the first one.
    pub(super) exec: Option<String>,
    pub(super) pid: Option<Pid>,
    /// The controlling end, which is then also input and output.
    pub(super) terminal: Option<OwnedFd>,
    pub(super) input: Option<OwnedFd>,
    pub(super) waiting_input: VecDeque<u8>,
    /// Close the input once everything waiting is written.
    pub(super) end_input: bool,
    /// Close the input when the client that feeds it leaves.
    pub(super) input_once: bool,
    /// Standard output and error.
    pub(super) outputs: [Option<OwnedFd>; 2],
    pub(super) log: Option<Log>,
    pub(super) ended: Option<Ended>,
    /// Kill its group when its client goes away.
    pub(super) tied: bool,
    /// Where a program that is just starting would say why it cannot.
    pub(super) starting: Option<OwnedFd>,
}

/// The program's side: 0, 1, 2.
pub(super) type Theirs = Vec<OwnedFd>;

impl Session {
    /// Makes the handles of a program: a terminal of `size` in `devpts`, or pipes. Given to `owner`, so that /dev/stdout can be opened again inside.
    pub(super) fn open(size: Option<(u16, u16)>, open_input: bool, devpts: BorrowedFd<'_>, owner: u32) -> Result<(Self, Theirs), Error> {
        match size {
            Some(size) => Self::open_terminal(size, devpts, owner),
            None => Self::open_pipes(open_input, owner),
        }
    }

    fn open_terminal((rows, columns): (u16, u16), devpts: BorrowedFd<'_>, owner: u32) -> Result<(Self, Theirs), Error> {
        let terminal = pty::open_in(devpts)?;
        pty::set_size(terminal.master.as_fd(), rows, columns)?;
        give(&terminal.slave, owner);
        never_block(&terminal.master)?;
        let theirs = vec![duplicate(&terminal.slave)?, duplicate(&terminal.slave)?, terminal.slave];
        Ok((Self { terminal: Some(terminal.master), ..Self::default() }, theirs))
    }

    fn open_pipes(open_input: bool, owner: u32) -> Result<(Self, Theirs), Error> {
        let (input, their_input) = if open_input {
            let (read, write) = pipe()?;
            give(&read, owner);
            never_block(&write)?;
            (Some(write), read)
        } else {
            let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
            (None, null.map_err(|errno| Error::new("open(\"/dev/null\")", errno))?)
        };
        let mut ours = Vec::new();
        let mut theirs = vec![their_input];
        for _ in 0..2 {
            let (read, write) = pipe()?;
            give(&write, owner);
            never_block(&read)?;
            ours.push(read);
            theirs.push(write);
        }
        let error = ours.pop();
        Ok((Self { input, outputs: [ours.pop(), error], ..Self::default() }, theirs))
    }

    /// The handles output comes from: stream number (0, 1) and handle.
    pub(super) fn sources(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let plain = self.outputs.iter().enumerate().filter_map(|(stream, handle)| Some((stream, handle.as_ref()?.as_fd())));
        plain.chain(self.terminal.iter().map(|terminal| (0, terminal.as_fd())))
    }

    /// The handle input goes to.
    pub(super) fn sink(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().or(self.input.as_ref()).map(AsFd::as_fd)
    }

    /// Reads once from `stream`. `None` when nothing is there; at the end the handle is closed.
    pub(super) fn read(&mut self, stream: usize) -> Option<Vec<u8>> {
        let handle = if stream == 0 && self.terminal.is_some() { &mut self.terminal } else { &mut self.outputs[stream] };
        let mut bytes = vec![0; CHUNK];
        match rustix::io::read(handle.as_ref()?, &mut bytes) {
            Ok(0) => *handle = None,
            Ok(length) => {
                bytes.truncate(length);
                return Some(bytes);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A terminal whose last user has gone answers EIO.
            Err(_) => *handle = None,
        }
        None
    }

    /// Writes waiting input as far as the program takes it.
    pub(super) fn feed(&mut self) {
        while !self.waiting_input.is_empty() {
            let Some(sink) = self.sink() else {
                self.waiting_input.clear();
                return;
            };
            let (front, _) = self.waiting_input.as_slices();
            match rustix::io::write(sink, front) {
                Ok(length) => drop(self.waiting_input.drain(..length)),
                Err(Errno::AGAIN | Errno::INTR) => return,
                // The program has closed its input: what was meant for it goes nowhere, as in a shell's pipe.
                Err(_) => {
                    self.waiting_input.clear();
                    self.input = None;
                }
            }
        }
        if self.end_input {
            self.input = None;
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Error::new("pipe2()", errno))
}

fn duplicate(handle: &OwnedFd) -> Result<OwnedFd, Error> {
    rustix::io::fcntl_dupfd_cloexec(handle, 3).map_err(|errno| Error::new("dup()", errno))
}

/// Only our end: the flag belongs to the open file, and the two ends of a pipe are two.
fn never_block(handle: &OwnedFd) -> Result<(), Error> {
    rustix::io::ioctl_fionbio(handle, true).map_err(|errno| Error::new("ioctl(FIONBIO)", errno))
}

fn give(handle: &OwnedFd, owner: u32) {
    if owner != 0 {
        // Fails for a user id outside our user namespace; then /dev/stdout cannot be re-opened inside, nothing else.
        let _ = rustix::fs::fchown(handle, Some(rustix::fs::Uid::from_raw(owner)), None);
    }
}
