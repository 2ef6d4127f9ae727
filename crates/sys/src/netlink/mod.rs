//! Netlink: several requests in one datagram, answered before `sendmsg` returns; links, addresses and routes; nftables batches; connection tracking.
//!
//! What must stay true: lengths and paddings are written by `Request` alone; nothing here waits for the kernel (it answers within the call), except
//! a socket that listens for news; replies are read as foreign bytes, no length in them is trusted.

pub mod conntrack;
pub mod link;
pub mod nft;
pub mod route;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::Error;

#[cfg(test)]
mod tests;

/// linux/netlink.h.
pub(crate) const REQUEST: u16 = 0x1;
pub(crate) const ACK: u16 = 0x4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;
const NOOP: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
/// A nested attribute.
pub(crate) const NESTED: u16 = 0x8000;
/// Largest datagram the kernel makes for a dump (it follows the buffer we offer, up to 32 KiB).
const REPLY_BYTES: usize = 32 << 10;

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes.
    Route,
    /// nftables and connection tracking.
    Netfilter,
}

/// Requests that travel in one datagram.
#[derive(Debug, Default)]
pub struct Request {
    bytes: Vec<u8>,
    /// Where each message starts, and what it does, for errors.
    messages: Vec<(usize, &'static str)>,
}

impl Request {
    /// No requests yet.
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(512), messages: Vec::with_capacity(8) }
    }

    /// True when nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Starts a message; `head` is the fixed part after the header. Everything added until the next `message` belongs to it.
    pub(crate) fn message(&mut self, doing: &'static str, kind: u16, flags: u16, head: &[u8]) {
        self.close();
        let start = self.bytes.len();
        let sequence = self.messages.len() as u32 + 1;
        self.messages.push((start, doing));
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.raw(head);
    }

    /// Bytes of the last message's length field.
    fn close(&mut self) {
        if let Some((start, _)) = self.messages.last() {
            let length = (self.bytes.len() - start) as u32;
            self.bytes[*start..*start + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value);
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.bytes.extend_from_slice(&(value.len() as u16 + 5).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.raw(&[0]);
    }

    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// A number in network order, as nfnetlink has them.
    pub(crate) fn big(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// An attribute that holds what `fill` adds.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn finished(&mut self) -> &[u8] {
        self.close();
        &self.bytes
    }

    fn doing(&self, sequence: u32) -> &'static str {
        let index = (sequence as usize).wrapping_sub(1);
        self.messages.get(index).map_or("request", |(_, doing)| doing)
    }
}

/// A netlink socket. It belongs to the network namespace of the thread that opened it, whichever thread uses it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    port: u32,
}

impl Socket {
    /// A socket in the calling thread's network namespace.
    pub fn open(family: Family) -> Result<Self, Error> {
        Self::listening(family, 0)
    }

