//! The name server heard inside a network namespace of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use shipway_model::{ContainerId, NetworkId};
use shipway_network::dns::{ADDRESS, EndpointNames, NameServer, Outside, Settings, View};
use shipway_sys::namespace;

/// A new network namespace with its loopback up.
fn netns() -> OwnedFd {
    let make = || {
        namespace::leave(namespace::NETWORK).unwrap();
        namespace::bring_loopback_up().unwrap();
        std::fs::File::open("/proc/thread-self/ns/net").unwrap().into()
    };
    std::thread::Builder::new().name("new-netns".into()).spawn(make).unwrap().join().unwrap()
}

fn inside<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let enter = || {
            namespace::enter(netns.as_fd(), namespace::NETWORK).unwrap();
            work()
        };
        std::thread::Builder::new().name("in-netns".into()).spawn_scoped(scope, enter).unwrap().join().unwrap()
    })
}

/// Asks for the IPv4 address of `web`, whose four bytes end the answer.
fn ask(netns: &OwnedFd, server: Ipv4Addr) -> std::io::Result<[u8; 4]> {
    inside(netns, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        socket.connect((server, 53))?;
        socket.send(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\0\0\x01\0\x01")?;
        let mut answer = [0; 512];
        let size = socket.recv(&mut answer)?;
        assert!(answer[..2] == [0x12, 0x34] && answer[3] & 0x0f == 0 && size > 16, "{:?}", &answer[..size]);
        Ok(answer[size - 4..size].try_into().unwrap())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_asks_at_127_0_0_11_until_it_is_hung_up_and_again_after_a_restart() {
    let (inside_it, container, network) = (netns(), ContainerId::from_random([1; 32]), NetworkId::from_random([2; 32]));
    let view = View { networks: vec![network], links: Vec::new(), outside: Outside::Nowhere };
    let web = EndpointNames { names: vec!["web".into()], v4: Some(Ipv4Addr::new(172, 18, 0, 2)), v6: None };
    // Dropping the first server is what a daemon that dies does.
    for _ in 0..2 {
        let server = NameServer::new(Settings::default()).unwrap();
        server.register(network, "nat", container, &web);
        server.listen(container, inside_it.try_clone().unwrap(), view.clone()).unwrap();
        server.listen(container, inside_it.try_clone().unwrap(), view.clone()).unwrap();
        assert_eq!(server.heard(), 1);
        assert_eq!(ask(&inside_it, ADDRESS).unwrap(), [172, 18, 0, 2]);
        drop(server);
        let mut closed = false;
        for _ in 0..100 {
            closed = ask(&inside_it, ADDRESS).is_err();
            if closed {
                break;
            }
        }
        assert!(closed, "nobody answers after the server has gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_s_own_name_server_may_take_port_53() {
    let (inside_it, container) = (netns(), ContainerId::from_random([1; 32]));
    let server = NameServer::new(Settings::default()).unwrap();
    server.register(
        NetworkId::from_random([2; 32]),
        "nat",
        container,
        &EndpointNames { names: vec!["web".into()], v4: Some(Ipv4Addr::LOCALHOST), v6: None },
    );
    let view = View { networks: vec![NetworkId::from_random([2; 32])], links: Vec::new(), outside: Outside::Nowhere };
    server.listen(container, inside_it.try_clone().unwrap(), view).unwrap();
    let own = inside(&inside_it, || {
        let tcp = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap();
        (tcp, UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap())
    });
    assert_eq!(ask(&inside_it, ADDRESS).unwrap(), [127, 0, 0, 1], "ours still answers at its address");
    own.1.set_nonblocking(true).unwrap();
    assert!(own.1.recv(&mut [0; 16]).is_err(), "and the container's own hears nothing of it");
    inside(&inside_it, || {
        let mut stream = std::net::TcpStream::connect((ADDRESS, 53)).unwrap();
        stream.write_all(b"\0\x15\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\0\0\x01\0\x01").unwrap();
        let mut answer = [0; 14];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[2..4], [0x12, 0x34]);
    });
}
