//! A setting of TCP connections that the standard library has no word for.

use std::os::fd::{AsFd, AsRawFd};

use crate::{Error, fd};

/// Lets at most `bytes` wait in the kernel that are not on their way yet: beyond that the connection is not writable.
///
/// What is on its way is not bounded by it, so that a long line stays full.
///
/// # Source
/// Linux 3.12, `Documentation/networking/ip-sysctl.rst`, "tcp_notsent_lowat" (the option of one socket, `TCP_NOTSENT_LOWAT`).
pub fn limit_unsent(connection: impl AsFd, bytes: u32) -> Result<(), Error> {
    let connection = connection.as_fd();
    // SAFETY: setsockopt(2) reads one integer that lives on this stack, of the length that is told, from a descriptor that the borrow keeps open.
    let answer = unsafe {
        libc::setsockopt(
            connection.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of::<u32>() as u32,
        )
    };
    if answer == 0 {
        return Ok(());
    }
    Err(Error::from_io(format!("setsockopt({:?}, TCP_NOTSENT_LOWAT, {bytes})", fd::describe(connection)), &std::io::Error::last_os_error()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_limited_connection_takes_less_than_an_unlimited_one() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let taken = |limit: Option<u32>| {
            let mut near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
            let _far = listener.accept().expect("accept");
            if let Some(limit) = limit {
                limit_unsent(&near, limit).expect("limit");
            }
            near.set_nonblocking(true).expect("nonblocking");
            let piece = vec![0; 64 << 10];
            std::iter::from_fn(|| near.write(&piece).ok()).sum::<usize>()
        };
        let (free, limited) = (taken(None), taken(Some(64 << 10)));
        assert!(limited < free, "{limited} of {free}");
        let (pipe, _end) = rustix::pipe::pipe().expect("pipe");
        assert_eq!(limit_unsent(pipe, 1).expect_err("no socket").errno, rustix::io::Errno::NOTSOCK);
    }
}
