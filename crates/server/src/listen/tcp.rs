//! TCP: refused wherever it would hand the machine to whoever can reach the port.

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpListener;

use super::{ListenError, ListenOptions};

pub(super) fn bind(host: &str, port: u16, options: &ListenOptions) -> Result<TcpListener, ListenError> {
    let text = format!("{host}:{port}");
    let address: IpAddr = match host {
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        number => number
            .parse()
            .map_err(|_| ListenError::BadAddress { text: text.clone(), reason: "listening needs a number, not a name".to_owned() })?,
    };
    check_allowed(&text, address, options)?;
    let failed = |source| ListenError::Io { doing: format!("cannot listen on \"{text}\""), source };
    let listener = std::net::TcpListener::bind(SocketAddr::new(address, port)).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AddrInUse { ListenError::InUse { name: text.clone() } } else { failed(error) }
    })?;
    listener.set_nonblocking(true).map_err(failed)?;
    TcpListener::from_std(listener).map_err(failed)
}

/// The rules of S-214: the network needs mutual TLS; the loopback is reachable by every local user and needs a token.
fn check_allowed(text: &str, address: IpAddr, options: &ListenOptions) -> Result<(), ListenError> {
    if options.insecure_tcp {
        tracing::warn!(address = text, "listening on TCP without TLS: whoever reaches this port is root on this machine");
        return Ok(());
    }
    if !address.is_loopback() {
        return Err(ListenError::Refused {
            address: text.to_owned(),
            reason: "without mutual TLS, whoever reaches this port is root on this machine",
            hint: "TLS is not supported yet; use ssh, or set \"insecure-tcp\": true in the configuration file if the network is your own",
        });
    }
    if !options.has_token {
        return Err(ListenError::Refused {
            address: text.to_owned(),
            reason: "every local user can reach this port",
            hint: "use the unix socket, set \"tcp-token\", or set \"insecure-tcp\": true in the configuration file",
        });
    }
    Ok(())
}
