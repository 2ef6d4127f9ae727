//! One place where the server is heard: both sockets of one container, and the one task that serves them.
//!
//! What must stay true: one container's flood costs its own task and a bounded number of questions under way; when the listener is dropped its sockets close
//! and nothing of the namespace stays open.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::forward::{Forwarder, Transport, framed};
use super::inside::Sockets;
use super::question::{self, LONGEST, Question, Refusal};
use super::respond::{Decision, decide};
use super::zone::Zones;
use super::{View, answer};
use crate::{Error, Result};

/// Questions of one container that wait for other servers.
const MOST_WAITING: usize = 128;
/// Connections of one container.
const MOST_CONNECTIONS: usize = 32;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);
/// Datagrams taken before other tasks get their turn.
const BATCH: usize = 64;

/// A running listener; dropping it ends its task.
#[derive(Debug)]
pub(super) struct Listener {
    place: Arc<Place>,
    task: tokio::task::JoinHandle<()>,
}

/// What all questions of one container share.
#[derive(Debug)]
struct Place {
    view: RwLock<Arc<View>>,
    zones: Arc<RwLock<Zones>>,
    forwarder: Arc<Forwarder>,
    netns: Arc<OwnedFd>,
    waiting: Semaphore,
}

impl Listener {
    pub(super) fn start(
        runtime: &tokio::runtime::Handle,
        sockets: Sockets,
        netns: OwnedFd,
        view: View,
        zones: Arc<RwLock<Zones>>,
        forwarder: Arc<Forwarder>,
    ) -> Result<Self> {
        let _inside = runtime.enter();
        let wrong =
            |error| Error::kernel("hear the questions of a container")(shipway_sys::Error::from_io("epoll_ctl(EPOLL_CTL_ADD)", &error));
        let udp = UdpSocket::from_std(sockets.udp).map_err(wrong)?;
        let tcp = TcpListener::from_std(sockets.tcp).map_err(wrong)?;
        let waiting = Semaphore::new(MOST_WAITING);
        let place = Arc::new(Place { view: RwLock::new(Arc::new(view)), zones, forwarder, netns: Arc::new(netns), waiting });
        let task = runtime.spawn(serve(Arc::clone(&place), udp, tcp));
        Ok(Self { place, task })
    }

    pub(super) fn change_view(&self, view: View) {
        *self.place.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    pub(super) fn lives(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(place: Arc<Place>, udp: UdpSocket, tcp: TcpListener) {
    let udp = Arc::new(udp);
    let mut waiting = JoinSet::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            ready = udp.readable() => {
                if ready.is_err() {
                    return;
                }
                if take_datagrams(&place, &udp, &mut waiting) {
                    tokio::task::yield_now().await;
                }
            }
            accepted = tcp.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(connections.spawn(converse(Arc::clone(&place), stream))),
                // Out of descriptors, most likely: the connection stays in the kernel's queue meanwhile.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = waiting.join_next(), if !waiting.is_empty() => {}
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Answers what the zones answer at once, and starts the rest on its way. True when there may be more.
fn take_datagrams(place: &Arc<Place>, udp: &Arc<UdpSocket>, waiting: &mut JoinSet<()>) -> bool {
    let mut buffer = [0; LONGEST + 1];
    for _ in 0..BATCH {
        // A refused answer of ours comes back as an error here; the socket itself is well.
        let Ok((size, from)) = udp.try_recv_from(&mut buffer) else { return false };
        match place.first_step(&buffer[..size], Transport::Udp) {
            Step::Silence => {}
            Step::Say(bytes) => drop(udp.try_send_to(&bytes, from)),
            Step::Forward(question) => {
                while waiting.try_join_next().is_some() {}
                waiting.spawn(relay(Arc::clone(place), Arc::clone(udp), question, from));
            }
        }
    }
    true
}

async fn relay(place: Arc<Place>, udp: Arc<UdpSocket>, question: Box<Question>, from: SocketAddr) {
    let answer = place.forward(&question, Transport::Udp).await;
    // The asker has gone or its queue is full: it will ask again.
    let _ = udp.send_to(&answer, from).await;
}

/// One connection: questions one after the other until it ends, idles or talks nonsense.
async fn converse(place: Arc<Place>, mut stream: TcpStream) {
    while let Ok(Ok(size)) = timeout(IDLE, stream.read_u16()).await {
        let size = usize::from(size);
        if size > LONGEST {
            return;
        }
        let mut bytes = vec![0; size];
        if !matches!(timeout(IDLE, stream.read_exact(&mut bytes)).await, Ok(Ok(_))) {
            return;
        }
        let answer = match place.first_step(&bytes, Transport::Tcp) {
            Step::Silence => return,
            Step::Say(answer) => answer,
            Step::Forward(question) => place.forward(&question, Transport::Tcp).await,
        };
        if !matches!(timeout(IDLE, stream.write_all(&framed(&answer))).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// What comes next for the bytes of a question.
enum Step {
    Silence,
    Say(Vec<u8>),
    Forward(Box<Question>),
}

impl Place {
    fn first_step(&self, bytes: &[u8], transport: Transport) -> Step {
        let question = match Question::parse(bytes) {
            Ok(question) => question,
            Err(Refusal::Silence) => return Step::Silence,
            Err(Refusal::Code { id, op_code, code }) => return Step::Say(question::refusal(id, op_code, code)),
        };
        let view = self.view();
        let decision = decide(&self.zones.read().unwrap_or_else(PoisonError::into_inner), &view, &question);
        match decision {
            Decision::Answer(message) => Step::Say(answer::encode(message, room(&question, transport))),
            Decision::Forward => Step::Forward(Box::new(question)),
        }
    }

    /// What other servers say, or that they failed.
    async fn forward(&self, question: &Question, transport: Transport) -> Vec<u8> {
        let view = self.view();
        let answer = match self.waiting.try_acquire() {
            Ok(_place) => self.forwarder.ask(question, &view.outside, &self.netns, transport).await,
            Err(_) => None,
        };
        answer.unwrap_or_else(|| answer::encode(answer::code(question, ResponseCode::ServFail), room(question, transport)))
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn room(question: &Question, transport: Transport) -> usize {
    match transport {
        Transport::Udp => question.room(),
        Transport::Tcp => usize::from(u16::MAX),
    }
}