    /// One that also hears the multicast groups of the bit set `groups`.
    pub fn listening(family: Family, groups: u32) -> Result<Self, Error> {
        let (name, protocol) = match family {
            Family::Route => ("NETLINK_ROUTE", None),
            Family::Netfilter => ("NETLINK_NETFILTER", Some(rustix::net::netlink::NETFILTER)),
        };
        let call = |errno| Error::new(format!("socket({name})"), errno);
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol).map_err(call)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups)).map_err(call)?;
        // Words beside the number, and errors without a copy of the request. Old kernels lack them, and nothing depends on them.
        set_option(fd.as_fd(), libc::NETLINK_EXT_ACK);
        set_option(fd.as_fd(), libc::NETLINK_CAP_ACK);
        let address = rustix::net::getsockname(&fd).map_err(call)?;
        let port = SocketAddrNetlink::try_from(address).map_err(call)?.pid();
        Ok(Self { fd, port })
    }

    /// A socket of this family in the namespace behind `namespace`; the calling thread goes there and comes back.
    ///
    /// # Cost
    /// 20-30 microseconds.
    pub fn open_in(family: Family, namespace: BorrowedFd<'_>) -> Result<Self, Error> {
        crate::namespace::visit_network(namespace, || Self::open(family))?
    }

    /// The number by which the kernel names this socket as the author of a change.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Lets one datagram be as long as `bytes`.
    pub fn allow_datagram(&self, bytes: usize) {
        let wanted = i32::try_from(bytes).unwrap_or(i32::MAX);
        // SAFETY: setsockopt(2) reads one integer that lives on this stack. A refusal shows when a datagram is too long.
        unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_SNDBUFFORCE,
                (&raw const wanted).cast(),
                size_of::<i32>() as u32,
            );
        }
    }

    /// Lets this many bytes of news wait to be read.
    pub fn allow_backlog(&self, bytes: usize) {
        let wanted = i32::try_from(bytes).unwrap_or(i32::MAX);
        // SAFETY: as above. A refusal only makes a lost piece of news (`ENOBUFS`) likelier, which listeners must bear anyway.
        unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                (&raw const wanted).cast(),
                size_of::<i32>() as u32,
            );
        }
    }

    /// Does everything in `request`, in order; later messages run although an earlier one failed.
    ///
    /// # Errors
    /// The first failure, with the kernel's own words where it has some.
    pub fn perform(&self, mut request: Request) -> Result<(), Error> {
        if request.is_empty() {
            return Ok(());
        }
        for index in 0..request.messages.len() {
            let flags = request.messages[index].0 + 6;
            request.bytes[flags] |= ACK as u8;
        }
        self.send(&mut request)?;
        let mut outcome = Ok(());
        let mut missing = request.messages.len();
        while missing > 0 {
            let mut buffer = [0u8; 4096];
            let length = self.receive(&mut buffer)?;
            for message in Messages(&buffer[..length]) {
                if message.kind == ERROR {
                    missing = missing.saturating_sub(1);
                    if let (Err(error), true) = (message.failure(&request), outcome.is_ok()) {
                        outcome = Err(error);
                    }
                }
            }
        }
        outcome
    }

    /// Sends an nfnetlink batch: all of it takes effect, or nothing.
    ///
    /// # Errors
    /// The first failure. The kernel has answered when the send returns, so silence is success.
    pub(crate) fn perform_batch(&self, request: &mut Request) -> Result<(), Error> {
        self.send(request)?;
        let mut outcome = Ok(());
        loop {
            let mut buffer = [0u8; 4096];
            let length = match rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return outcome,
                Err(Errno::INTR) => continue,
                // More errors than fit: the batch failed, and the first one was read before.
                Err(Errno::NOBUFS) if outcome.is_err() => return outcome,
                Err(errno) => return Err(Error::new("recv(netlink)", errno)),
            };
            for message in Messages(&buffer[..length]) {
                if let (ERROR, true, Err(error)) = (message.kind, outcome.is_ok(), message.failure(request)) {
                    outcome = Err(error);
                }
            }
        }
    }

    /// Asks one question whose answer is a list; `take` gets each entry's kind and bytes.
    pub(crate) fn dump(&self, mut request: Request, mut take: impl FnMut(u16, &[u8])) -> Result<(), Error> {
        self.send(&mut request)?;
        let mut buffer = vec![0u8; REPLY_BYTES];
        loop {
            let length = self.receive(&mut buffer)?;
            for message in Messages(&buffer[..length]) {
                match message.kind {
                    DONE => return Ok(()),
                    ERROR => return message.failure(&request),
                    NOOP => {}
                    kind => take(kind, message.body),
                }
            }
        }
    }

    /// Reads the next piece of news; `take` gets each message's kind, author and bytes.
    ///
    /// # Errors
    /// `ENOBUFS` when news were lost.
    pub(crate) fn news(&self, mut take: impl FnMut(u16, u32, &[u8])) -> Result<(), Error> {
        let mut buffer = vec![0u8; REPLY_BYTES];
        let length = self.receive(&mut buffer)?;
        for message in Messages(&buffer[..length]) {
            take(message.kind, message.port, message.body);
        }
        Ok(())
    }

    fn send(&self, request: &mut Request) -> Result<(), Error> {
        let doing = request.doing(1);
        let bytes = request.finished();
        loop {
            match rustix::net::send(&self.fd, bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::new(format!("send({} bytes to netlink: {doing})", bytes.len()), errno)),
            }
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((length, _)) => return Ok(length),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::new("recv(netlink)", errno)),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn set_option(fd: BorrowedFd<'_>, option: i32) {
    let on: i32 = 1;
    // SAFETY: setsockopt(2) reads one integer that lives on this stack, from a descriptor that the borrow keeps open.
    unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), size_of::<i32>() as u32);
    }
}

/// One message of a reply.
struct Reply<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    body: &'a [u8],
}

impl Reply<'_> {
    /// What an error message says; number 0 is an acknowledgement.
    fn failure(&self, request: &Request) -> Result<(), Error> {
        let number = self.body.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        if number == 0 {
            return Ok(());
        }
        let error = Error::new(format!("netlink: {}", request.doing(self.sequence)), Errno::from_raw_os_error(-number));
        // NLM_F_ACK_TLVS: after the number and the request's header come attributes; 1 is a text.
        if self.flags & 0x200 == 0 {
            return Err(error);
        }
        let words = self.body.get(4 + HEADER..).and_then(|rest| Attributes(rest).find(|(kind, _)| *kind == 1));
        Err(match words {
            Some((_, text)) => error.with_detail(text_of(text)),
            None => error,
        })
    }
}

/// Walks the messages of a datagram; stops at the first that does not fit.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Reply<'a>;

    fn next(&mut self) -> Option<Reply<'a>> {
        let head = self.0.first_chunk::<HEADER>()?;
        let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let half = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        let length = word(0) as usize;
        let body = self.0.get(HEADER..length)?;
        let reply = Reply { kind: half(4), flags: half(6), sequence: word(8), port: word(12), body };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(reply)
    }
}

/// Walks attributes: kind (without flag bits) and value.
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let head = self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The first attribute of a kind.
pub(crate) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    Attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// A text attribute without its closing zero.
pub(crate) fn text_of(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

pub(crate) fn number_of(value: &[u8]) -> Option<u32> {
    value.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))
}
