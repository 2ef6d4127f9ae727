//! One accepted connection as a byte stream that several owners may hold, and the question whether its other end has gone.
//!
//! Why shared: while hyper owns the reading and writing of a connection, a handler must be able to notice that the client left, and to take the
//! connection over (hijack). A closed other end is noticed by the kernel's hang-up flag, not by reading, so no byte is ever taken from hyper.

use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// On TCP a client that closed and one that only finished sending look the same. A short request of the latter is still answered if it takes no longer than this.
const TCP_HALF_CLOSE_GRACE: Duration = Duration::from_millis(300);

/// The two kinds of sockets we listen on.
#[derive(Debug)]
enum Kind {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A connection. Clones are the same connection; it closes when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Socket(Arc<Kind>);

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A process on this machine, as the kernel says.
    Local { pid: Option<i32>, uid: u32 },
    /// Somebody over TCP.
    Remote,
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self(Arc::new(Kind::Unix(stream)))
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self(Arc::new(Kind::Tcp(stream)))
    }
}

impl Socket {
    /// Who is at the other end (SO_PEERCRED for unix sockets).
    pub fn peer(&self) -> Peer {
        match &*self.0 {
            Kind::Unix(stream) => match stream.peer_cred() {
                Ok(credentials) => Peer::Local { pid: credentials.pid(), uid: credentials.uid() },
                Err(_) => Peer::Remote,
            },
            Kind::Tcp(_) => Peer::Remote,
        }
    }

    /// Ends our direction; the other end reads end-of-file and may go on sending.
    pub fn shutdown_write(&self) {
        // The other end may be gone already; there is nothing left to do then.
        let _ = match &*self.0 {
            Kind::Unix(stream) => stream
                .as_fd()
                .try_clone_to_owned()
                .and_then(|fd| std::os::unix::net::UnixStream::from(fd).shutdown(std::net::Shutdown::Write)),
            Kind::Tcp(stream) => {
                stream.as_fd().try_clone_to_owned().and_then(|fd| std::net::TcpStream::from(fd).shutdown(std::net::Shutdown::Write))
            }
        };
    }

    /// Waits until the other end has closed the connection entirely. Never returns when that cannot be watched.
    pub async fn gone(&self) {
        let watched = match Watched::of(&self.0) {
            Ok(watched) => watched,
            Err(error) => {
                tracing::debug!(%error, "cannot watch a connection for its end");
                return pending().await;
            }
        };
        if watched.hang_up().await.is_err() {
            return pending().await;
        }
        if matches!(&*self.0, Kind::Tcp(_)) {
            tokio::time::sleep(TCP_HALF_CLOSE_GRACE).await;
        }
    }

    fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<()>> {
        match (&*self.0, direction) {
            (Kind::Unix(stream), Direction::Read) => stream.poll_read_ready(cx),
            (Kind::Unix(stream), Direction::Write) => stream.poll_write_ready(cx),
            (Kind::Tcp(stream), Direction::Read) => stream.poll_read_ready(cx),
            (Kind::Tcp(stream), Direction::Write) => stream.poll_write_ready(cx),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Read,
    Write,
}

/// A second handle of a socket, registered with the kernel on its own, so that watching it does not disturb hyper's readiness.
enum Watched {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Watched {
    fn of(kind: &Kind) -> io::Result<Self> {
        Ok(match kind {
            Kind::Unix(stream) => {
                Self::Unix(UnixStream::from_std(std::os::unix::net::UnixStream::from(stream.as_fd().try_clone_to_owned()?))?)
            }
            Kind::Tcp(stream) => Self::Tcp(TcpStream::from_std(std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?))?),
        })
    }

    /// Waits for the flag that says the other end is closed, consuming every other news of the socket.
    async fn hang_up(&self) -> io::Result<()> {
        let not_yet = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        loop {
            match self {
                Self::Unix(stream) => {
                    if stream.ready(Interest::WRITABLE).await?.is_write_closed() {
                        return Ok(());
                    }
                    let _ = stream.try_io(Interest::WRITABLE, not_yet);
                }
                Self::Tcp(stream) => {
                    if stream.ready(Interest::READABLE).await?.is_read_closed() {
                        return Ok(());
                    }
                    let _ = stream.try_io(Interest::READABLE, not_yet);
                }
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_ready(cx, Direction::Read))?;
            let unfilled = buffer.initialize_unfilled();
            let outcome = match &*self.0 {
                Kind::Unix(stream) => stream.try_read(unfilled),
                Kind::Tcp(stream) => stream.try_read(unfilled),
            };
            match outcome {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Socket {
    fn poll_write_with(&self, cx: &mut Context<'_>, write: impl Fn(&Kind) -> io::Result<usize>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_ready(cx, Direction::Write))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |kind| match kind {
            Kind::Unix(stream) => stream.try_write(bytes),
            Kind::Tcp(stream) => stream.try_write(bytes),
        })
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |kind| match kind {
            Kind::Unix(stream) => stream.try_write_vectored(slices),
            Kind::Tcp(stream) => stream.try_write_vectored(slices),
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(2);
    const A_WHILE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_client_that_only_finished_sending_is_not_gone() {
        let (client, server) = UnixStream::pair().unwrap();
        let mut server = Socket::from(server);
        let mut client = client;
        client.write_all(b"hi").await.unwrap();
        client.shutdown().await.unwrap();
        assert!(timeout(A_WHILE, server.gone()).await.is_err());
        let mut text = String::new();
        server.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hi");
        server.write_all(b"answer").await.unwrap();
        server.shutdown_write();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }

    #[tokio::test]
    async fn a_closed_client_is_gone_at_once_even_with_unread_bytes() {
        for unread in [&b""[..], b"never read"] {
            let (mut client, server) = UnixStream::pair().unwrap();
            client.write_all(unread).await.unwrap();
            let server = Socket::from(server);
            let watched = server.clone();
            let watcher = tokio::spawn(async move { watched.gone().await });
            tokio::time::sleep(A_WHILE).await;
            drop(client);
            timeout(SOON, watcher).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_closed_tcp_client_is_gone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = Socket::from(listener.accept().await.unwrap().0);
        assert!(timeout(A_WHILE, server.gone()).await.is_err());
        drop(client);
        timeout(SOON, server.gone()).await.unwrap();
    }

    #[tokio::test]
    async fn the_peer_of_a_unix_socket_is_known() {
        let (_client, server) = UnixStream::pair().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(matches!(Socket::from(server).peer(), Peer::Local { pid: Some(found), .. } if found == pid));
    }
}
