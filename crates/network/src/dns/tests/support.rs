//! A listener on a port of chance, askers, and made-up servers behind it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use shipway_model::{ContainerId, NetworkId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::dns::forward::{Forwarder, framed};
use crate::dns::listener::Listener;
use crate::dns::zone::Zones;
use crate::dns::{EndpointNames, Outside, View, inside};

pub(super) fn id(number: u8) -> ContainerId {
    ContainerId::from_random([number; 32])
}

pub(super) fn network(number: u8) -> NetworkId {
    NetworkId::from_random([number; 32])
}

pub(super) fn names(names: &[&str], v4: &str, v6: Option<&str>) -> EndpointNames {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    EndpointNames { names, v4: v4.parse().ok(), v6: v6.map(|text| text.parse().unwrap()) }
}

pub(super) fn view(networks: &[NetworkId], outside: Outside) -> View {
    View { networks: networks.to_vec(), links: Vec::new(), outside }
}

/// A listener with its zones.
pub(super) struct Heard {
    pub(super) zones: Arc<RwLock<Zones>>,
    pub(super) listener: Listener,
    pub(super) address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Heard {
    /// Hears on a free port. The host's resolvers are `resolvers`, all at the port of the first.
    pub(super) fn new(zones: Zones, view: View, resolvers: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let resolv_conf = folder.path().join("resolv.conf");
        let text: String = resolvers.iter().map(|server| format!("nameserver {}\n", server.ip())).collect();
        std::fs::write(&resolv_conf, text).unwrap();
        let mut forwarder = Forwarder::new(resolv_conf);
        forwarder.port = resolvers.first().map_or(1, SocketAddr::port);
        let sockets = inside::open_here(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = sockets.udp.local_addr().unwrap();
        let netns: OwnedFd = std::fs::File::open("/proc/self/ns/net").unwrap().into();
        let zones = Arc::new(RwLock::new(zones));
        let runtime = tokio::runtime::Handle::current();
        let listener = Listener::start(&runtime, sockets, netns, view, Arc::clone(&zones), Arc::new(forwarder)).unwrap();
        Self { zones, listener, address, _folder: folder }
    }

    pub(super) async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.ask_bytes(&question(name, kind, None)).await
    }

    pub(super) async fn ask_bytes(&self, bytes: &[u8]) -> Message {
        let answer = self.raw(bytes).await.expect("an answer");
        Message::from_vec(&answer).unwrap()
    }

    /// The bytes of the answer; `None` when there is none for a second or the server refuses the port.
    pub(super) async fn raw(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket.send(bytes).await.unwrap();
        let mut buffer = vec![0; 65535];
        let size = tokio::time::timeout(Duration::from_secs(6), socket.recv(&mut buffer)).await.ok()?.ok()?;
        buffer.truncate(size);
        Some(buffer)
    }

    pub(super) async fn ask_by_tcp(&self, bytes: &[u8]) -> Message {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(&framed(bytes)).await.unwrap();
        let size = stream.read_u16().await.unwrap();
        let mut answer = vec![0; usize::from(size)];
        stream.read_exact(&mut answer).await.unwrap();
        Message::from_vec(&answer).unwrap()
    }
}

/// The bytes of a question; with `room`, one that speaks EDNS.
pub(super) fn question(name: &str, kind: RecordType, room: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(0x4242, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), kind));
    if let Some(room) = room {
        let mut edns = Edns::new();
        edns.set_max_payload(room);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

pub(super) fn addresses(message: &Message) -> Vec<IpAddr> {
    let data = message.answers.iter().map(|record| &record.data);
    data.filter_map(|data| match data {
        RData::A(address) => Some(IpAddr::from(address.0)),
        RData::AAAA(address) => Some(IpAddr::from(address.0)),
        _ => None,
    })
    .collect()
}
