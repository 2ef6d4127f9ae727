//! Ports and how they are published: "80/tcp", "127.0.0.1:8080:80".
//!
//! What must stay true: a range never has more than 65536 ports, so a short text never becomes a long list of more than that.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kind::{Classified, ErrorKind};
use crate::serialize_as_text;
use crate::suggest;

#[cfg(test)]
mod tests;

/// The transport a port belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// A port inside a container. In text "80/tcp"; without a protocol it is TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    pub number: u16,
    pub protocol: Protocol,
}

/// A container's port and where on the host it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortBinding {
    /// The host's address; `None` means all.
    pub host_ip: Option<IpAddr>,
    /// The host's port; `None` means any free one.
    pub host_port: Option<u16>,
    /// With `host_port`, the last port of a range of which any free one will do ("8000-8010:80").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port_last: Option<u16>,
    /// The port inside the container.
    pub container: Port,
}

/// Why a text names no port. The words are those clients match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    #[error("no port specified: {text}<empty>")]
    Empty { text: String },
    #[error("invalid proto: {protocol}")]
    Protocol { protocol: String },
    #[error("invalid IP address: {address}")]
    Address { text: String, address: String },
    #[error("invalid containerPort: {port}")]
    ContainerPort { text: String, port: String },
    #[error("invalid hostPort: {port}")]
    HostPort { text: String, port: String },
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges { container: String, host: String },
}

impl Classified for PortError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Protocol { protocol } => {
                suggest::nearest(protocol, ["tcp", "udp", "sctp"], 2).map(|known| format!("did you mean \"{known}\"?"))
            }
            Self::Address { text, address } => Some(underlined(text, address, false)),
            Self::HostPort { text, port } => Some(underlined(text, &format!("{port}:"), true)),
            Self::ContainerPort { text, port } => Some(underlined(text, port, true)),
            Self::Empty { .. } => Some(GRAMMAR.to_owned()),
            Self::Ranges { .. } => Some("both ranges must have the same length".to_owned()),
        }
    }
}

const GRAMMAR: &str = "a port is published as [hostip:][hostport:]containerport[/proto], e.g. 127.0.0.1:8080:80/tcp";

/// The grammar, then the text with its wrong part underlined.
fn underlined(text: &str, part: &str, last: bool) -> String {
    let start = if last { text.rfind(part) } else { text.find(part) };
    let Some(start) = start.filter(|_| !part.is_empty()) else { return GRAMMAR.to_owned() };
    let (before, marked) = (text[..start].chars().count(), part.trim_end_matches(':').chars().count());
    format!("{GRAMMAR}\n  {text}\n  {}{}", " ".repeat(before), "^".repeat(marked))
}

impl Protocol {
    /// The protocol's name in texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let known = [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|protocol| text.eq_ignore_ascii_case(protocol.name()));
        known.ok_or_else(|| PortError::Protocol { protocol: text.to_lowercase() })
    }
}

impl Port {
    /// A TCP port.
    pub const fn tcp(number: u16) -> Self {
        Self { number, protocol: Protocol::Tcp }
    }

    /// A UDP port.
    pub const fn udp(number: u16) -> Self {
        Self { number, protocol: Protocol::Udp }
    }

    /// The ports of "80", "80/udp" or "80-90/tcp", as EXPOSE and `--expose` take them.
    ///
    /// # Errors
    /// As `Port::from_str`.
    pub fn parse_range(text: &str) -> Result<Vec<Self>, PortError> {
        let (ports, protocol) = split_protocol(text)?;
        if ports.is_empty() {
            return Err(PortError::Empty { text: text.to_owned() });
        }
        let (first, last) = range(ports).ok_or_else(|| PortError::ContainerPort { text: text.to_owned(), port: ports.to_owned() })?;
        Ok((first..=last).map(|number| Self { number, protocol }).collect())
    }
}

impl fmt::Display for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.protocol)
    }
}

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let (number, protocol) = split_protocol(text)?;
        if number.is_empty() {
            return Err(PortError::Empty { text: text.to_owned() });
        }
        let number = parse_number(number).ok_or_else(|| PortError::ContainerPort { text: text.to_owned(), port: number.to_owned() })?;
        Ok(Self { number, protocol })
    }
}

