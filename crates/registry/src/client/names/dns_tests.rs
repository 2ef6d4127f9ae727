//! A name server on loopback that answers by a table, and the search rules.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::super::files::ResolverSettings;
use super::{candidates, lookup};
use crate::Error;

fn settings(servers: &[std::net::SocketAddr]) -> ResolverSettings {
    let search = vec!["corp.test".to_owned()];
    ResolverSettings { servers: servers.to_vec(), search, ndots: 1, timeout: Duration::from_millis(400), attempts: 1 }
}

/// What the server on loopback says to a question; `None` is silence.
fn answer(question: &Message, by_tcp: bool) -> Option<Message> {
    let mut answer = Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    let asked = question.queries[0].clone();
    answer.add_query(asked.clone());
    let mut say = |name: &str, data: RData| {
        answer.add_answer(Record::from_rdata(Name::from_ascii(name).unwrap(), 60, data));
    };
    let four = |last| RData::A(A::new(10, 0, 0, last));
    match (asked.name.to_ascii().as_str(), asked.query_type) {
        ("both.test.", RecordType::A) => say("both.test.", four(1)),
        ("both.test.", RecordType::AAAA) => say("both.test.", RData::AAAA(AAAA::new(0xfd00, 0, 0, 0, 0, 0, 0, 1))),
        ("alias.test.", RecordType::A) => {
            // Out of order, and with a stranger that must not be believed.
            say("real.test.", four(2));
            say("evil.test.", four(66));
            say("alias.test.", RData::CNAME(CNAME(Name::from_ascii("real.test.").unwrap())));
        }
        ("short.corp.test.", RecordType::A) => say("short.corp.test.", four(3)),
        ("halfmute.test.", RecordType::A) => say("halfmute.test.", four(4)),
        ("halfmute.test." | "mute.test.", _) => return None,
        ("large.test.", RecordType::A) if by_tcp => (1..=200).for_each(|last| say("large.test.", four(last))),
        ("large.test.", RecordType::A) => answer.metadata.truncation = true,
        ("broken.test." | "broken.test.corp.test.", _) => answer.metadata.response_code = ResponseCode::ServFail,
        ("alias.test." | "large.test." | "short.corp.test.", _) => {}
        _ => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    Some(answer)
}

/// Starts the server; it lives as long as the test's runtime.
async fn serve() -> std::net::SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // Another process may hold the same number for TCP.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (size, from) = udp.recv_from(&mut buffer).await.unwrap();
            let question = Message::from_vec(&buffer[..size]).unwrap();
            if let Some(answer) = answer(&question, false) {
                let mut forged = answer.clone();
                forged.metadata.id ^= 1;
                forged.answers.clear();
                udp.send_to(&forged.to_vec().unwrap(), from).await.unwrap();
                udp.send_to(b"nonsense", from).await.unwrap();
                udp.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let size = stream.read_u16().await.unwrap();
            let mut buffer = vec![0; usize::from(size)];
            stream.read_exact(&mut buffer).await.unwrap();
            let bytes = answer(&Message::from_vec(&buffer).unwrap(), true).unwrap().to_vec().unwrap();
            stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    address
}

async fn ask(name: &str) -> Result<Vec<String>, Error> {
    let settings = settings(&[serve().await]);
    Ok(lookup(&settings, name).await?.iter().map(IpAddr::to_string).collect())
}

#[tokio::test]
async fn answers_of_both_families_count() {
    assert_eq!(ask("both.test").await.unwrap(), ["fd00::1", "10.0.0.1"]);
}

#[tokio::test]
async fn aliases_are_followed_and_strangers_ignored() {
    assert_eq!(ask("alias.test").await.unwrap(), ["10.0.0.2"]);
}

#[tokio::test]
async fn short_names_are_searched_for() {
    assert_eq!(ask("short").await.unwrap(), ["10.0.0.3"]);
}

#[tokio::test]
async fn truncated_answers_are_asked_for_by_tcp() {
    assert_eq!(ask("large.test").await.unwrap().len(), 200);
}

#[tokio::test]
async fn one_mute_family_does_not_hold_up_the_other() {
    let begun = Instant::now();
    assert_eq!(ask("halfmute.test").await.unwrap(), ["10.0.0.4"]);
    assert!(begun.elapsed() < Duration::from_millis(390), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn unknown_names_and_useless_servers_are_told_apart() {
    assert!(matches!(ask("nowhere.test").await, Err(Error::NoSuchHost { host }) if host == "nowhere.test"));
    let error = ask("broken.test").await.unwrap_err();
    assert!(matches!(&error, Error::Names { reason, .. } if reason.contains("127.0.0.1")), "{error}");
    assert!(matches!(ask("mute.test").await, Err(Error::Names { reason, .. }) if reason.contains("does not answer")));
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_mute() {
    let mute = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let settings = settings(&[mute.local_addr().unwrap(), serve().await]);
    assert_eq!(lookup(&settings, "both.test").await.unwrap().len(), 2);
}

#[test]
fn names_are_completed_as_glibc_does() {
    let settings = settings(&[]);
    assert_eq!(candidates(&settings, "a"), ["a.corp.test.", "a."]);
    assert_eq!(candidates(&settings, "a.b"), ["a.b.", "a.b.corp.test."]);
    assert_eq!(candidates(&settings, "a."), ["a."]);
}
