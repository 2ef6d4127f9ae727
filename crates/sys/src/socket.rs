//! Unix sockets that keep message borders and carry handles.
//!
//! What must stay true: a message arrives whole with all its handles or not at all; received handles are close-on-exec from the first moment.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType,
};

use crate::Error;

/// The kernel's bound on handles in one message (SCM_MAX_FD).
pub const MAX_HANDLES: usize = 253;
/// Longest text sent in the message itself; longer ones travel in a memory file. Far below the smallest default socket buffer.
pub const MAX_INLINE: usize = 64 << 10;

/// Two connected ends.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Error> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|errno| Error::new("socketpair(SOCK_SEQPACKET)", errno))
}

/// Two connected ends of a byte stream.
pub fn stream_pair() -> Result<(OwnedFd, OwnedFd), Error> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| Error::new("socketpair(SOCK_STREAM)", errno))
}

/// A received message.
#[derive(Debug, Default)]
pub struct Message {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its handles, in the order they were sent.
    pub handles: Vec<OwnedFd>,
}

/// Sends one message. Texts above [`MAX_INLINE`] go through a sealed memory file; the receiver does not see the difference.
///
/// # Errors
/// `E2BIG` for more than [`MAX_HANDLES`] - 1 handles; `EPIPE` when the other end is gone.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], handles: &[BorrowedFd<'_>]) -> Result<(), Error> {
    if handles.len() >= MAX_HANDLES {
        return Err(Error::new(format!("sendmsg({} handles)", handles.len()), Errno::TOOBIG));
    }
    if bytes.len() <= MAX_INLINE {
        return send_marked(socket, 0, bytes, handles);
    }
    let file = crate::fd::memfd_sealed("message", bytes)?;
    let mut all = vec![file.as_fd()];
    all.extend_from_slice(handles);
    send_marked(socket, 1, &[], &all)
}

fn send_marked(socket: BorrowedFd<'_>, mark: u8, bytes: &[u8], handles: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_HANDLES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !handles.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(handles));
    }
    let mark = [mark];
    let parts = [IoSlice::new(&mark), IoSlice::new(bytes)];
    loop {
        match rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(Error::new(format!("sendmsg({} bytes, {} handles)", bytes.len(), handles.len()), errno)),
        }
    }
}

/// Sends `bytes` and one handle as they are, over any kind of unix socket: for receivers that are not ours.
pub fn send_handle(socket: BorrowedFd<'_>, bytes: &[u8], handle: BorrowedFd<'_>) -> Result<(), Error> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let handles = [handle];
    ancillary.push(SendAncillaryMessage::ScmRights(&handles));
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(Error::new("sendmsg(1 handle)", errno)),
        }
    }
}

/// Receives what [`send_handle`] (or a foreign sender) sent: the bytes, at most 4096, and the first handle.
///
/// # Errors
/// `EPROTO` when no handle came along.
pub fn receive_handle(socket: BorrowedFd<'_>) -> Result<(Vec<u8>, OwnedFd), Error> {
    let mut bytes = vec![0u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_HANDLES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        .map_err(|errno| Error::new("recvmsg()", errno))?;
    bytes.truncate(received.bytes);
    let mut handles = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            handles.extend(received);
        }
    }
    let first = handles.into_iter().next().ok_or_else(|| Error::new("recvmsg() for a handle", Errno::PROTO))?;
    Ok((bytes, first))
}

/// Receives one message; `None` when the other end is gone. A non-blocking socket answers `EAGAIN` when nothing is there.
///
/// # Errors
/// `EMSGSIZE` when it does not fit, which only a foreign sender can cause.
pub fn receive(socket: BorrowedFd<'_>, longest: usize) -> Result<Option<Message>, Error> {
    let Some(length) = length_of_next(socket)? else { return Ok(None) };
    let mut bytes = vec![0u8; length];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_HANDLES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let answer = loop {
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => continue,
            Err(Errno::CONNRESET) => return Ok(None),
            Err(errno) => return Err(Error::new("recvmsg()", errno)),
            Ok(answer) => break answer,
        }
    };
    let mut handles = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            handles.extend(received);
        }
    }
    if answer.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Error::new("recvmsg()", Errno::MSGSIZE));
    }
    if answer.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(answer.bytes);
    if bytes.remove(0) == 1 && !handles.is_empty() {
        bytes = crate::fd::read_all_limited(&rewound(handles.remove(0))?, longest)?;
    }
    Ok(Some(Message { bytes, handles }))
}

