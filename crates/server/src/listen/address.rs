//! The text of a listen address: `unix:///run/x.sock`, `tcp://127.0.0.1:2375`, `fd://`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::ListenError;

/// Docker's port for plain TCP.
const DEFAULT_TCP_PORT: u16 = 2375;

/// Longest path of a unix socket on Linux, without the final NUL (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A socket file.
    Unix(PathBuf),
    /// A TCP address. The host is a number or `localhost`; names are not looked up.
    Tcp { host: String, port: u16 },
    /// The sockets systemd opened.
    Activation,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "unix://{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(out, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(out, "tcp://{host}:{port}"),
            Self::Activation => out.write_str("fd://"),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let bad = |reason: String| ListenError::BadAddress { text: text.to_owned(), reason };
        match text.split_once("://") {
            Some(("unix", path)) => {
                if !path.starts_with('/') {
                    return Err(bad("the path of a unix socket must be absolute".to_owned()));
                }
                if path.len() > LONGEST_SOCKET_PATH || path.contains('\0') {
                    return Err(bad(format!("the path of a unix socket has at most {LONGEST_SOCKET_PATH} bytes")));
                }
                Ok(Self::Unix(PathBuf::from(path)))
            }
            Some(("tcp", rest)) => {
                let (host, port) = split_port(rest.trim_end_matches('/')).map_err(bad)?;
                Ok(Self::Tcp { host: if host.is_empty() { "127.0.0.1".to_owned() } else { host }, port })
            }
            Some(("fd", _)) => Ok(Self::Activation),
            _ if text.starts_with('/') => Self::from_str(&format!("unix://{text}")),
            Some((scheme, _)) => Err(bad(format!("unknown kind \"{scheme}\": unix, tcp and fd exist"))),
            None => Err(bad("expected unix://PATH, tcp://ADDRESS:PORT or fd://".to_owned())),
        }
    }
}

fn split_port(text: &str) -> Result<(String, u16), String> {
    let parse = |port: &str| port.parse().map_err(|_| format!("\"{port}\" is no port"));
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| "a bracket is not closed".to_owned())?;
        let port = rest.strip_prefix(':').map_or(Ok(DEFAULT_TCP_PORT), parse)?;
        return Ok((host.to_owned(), port));
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Err("an IPv6 address is written in brackets".to_owned()),
        Some((host, port)) => Ok((host.to_owned(), parse(port)?)),
        None => Ok((text.to_owned(), DEFAULT_TCP_PORT)),
    }
}
