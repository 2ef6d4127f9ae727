//! Asking name servers.
//!
//! What must stay true: an answer counts only when it comes from the server asked, with the number and the question we sent; every wait is bounded by the
//! settings; what servers send is parsed by hickory-proto, never by hand.
//!
//! # Source
//! RFC 1035; RFC 7766 (TCP after a truncated answer); RFC 8305, section 3 (not waiting long for the second family).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::select;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::files::ResolverSettings;
use crate::Error;
use crate::client::random::random_u16;

/// How long the slower family's answer is waited for once the other's is here.
const GRACE: Duration = Duration::from_millis(200);
/// Aliases followed in one answer.
const ALIASES: usize = 16;
/// Without EDNS no answer by UDP is larger than 512 bytes; some servers do not care.
const UDP_SIZE: usize = 4096;

/// Why a name gave no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    /// By a server's word there is no such name.
    NoSuchName,
    /// No server gave a usable answer; the text is about the last one.
    NoAnswer(String),
}

/// The addresses of `name`, by the search rules of resolv.conf(5).
pub(super) async fn lookup(settings: &ResolverSettings, name: &str) -> Result<Vec<IpAddr>, Error> {
    let mut trouble = None;
    for candidate in candidates(settings, name) {
        let Ok(question) = Name::from_ascii(&candidate) else {
            continue;
        };
        match both_families(settings, &question).await {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_) | Err(Failure::NoSuchName) => {}
            // A server in trouble may well know the next candidate; but in the end it is not said that the name does not exist.
            Err(Failure::NoAnswer(reason)) => trouble = Some(reason),
        }
    }
    match trouble {
        Some(reason) => Err(Error::Names { host: name.to_owned(), reason }),
        None => Err(Error::NoSuchHost { host: name.to_owned() }),
    }
}

/// The complete names to ask for, in order.
fn candidates(settings: &ResolverSettings, name: &str) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let complete = format!("{name}.");
    let mut all: Vec<_> = settings.search.iter().map(|domain| format!("{name}.{domain}.")).collect();
    let at = if name.matches('.').count() >= settings.ndots { 0 } else { all.len() };
    all.insert(at, complete);
    all
}

/// Asks for IPv6 and IPv4 addresses at once.
async fn both_families(settings: &ResolverSettings, name: &Name) -> Result<Vec<IpAddr>, Failure> {
    let six = Box::pin(ask_all(settings, name, RecordType::AAAA));
    let four = Box::pin(ask_all(settings, name, RecordType::A));
    let (first, other) = select(six, four).await.factor_first();
    let useful = matches!(&first, Ok(addresses) if !addresses.is_empty());
    let second = if useful { timeout(GRACE, other).await.unwrap_or(Ok(Vec::new())) } else { other.await };
    match (first, second) {
        (Ok(mut one), Ok(two)) => {
            one.extend(two);
            // IPv6 first, as RFC 6724 prefers; where it leads nowhere the attempt fails at once.
            one.sort_by_key(IpAddr::is_ipv4);
            Ok(one)
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.is_empty() => Ok(found),
        (Err(trouble @ Failure::NoAnswer(_)), _) | (_, Err(trouble)) | (Err(trouble), _) => Err(trouble),
    }
}

/// Asks the servers in turn until one has an answer.
async fn ask_all(settings: &ResolverSettings, name: &Name, family: RecordType) -> Result<Vec<IpAddr>, Failure> {
    let mut trouble = "there is no name server".to_owned();
    for _ in 0..settings.attempts {
        for server in &settings.servers {
            match timeout(settings.timeout, ask(*server, name, family)).await {
                Err(_) => trouble = format!("name server {} does not answer", server.ip()),
                Ok(Err(error)) => trouble = format!("name server {}: {error}", server.ip()),
                Ok(Ok(answer)) => match answer.metadata.response_code {
                    ResponseCode::NoError => return Ok(addresses(&answer, name)),
                    ResponseCode::NXDomain => return Err(Failure::NoSuchName),
                    other => trouble = format!("name server {} answers \"{other}\"", server.ip()),
                },
            }
        }
    }
    Err(Failure::NoAnswer(trouble))
}

/// One question to one server.
async fn ask(server: SocketAddr, name: &Name, family: RecordType) -> std::io::Result<Message> {
    let mut question = Message::new(random_u16(), MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), family));
    let bytes = question.to_vec().map_err(std::io::Error::other)?;
    let here = if server.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((here, 0)).await?;
    // The kernel drops what others than the server send to a connected socket.
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; UDP_SIZE];
    loop {
        let size = socket.recv(&mut buffer).await?;
        match Message::from_vec(&buffer[..size]) {
            Ok(answer) if answers(&answer, &question) && answer.metadata.truncation => return ask_by_tcp(server, &question, &bytes).await,
            Ok(answer) if answers(&answer, &question) => return Ok(answer),
            // Perhaps forged, perhaps late: the real answer may still come.
            _ => {}
        }
    }
}

async fn ask_by_tcp(server: SocketAddr, question: &Message, bytes: &[u8]) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_u16(u16::try_from(bytes.len()).map_err(std::io::Error::other)?).await?;
    stream.write_all(bytes).await?;
    let size = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(size)];
    stream.read_exact(&mut buffer).await?;
    match Message::from_vec(&buffer) {
        Ok(answer) if answers(&answer, question) => Ok(answer),
        _ => Err(std::io::Error::other("the answer is to another question")),
    }
}

/// Whether `answer` belongs to `question`.
fn answers(answer: &Message, question: &Message) -> bool {
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == question.metadata.id
        && answer.queries == question.queries
}

/// The addresses in `answer` that belong to `name` or to what it is an alias of.
fn addresses(answer: &Message, name: &Name) -> Vec<IpAddr> {
    let mut names = vec![name.clone()];
    for _ in 0..ALIASES {
        let known = names.len();
        for record in &answer.answers {
            if let RData::CNAME(alias) = &record.data
                && names.contains(&record.name)
                && !names.contains(&alias.0)
            {
                names.push(alias.0.clone());
            }
        }
        if names.len() == known {
            break;
        }
    }
    let of_ours = answer.answers.iter().filter(|record| names.contains(&record.name));
    of_ours
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::from(address.0)),
            RData::AAAA(address) => Some(IpAddr::from(address.0)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