/// Length of the message that waits next. Asking is cheaper than a buffer for the longest, whose pages a process just cloned does not have yet.
fn length_of_next(socket: BorrowedFd<'_>) -> Result<Option<usize>, Error> {
    loop {
        match rustix::net::recv(socket, &mut [0u8; 1], RecvFlags::PEEK | RecvFlags::TRUNC) {
            Err(Errno::INTR) => {}
            // A peer that died with unread messages resets a seqpacket; for us that is the same as a farewell.
            Err(Errno::CONNRESET) | Ok((_, 0)) => return Ok(None),
            Ok((_, length)) if length > MAX_INLINE + 1 => return Err(Error::new("recv()", Errno::MSGSIZE)),
            Ok((_, length)) => return Ok(Some(length)),
            Err(errno) => return Err(Error::new("recv()", errno)),
        }
    }
}

fn rewound(file: OwnedFd) -> Result<OwnedFd, Error> {
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).map_err(|errno| Error::new("lseek(message)", errno))?;
    Ok(file)
}

/// What kind of port [`hold_port`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldProtocol {
    Tcp,
    Udp,
    Sctp,
}

/// Takes a port of this host without serving it: a bound socket that listens to nothing. Without an address it takes the port of both families.
///
/// # Errors
/// `EADDRINUSE` when somebody has it, `EADDRNOTAVAIL` when the address is not ours, `EAFNOSUPPORT` or `EPROTONOSUPPORT` when the kernel lacks it.
pub fn hold_port(address: Option<IpAddr>, port: u16, protocol: HeldProtocol) -> Result<OwnedFd, Error> {
    match bind_port(address, port, protocol, false) {
        // A port that only old connections still use looks taken unless reuse is asked for; a listener refuses that too.
        Err(error) if error.errno == Errno::ADDRINUSE && protocol == HeldProtocol::Tcp => {
            bind_port(address, port, protocol, true).map_err(|_| error)
        }
        other => other,
    }
}

fn bind_port(address: Option<IpAddr>, port: u16, protocol: HeldProtocol, reuse: bool) -> Result<OwnedFd, Error> {
    use rustix::net::{ipproto, sockopt};
    let bound = SocketAddr::new(address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), port);
    let call = |errno| Error::new(format!("bind({bound}, {protocol:?})"), errno);
    let family = if bound.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let (kind, number) = match protocol {
        HeldProtocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        HeldProtocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        HeldProtocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number)).map_err(call)?;
    if bound.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, address.is_some()).map_err(call)?;
    }
    if reuse {
        sockopt::set_socket_reuseaddr(&socket, true).map_err(call)?;
    }
    rustix::net::bind(&socket, &bound).map_err(call)?;
    Ok(socket)
}

/// The user id of the process that connected, was paired, or listens at the other end (SO_PEERCRED).
pub fn peer_user(socket: BorrowedFd<'_>) -> Result<u32, Error> {
    rustix::net::sockopt::socket_peercred(socket).map(|who| who.uid.as_raw()).map_err(|errno| Error::new("getsockopt(SO_PEERCRED)", errno))
}

/// The sockets that the service manager handed over: descriptors 3 and up (sd_listen_fds(3)). Answers them once; nothing at a second call.
pub fn take_inherited(count: usize) -> Vec<OwnedFd> {
    use std::os::fd::{FromRawFd, RawFd};
    static TAKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    if TAKEN.swap(true, std::sync::atomic::Ordering::SeqCst) {
        return Vec::new();
    }
    let last = 3 + RawFd::try_from(count).unwrap_or(0);
    let open = (3..last).filter(|number| std::path::Path::new(&format!("/proc/self/fd/{number}")).exists());
    // SAFETY: the descriptor is open, the service manager gave it to this process, and the flag above keeps anyone from owning it twice.
    open.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_messages_arrive_whole_with_their_handles() {
        let (here, there) = pair().expect("pair");
        for length in [0, 1, MAX_INLINE, MAX_INLINE + 1, 3 << 20] {
            let text: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let (pipe, _keep) = rustix::pipe::pipe().expect("pipe");
            send(here.as_fd(), &text, &[pipe.as_fd(), here.as_fd()]).expect("send");
            let message = receive(there.as_fd(), 8 << 20).expect("receive").expect("not gone");
            assert!(message.bytes == text, "length {length}");
            assert_eq!(message.handles.len(), 2);
        }
        drop(here);
        assert!(receive(there.as_fd(), 10).expect("farewell").is_none());
    }
}
