//! Connections that leave HTTP: attach and exec. One direction carries standard input, the other the output, raw or in frames.
//!
//! ```text
//!  with    Upgrade: tcp      HTTP/1.1 101 UPGRADED   Content-Type, Connection: Upgrade, Upgrade: tcp
//!  without                   HTTP/1.1 200 OK         Content-Type
//! ```
//! The head is written here, byte for byte as moby writes it, because HTTP libraries only let go of a connection on 101.
//! What must stay true: the client finishing to send closes standard input and nothing else; the client leaving ends the session at once; what the
//! process wrote before it exited is sent before the connection closes.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use shipway_wire::ApiVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::request::Request;
use crate::socket::Socket;

/// The stream has frames (no terminal).
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// The stream is the terminal's bytes, or the client is too old to be told otherwise.
const RAW: &str = "application/vnd.docker.raw-stream";

/// The media type of an attached stream. Before API 1.42 it was "raw" even when it had frames.
pub fn stream_type(tty: bool, version: ApiVersion) -> &'static str {
    if !tty && version.at_least(42) { MULTIPLEXED } else { RAW }
}

/// The head that ends HTTP on this connection.
pub fn head(request: &Request, media_type: &str) -> String {
    if wants_upgrade(request) {
        format!("HTTP/1.1 101 UPGRADED\r\nContent-Type: {media_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
    } else {
        format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n\r\n")
    }
}

/// True when the client asks for a switch of protocols, as every client since 2015 does.
fn wants_upgrade(request: &Request) -> bool {
    request.headers.contains_key(http::header::UPGRADE)
}

/// A connection after HTTP.
pub struct Hijacked {
    socket: Socket,
    /// Bytes that hyper had read beyond the request.
    early: BytesMut,
}

impl Hijacked {
    pub(crate) fn new(socket: Socket, early: Bytes) -> Self {
        Self { socket, early: BytesMut::from(&early[..]) }
    }

    /// The two directions, for two tasks or two arms of a select.
    pub fn split(self) -> (Incoming, Outgoing) {
        (Incoming { socket: self.socket.clone(), buffer: self.early }, Outgoing { socket: self.socket })
    }
}

/// Bytes from the client.
pub struct Incoming {
    socket: Socket,
    buffer: BytesMut,
}

/// One read takes at most this much.
const READ_SIZE: usize = 32 * 1024;

impl Incoming {
    /// The next bytes; `None` when the client has finished sending. Safe to drop and call again.
    pub async fn read(&mut self) -> io::Result<Option<Bytes>> {
        if !self.buffer.has_remaining() {
            self.buffer.reserve(READ_SIZE);
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer.split().freeze()))
    }

    /// Waits until the client has closed the connection entirely.
    pub async fn gone(&self) {
        self.socket.gone().await;
    }
}

/// Bytes to the client.
pub struct Outgoing {
    socket: Socket,
}

impl Outgoing {
    /// Sends `bytes`, waiting while the client is slow.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Tells the client that nothing follows.
    pub fn finish(self) {
        self.socket.shutdown_write();
    }
}
