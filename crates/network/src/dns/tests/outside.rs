//! Questions for other servers: what goes out, what is believed, and what happens when they misbehave.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::support::{Heard, addresses, id, names, network, question, view};
use crate::dns::Outside;
use crate::dns::forward::framed;
use crate::dns::zone::Zones;

/// A made-up server: answers each datagram with what `reply` makes of it, in order, and counts them.
async fn server(at: Ipv4Addr, port: u16, reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind((at, port)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        let mut buffer = vec![0; 65535];
        while let Ok((size, from)) = socket.recv_from(&mut buffer).await {
            counted.fetch_add(1, Ordering::SeqCst);
            for answer in reply(&buffer[..size]) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    (address, count)
}

/// A good answer with `count` addresses.
fn reply(question: &[u8], count: u8) -> Message {
    let mut message = Message::from_vec(question).unwrap();
    message.metadata.message_type = MessageType::Response;
    let name = message.queries[0].name().clone();
    for number in 1..=count {
        message.add_answer(Record::from_rdata(name.clone(), 60, RData::A(A(Ipv4Addr::new(203, 0, 113, number)))));
    }
    message
}

fn code(question: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut message = reply(question, 0);
    message.metadata.response_code = code;
    message.to_vec().unwrap()
}

fn host() -> crate::dns::View {
    view(&[network(1)], Outside::Host)
}

#[tokio::test]
async fn what_no_zone_knows_goes_to_the_host_s_resolver_and_comes_back_as_it_is() {
    let (address, asked) = server(Ipv4Addr::LOCALHOST, 0, |bytes| vec![reply(bytes, 2).to_vec().unwrap()]).await;
    let mut zones = Zones::default();
    zones.register(network(1), "nat", id(1), &names(&["web"], "172.18.0.2", None));
    let heard = Heard::new(zones, host(), &[address]);
    let answer = heard.ask("Example.com", RecordType::A).await;
    assert_eq!((answer.metadata.id, addresses(&answer).len()), (0x4242, 2));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    heard.ask("web", RecordType::AAAA).await;
    heard.ask("web", RecordType::MX).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1, "names of ours never leave");
    heard.listener.change_view(view(&[network(1)], Outside::Nowhere));
    assert_eq!(heard.ask("example.com", RecordType::A).await.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "nothing is forwarded from internal networks");
}

#[tokio::test]
async fn forged_and_malformed_answers_are_passed_over_until_the_real_one_comes() {
    let evil = |bytes: &[u8]| {
        let good = reply(bytes, 1);
        let mut wrong_number = good.to_vec().unwrap();
        wrong_number[0] ^= 0xff;
        let mut wrong_question = bytes.to_vec();
        wrong_question[2] |= 0x80;
        wrong_question[13] ^= 0x01;
        let not_an_answer = bytes.to_vec();
        let mut oversized = good.to_vec().unwrap();
        oversized.resize(4000, 0);
        let mut two_questions = good.to_vec().unwrap();
        two_questions[5] = 2;
        vec![Vec::new(), vec![0; 11], wrong_number, wrong_question, not_an_answer, oversized, two_questions, good.to_vec().unwrap()]
    };
    let (address, _) = server(Ipv4Addr::LOCALHOST, 0, evil).await;
    let heard = Heard::new(Zones::default(), host(), &[address]);
    let started = Instant::now();
    assert_eq!(addresses(&heard.ask("example.com", RecordType::A).await), ["203.0.113.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_silent_or_failing_server_leads_to_the_next_and_a_no_is_final() {
    let (dead, _) = server(Ipv4Addr::new(127, 0, 0, 2), 0, |_| Vec::new()).await;
    let (live, _) = server(Ipv4Addr::new(127, 0, 0, 3), dead.port(), |bytes| vec![reply(bytes, 1).to_vec().unwrap()]).await;
    let heard = Heard::new(Zones::default(), host(), &[dead, live]);
    assert_eq!(heard.ask("example.com", RecordType::A).await.answers.len(), 1);
    let started = Instant::now();
    assert_eq!(heard.ask("example.org", RecordType::A).await.answers.len(), 1);
    assert!(started.elapsed() < Duration::from_secs(1), "the silent one is last by now");

    let (failing, _) = server(Ipv4Addr::new(127, 0, 0, 2), 0, |bytes| vec![code(bytes, ResponseCode::ServFail)]).await;
    let (no, asked) = server(Ipv4Addr::new(127, 0, 0, 3), failing.port(), |bytes| vec![code(bytes, ResponseCode::NXDomain)]).await;
    let heard = Heard::new(Zones::default(), host(), &[failing, no]);
    assert_eq!(heard.ask("nobody.example", RecordType::A).await.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_a_server_that_answers_it_is_a_failure_within_an_asker_s_patience() {
    let heard = Heard::new(Zones::default(), host(), &[]);
    assert_eq!(heard.ask("example.com", RecordType::A).await.metadata.response_code, ResponseCode::ServFail);
    let (silent, asked) = server(Ipv4Addr::LOCALHOST, 0, |_| Vec::new()).await;
    let heard = Heard::new(Zones::default(), host(), &[silent]);
    let started = Instant::now();
    assert_eq!(heard.ask("example.com", RecordType::A).await.metadata.response_code, ResponseCode::ServFail);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(asked.load(Ordering::SeqCst), 2, "a lost packet has a second chance");
}

#[tokio::test]
async fn a_cut_answer_is_fetched_whole_by_tcp_and_handed_on_when_it_fits() {
    let cut = |bytes: &[u8]| {
        let mut message = reply(bytes, 1);
        message.metadata.truncation = true;
        vec![message.to_vec().unwrap()]
    };
    let (address, _) = server(Ipv4Addr::LOCALHOST, 0, cut).await;
    let tcp = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let size = stream.read_u16().await.unwrap();
            let mut bytes = vec![0; usize::from(size)];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(&framed(&reply(&bytes, 60).to_vec().unwrap())).await.unwrap();
        }
    });
    let heard = Heard::new(Zones::default(), host(), &[address]);
    let plain = heard.ask("example.com", RecordType::A).await;
    assert_eq!((plain.metadata.truncation, plain.answers.len()), (true, 1), "too long for 512 bytes: the asker comes again by TCP");
    let roomy = heard.ask_bytes(&question("example.com", RecordType::A, Some(1232))).await;
    assert_eq!((roomy.metadata.truncation, roomy.answers.len()), (false, 60));
    let by_tcp = heard.ask_by_tcp(&question("example.com", RecordType::A, None)).await;
    assert_eq!((by_tcp.metadata.truncation, by_tcp.answers.len()), (false, 60));
}

#[tokio::test]
async fn a_flood_of_questions_is_answered_with_failures_and_the_zones_stay_quick() {
    let (silent, asked) = server(Ipv4Addr::LOCALHOST, 0, |_| Vec::new()).await;
    let mut zones = Zones::default();
    zones.register(network(1), "nat", id(1), &names(&["web"], "172.18.0.2", None));
    let heard = Heard::new(zones, host(), &[silent]);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(heard.address).await.unwrap();
    for number in 0..600 {
        socket.send(&question(&format!("q{number}.example"), RecordType::A, None)).await.unwrap();
        if number % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let started = Instant::now();
    assert_eq!(addresses(&heard.ask("web", RecordType::A).await).len(), 1);
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(asked.load(Ordering::SeqCst) <= 128, "questions under way are bounded");
}
