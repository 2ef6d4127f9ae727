//! From an address to a connected stream; starts our own daemon when it is the default one that is missing.
//!
//! What must stay true: an address given by flag, environment or context never starts a daemon; a daemon we start outlives us.

use super::exit::{Failure, Outcome, Reason, words};
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// How long a daemon we started may take until it listens.
const DAEMON_START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long another daemon may still take when ours ended.
const OTHER_DAEMON_GRACE: Duration = Duration::from_secs(2);
/// How often we look.
const DAEMON_START_POLL: Duration = Duration::from_millis(5);

/// A daemon's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A socket in the file system.
    Unix(PathBuf),
    /// Host and port, unencrypted.
    Tcp(String),
}

/// Where the daemon is, and whether it is ours to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) may_start_daemon: bool,
}

impl Host {
    /// Parses `unix://`, `tcp://` and `http://` addresses.
    ///
    /// # Errors
    /// Docker's text for what nobody understands; "not supported yet" for ssh, TLS and pipes.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            let failure = Failure::new(format!("unable to parse docker host `{text}`"));
            return Err(if text.starts_with('/') {
                failure.hint(format!("did you mean unix://{text}?"))
            } else {
                failure.hint(format!("did you mean tcp://{text}?"))
            });
        };
        match scheme {
            "unix" if rest.is_empty() => Err(Failure::new(format!("unable to parse docker host `{text}`"))),
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" => {
                let address = rest.trim_end_matches('/');
                let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                let address = if address.is_empty() { "127.0.0.1" } else { address };
                Ok(Self::Tcp(if has_port { address.to_owned() } else { format!("{address}:2375") }))
            }
            "ssh" => Err(Failure::new("ssh:// hosts are not supported yet")
                .hint(format!("forward the socket: ssh -L /tmp/shipway.sock:/run/shipway/shipway.sock {rest}"))),
            "https" => Err(Failure::new("TLS connections are not supported yet")),
            other => Err(Failure::new(format!("unable to parse docker host `{text}`: unknown scheme \"{other}\""))),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// A connection to a daemon.
#[derive(Debug)]
pub(crate) enum Wire {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Target {
    /// Connects, starting the daemon first when that is allowed and needed.
    pub(crate) async fn connect(&self) -> Outcome<Wire> {
        match self.dial().await {
            Ok(wire) => Ok(wire),
            Err(error) if self.may_start_daemon && nobody_listens(&error) => self.start_and_dial().await,
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    async fn dial(&self) -> io::Result<Wire> {
        Ok(match &self.host {
            Host::Unix(path) => Wire::Unix(UnixStream::connect(path).await?),
            Host::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str()).await?;
                stream.set_nodelay(true)?;
                Wire::Tcp(stream)
            }
        })
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let host = self.host.to_string();
        let mut failure = Failure::new("");
        failure.reason = Reason::Unreachable { host, cause: words(error) };
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                failure.hint("this user may not open the socket: run as root, or join the group that owns it")
            }
            _ => failure,
        }
    }

    async fn start_and_dial(&self) -> Outcome<Wire> {
        let Host::Unix(socket) = &self.host else { return Err(Failure::new("only a local daemon can be started")) };
        let log = socket.parent().unwrap_or(Path::new("/run/shipway")).join("daemon.log");
        let mut daemon = start_daemon(&log)?;
        let mut deadline = Instant::now() + DAEMON_START_TIMEOUT;
        let mut ended = None;
        loop {
            tokio::time::sleep(DAEMON_START_POLL).await;
            let error = match self.dial().await {
                Ok(wire) => return Ok(wire),
                Err(error) => error,
            };
            if ended.is_none()
                && let Ok(Some(status)) = daemon.try_wait()
            {
                // It may have found another one starting at the same moment; that one's socket is as good.
                ended = Some(status);
                deadline = deadline.min(Instant::now() + OTHER_DAEMON_GRACE);
            }
            if Instant::now() > deadline {
                let see = format!("see {}", log.display());
                return Err(match ended {
                    Some(status) => Failure::new(format!("the daemon did not start ({status})")).hint(last_words(&log)).hint(see),
                    None => self.unreachable(&error).hint(format!("a daemon was started but does not answer; {see}")),
                });
            }
        }
    }
}

fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Starts `shipway daemon --on-demand` in a process group of its own, so that neither the terminal's interrupt key nor its hang-up reaches it.
fn start_daemon(log: &Path) -> Outcome<std::process::Child> {
    let cannot = |error: io::Error| Failure::new(format!("cannot start the daemon: {error}"));
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).map_err(cannot)?;
    }
    let output = std::fs::OpenOptions::new().create(true).append(true).open(log).map_err(cannot)?;
    let errors = output.try_clone().map_err(cannot)?;
    std::process::Command::new("/proc/self/exe")
        .args(["daemon", "--on-demand"])
        .stdin(std::process::Stdio::null())
        .stdout(output)
        .stderr(errors)
        .current_dir("/")
        .process_group(0)
        .spawn()
        .map_err(cannot)
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood_or_refused_with_advice() {
        assert_eq!(Host::parse("unix:///run/x.sock").unwrap(), Host::Unix("/run/x.sock".into()));
        assert_eq!(Host::parse("tcp://127.0.0.1:2375").unwrap(), Host::Tcp("127.0.0.1:2375".into()));
        assert_eq!(Host::parse("tcp://host").unwrap(), Host::Tcp("host:2375".into()));
        assert_eq!(Host::parse("/run/x.sock").unwrap_err().hints, ["did you mean unix:///run/x.sock?"]);
        assert!(Host::parse("ssh://root@host").unwrap_err().to_string().ends_with("not supported yet"));
        assert!(Host::parse("npipe://x").is_err());
    }
}