serialize_as_text!(Protocol, "tcp, udp or sctp");
serialize_as_text!(Port, "a port like 80/tcp");

impl fmt::Display for PortBinding {
    /// The text `-p` takes.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(address)) => write!(formatter, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(formatter, "{address}:")?,
            None => {}
        }
        match (self.host_port, self.host_port_last) {
            (Some(port), Some(last)) => write!(formatter, "{port}-{last}:")?,
            (Some(port), None) => write!(formatter, "{port}:")?,
            (None, _) if self.host_ip.is_some() => formatter.write_str(":")?,
            (None, _) => {}
        }
        self.container.fmt(formatter)
    }
}

/// The bindings of a `-p` text: `[hostip:][hostport[-last]:]containerport[-last][/proto]`.
///
/// # Errors
/// In Docker's words; `hint()` shows the grammar with the wrong part underlined (M-37).
pub fn parse_publish(text: &str) -> Result<Vec<PortBinding>, PortError> {
    let (host, container) = text.rsplit_once(':').unwrap_or(("", text));
    let (address, host_port) = host.rsplit_once(':').unwrap_or(("", host));
    let (container_ports, protocol) = split_protocol(container)?;
    if container_ports.is_empty() {
        return Err(PortError::Empty { text: text.to_owned() });
    }
    let host_ip = parse_address(text, address)?;
    let bad_container = || PortError::ContainerPort { text: text.to_owned(), port: container_ports.to_owned() };
    let (first, last) = range(container_ports).ok_or_else(bad_container)?;
    let bind = |number, host_port, host_port_last| PortBinding { host_ip, host_port, host_port_last, container: Port { number, protocol } };
    if host_port.is_empty() {
        return Ok((first..=last).map(|number| bind(number, None, None)).collect());
    }
    let bad_host = || PortError::HostPort { text: text.to_owned(), port: host_port.to_owned() };
    let (host_first, host_last) = range_from_zero(host_port).ok_or_else(bad_host)?;
    // Port 0 asks the kernel for a free one, as an absent port does.
    let given = |port: u16| Some(port).filter(|port| *port != 0);
    if first == last {
        return Ok(vec![bind(first, given(host_first), Some(host_last).filter(|last| *last != host_first))]);
    }
    if last - first != host_last - host_first {
        return Err(PortError::Ranges { container: container_ports.to_owned(), host: host_port.to_owned() });
    }
    Ok((first..=last).zip(host_first..=host_last).map(|(number, port)| bind(number, given(port), None)).collect())
}

fn parse_address(text: &str, address: &str) -> Result<Option<IpAddr>, PortError> {
    if address.is_empty() {
        return Ok(None);
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    bare.parse().map(Some).map_err(|_| PortError::Address { text: text.to_owned(), address: address.to_owned() })
}

fn split_protocol(text: &str) -> Result<(&str, Protocol), PortError> {
    match text.split_once('/') {
        Some((ports, "")) => Ok((ports, Protocol::Tcp)),
        Some((ports, protocol)) => Ok((ports, protocol.parse()?)),
        None => Ok((text, Protocol::Tcp)),
    }
}

/// "80" or "80-90"; a container's ports start at 1.
fn range(text: &str) -> Option<(u16, u16)> {
    range_from_zero(text).filter(|(first, _)| *first != 0)
}

fn range_from_zero(text: &str) -> Option<(u16, u16)> {
    let digits = |part: &str| if part.bytes().all(|byte| byte.is_ascii_digit()) { part.parse::<u16>().ok() } else { None };
    match text.split_once('-') {
        Some((first, last)) => Some((digits(first)?, digits(last)?)).filter(|(first, last)| first <= last),
        None => digits(text).map(|port| (port, port)),
    }
}

fn parse_number(text: &str) -> Option<u16> {
    range(text).filter(|(first, last)| first == last && !text.contains('-')).map(|(first, _)| first)
}
