//! Questions for other servers: sent on as they came, with a number and a port of chance, and believed only when the answer fits.
//!
//! What must stay true: an answer comes from the server asked (the kernel drops others on a connected socket), bears our number and the same question, and is
//! not longer than asked for; its records are passed on unread. Questions under way are bounded for the daemon as a whole, and each by a deadline.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::question::{HEADER, Question};
use super::resolvers::{HostResolvers, Silent};
use super::{Outside, PORT, inside};

/// Questions under way for all containers: each holds a descriptor or two.
const MOST_UNDER_WAY: usize = 1024;
/// How long one server has before the next is asked.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long all of it may take. Askers give up after five seconds (RES_TIMEOUT).
const DEADLINE: Duration = Duration::from_millis(4700);
/// How often each server is tried.
const ROUNDS: usize = 2;

/// How a question came, and so how long its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// Asks other servers.
#[derive(Debug)]
pub(super) struct Forwarder {
    host: HostResolvers,
    silent: Silent,
    under_way: Semaphore,
    /// 53, but for tests.
    pub(super) port: u16,
}

impl Forwarder {
    pub(super) fn new(resolv_conf: PathBuf) -> Self {
        let under_way = Semaphore::new(MOST_UNDER_WAY);
        Self { host: HostResolvers::new(resolv_conf), silent: Silent::default(), under_way, port: PORT }
    }

    /// The answer of the first server that gives a useful one, with the asker's number; `None` when no server gives any.
    pub(super) async fn ask(&self, question: &Question, outside: &Outside, netns: &Arc<OwnedFd>, transport: Transport) -> Option<Vec<u8>> {
        let _place = self.under_way.try_acquire().ok()?;
        let (servers, netns): (Vec<SocketAddr>, _) = match outside {
            Outside::Nowhere => return None,
            Outside::Host => (self.host.servers().iter().map(|server| with_port(*server, self.port)).collect(), None),
            Outside::Servers(servers) => (servers.iter().map(|server| SocketAddr::new(*server, self.port)).collect(), Some(netns)),
        };
        let deadline = Instant::now() + DEADLINE;
        let mut unhelpful = None;
        for _ in 0..ROUNDS {
            for server in self.silent.in_order(&servers) {
                let until = (Instant::now() + PATIENCE).min(deadline);
                match timeout_at(until, exchange(question, server, netns, transport)).await {
                    Ok(Ok(answer)) => {
                        self.silent.spoke(server);
                        if is_helpful(&answer) {
                            return Some(answer);
                        }
                        unhelpful = Some(answer);
                    }
                    Ok(Err(_)) | Err(_) => self.silent.said_nothing(server),
                }
                if Instant::now() >= deadline {
                    return unhelpful;
                }
            }
            // A second round is for lost packets, not for servers that said no.
            if unhelpful.is_some() {
                break;
            }
        }
        unhelpful
    }
}

fn with_port(mut server: SocketAddr, port: u16) -> SocketAddr {
    server.set_port(port);
    server
}

/// False for codes that speak of the server and not of the name.
fn is_helpful(answer: &[u8]) -> bool {
    let code = ResponseCode::from_low(answer[3] & 0x0f);
    !matches!(code, ResponseCode::ServFail | ResponseCode::NotImp | ResponseCode::Refused)
}

/// One question to one server.
async fn exchange(question: &Question, server: SocketAddr, netns: Option<&Arc<OwnedFd>>, transport: Transport) -> io::Result<Vec<u8>> {
    if transport == Transport::Tcp {
        return by_tcp(question, server, netns).await;
    }
    let answer = by_udp(question, server, netns).await?;
    if answer[2] & TRUNCATED == 0 {
        return Ok(answer);
    }
    // Askers that cannot speak TCP themselves get all of it when it fits after all.
    match timeout(PATIENCE / 2, by_tcp(question, server, netns)).await {
        Ok(Ok(whole)) if whole.len() <= question.room() => Ok(whole),
        _ => Ok(answer),
    }
}

/// The bit of the third byte that says "cut".
const TRUNCATED: u8 = 0x02;

async fn by_udp(question: &Question, server: SocketAddr, netns: Option<&Arc<OwnedFd>>) -> io::Result<Vec<u8>> {
    let socket = match netns {
        None => inside::connected_udp(None, server)?,
        Some(netns) => {
            let netns = Arc::clone(netns);
            tokio::task::spawn_blocking(move || inside::connected_udp(Some(&netns), server)).await.map_err(io::Error::other)??
        }
    };
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    let (id, bytes) = renumbered(question)?;
    socket.send(&bytes).await?;
    // One byte more than there is room for shows a server that does not keep to it.
    let mut buffer = vec![0; question.room() + 1];
    loop {
        let size = socket.recv(&mut buffer).await?;
        if size <= question.room() && question.is_answered_by(&buffer[..size], id) {
            buffer.truncate(size);
            return Ok(under_asker_number(buffer, question));
        }
        // Perhaps forged, perhaps late: the real answer may still come.
    }
}

async fn by_tcp(question: &Question, server: SocketAddr, netns: Option<&Arc<OwnedFd>>) -> io::Result<Vec<u8>> {
    let socket = match netns {
        None => inside::tcp_socket(None, server)?,
        Some(netns) => {
            let netns = Arc::clone(netns);
            tokio::task::spawn_blocking(move || inside::tcp_socket(Some(&netns), server)).await.map_err(io::Error::other)??
        }
    };
    let mut stream = tokio::net::TcpSocket::from_std_stream(socket).connect(server).await?;
    let (id, bytes) = renumbered(question)?;
    stream.write_all(&framed(&bytes)).await?;
    let size = usize::from(stream.read_u16().await?);
    if size < HEADER {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer).await?;
    if question.is_answered_by(&answer, id) {
        Ok(under_asker_number(answer, question))
    } else {
        Err(io::Error::other("the answer is to another question"))
    }
}

/// A message as TCP carries it: behind its length.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(message.len() + 2);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&message[..usize::from(length)]);
    bytes
}

/// The question under a number that nobody can guess.
fn renumbered(question: &Question) -> io::Result<(u16, Vec<u8>)> {
    let mut random = [0; 2];
    rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())?;
    let mut bytes = question.bytes.clone();
    bytes[..2].copy_from_slice(&random);
    Ok((u16::from_be_bytes(random), bytes))
}

fn under_asker_number(mut answer: Vec<u8>, question: &Question) -> Vec<u8> {
    answer[..2].copy_from_slice(&question.bytes[..2]);
    answer
}
