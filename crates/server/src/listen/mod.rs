//! Where the daemon listens: unix sockets, TCP, and sockets that systemd opened.
//!
//! What must stay true: a socket file is never reachable with wider permissions than it ends up with; a socket somebody listens on is never taken away;
//! without a token nobody reaches the API over the network (security.md S-214).

mod accept;
mod address;
mod tcp;
mod unix;

pub use accept::{ServeOptions, serve};
pub use address::ListenAddress;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tokio::net::{TcpListener, UnixListener};

use crate::socket::Socket;

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    kind: ListenerKind,
    /// What to call it in messages.
    name: String,
}

#[derive(Debug)]
enum ListenerKind {
    Unix {
        listener: UnixListener,
        /// Removes the file when dropped, if it is still ours.
        _file: Option<unix::SocketFile>,
    },
    Tcp(TcpListener),
}

/// Who may connect.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// Group that may connect to the unix socket; when it does not exist, only the owner may.
    pub group: String,
    /// Lets TCP in without TLS, on purpose. From the configuration file only.
    pub insecure_tcp: bool,
    /// True when TCP requests must carry a bearer token, which makes plain TCP on loopback acceptable.
    pub has_token: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { group: "docker".to_owned(), insecure_tcp: false, has_token: false }
    }
}

/// Why the daemon cannot listen there.
#[derive(Debug)]
pub enum ListenError {
    /// The text names no address.
    BadAddress {
        text: String,
        reason: String,
    },
    /// Somebody is listening there.
    InUse {
        name: String,
    },
    /// It would open the API to the network.
    Refused {
        address: String,
        reason: &'static str,
        hint: &'static str,
    },
    /// Not by this version.
    NotSupportedYet {
        what: &'static str,
    },
    /// A path that is no socket is in the way.
    InTheWay {
        path: PathBuf,
    },
    Io {
        doing: String,
        source: io::Error,
    },
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadAddress { text, reason } => write!(out, "invalid listen address \"{text}\": {reason}"),
            Self::InUse { name } => write!(out, "cannot listen on \"{name}\": another daemon is listening there"),
            Self::Refused { address, reason, .. } => write!(out, "refusing to listen on \"{address}\": {reason}"),
            Self::NotSupportedYet { what } => write!(out, "{what} is not supported yet"),
            Self::InTheWay { path } => write!(out, "cannot listen on \"{}\": something that is no socket is in the way", path.display()),
            Self::Io { doing, source } => write!(out, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl shipway_model::Classified for ListenError {
    fn kind(&self) -> shipway_model::ErrorKind {
        use shipway_model::ErrorKind;
        match self {
            Self::BadAddress { .. } => ErrorKind::Invalid,
            Self::InUse { .. } | Self::InTheWay { .. } => ErrorKind::Conflict,
            Self::Refused { .. } => ErrorKind::Forbidden,
            Self::NotSupportedYet { .. } => ErrorKind::Unsupported,
            Self::Io { .. } => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => Some((*hint).to_owned()),
            _ => None,
        }
    }
}

impl Listener {
    /// Opens `address`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When somebody listens there, the address is not acceptable, or the kernel refuses.
    pub fn bind(address: &ListenAddress, options: &ListenOptions) -> Result<Self, ListenError> {
        match address {
            ListenAddress::Unix(path) => {
                let (listener, file) = unix::bind(path, &options.group)?;
                Ok(Self { kind: ListenerKind::Unix { listener, _file: Some(file) }, name: address.to_string() })
            }
            ListenAddress::Tcp { host, port } => {
                Ok(Self { kind: ListenerKind::Tcp(tcp::bind(host, *port, options)?), name: address.to_string() })
            }
            ListenAddress::Activation => {
                Err(ListenError::NotSupportedYet { what: "opening an fd:// address by itself (pass the inherited sockets to from_fd)" })
            }
        }
    }

    /// Takes a listening unix socket that systemd opened (`fd://`; sd_listen_fds(3)). Who may connect was decided there.
    ///
    /// # Errors
    /// When `fd` is no listening unix socket.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Io { doing: "cannot use an inherited socket".to_owned(), source };
        let listener = std::os::unix::net::UnixListener::from(fd);
        let name =
            listener.local_addr().map_err(failed)?.as_pathname().map_or_else(|| "fd://".to_owned(), |path| path.display().to_string());
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        Ok(Self { kind: ListenerKind::Unix { listener, _file: None }, name })
    }

    /// What to call it in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of a TCP listener, with the port the kernel chose.
    pub fn tcp_address(&self) -> Option<std::net::SocketAddr> {
        match &self.kind {
            ListenerKind::Tcp(listener) => listener.local_addr().ok(),
            ListenerKind::Unix { .. } => None,
        }
    }

    async fn accept(&self) -> io::Result<Socket> {
        match &self.kind {
            ListenerKind::Unix { listener, .. } => listener.accept().await.map(|(stream, _)| Socket::from(stream)),
            ListenerKind::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small and interactive; a failure only makes them slower.
                let _ = stream.set_nodelay(true);
                Ok(Socket::from(stream))
            }
        }
    }
}

/// How many sockets systemd passed to this process, from the values of its two variables (sd_listen_fds(3)). They start at descriptor 3.
pub fn inherited_sockets(listen_pid: Option<&str>, listen_fds: Option<&str>, own_pid: u32) -> usize {
    let for_us = listen_pid.and_then(|pid| pid.parse().ok()) == Some(own_pid);
    if for_us { listen_fds.and_then(|count| count.parse().ok()).unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests;
