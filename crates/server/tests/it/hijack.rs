//! Connections that leave HTTP.

use tokio::io::AsyncWriteExt;

use crate::harness::{Harness, read_all, read_until};

const UPGRADED: &str =
    "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\r\n";

#[tokio::test]
async fn both_kinds_of_clients_get_the_head_moby_writes() {
    let harness = Harness::start();
    for (headers, head) in [("Connection: Upgrade\r\nUpgrade: tcp\r\n", UPGRADED), ("", PLAIN)] {
        let mut client = harness.connect().await;
        client.write_all(format!("POST /echo HTTP/1.1\r\nHost: d\r\n{headers}Content-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut client, "\r\n\r\n").await, head);
        client.write_all(b"hello").await.unwrap();
        assert_eq!(read_until(&mut client, "hello").await, "hello");
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await, "<end>");
    }
}

#[tokio::test]
async fn bytes_that_came_with_the_request_are_not_lost() {
    let harness = Harness::start();
    for body in ["Content-Length: 2\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"] {
        let mut client = harness.connect().await;
        client
            .write_all(
                format!("POST /echo HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n{body}early\r\n\r\nbird").as_bytes(),
            )
            .await
            .unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await, format!("{UPGRADED}early\r\n\r\nbird<end>"), "{body}");
    }
}

#[tokio::test]
async fn a_connection_can_be_taken_over_after_ordinary_requests() {
    let harness = Harness::start();
    let mut client = harness.connect().await;
    client.write_all(b"GET /before HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
    assert!(read_until(&mut client, "/before").await.starts_with("HTTP/1.1 200"));
    client.write_all(b"POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    assert_eq!(read_until(&mut client, "\r\n\r\n").await, PLAIN);
    client.write_all(b"x").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, "x<end>");
}

#[tokio::test]
async fn much_data_passes_both_ways() {
    let harness = Harness::start();
    let mut client = harness.connect().await;
    client.write_all(b"POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    assert_eq!(read_until(&mut client, "\r\n\r\n").await, PLAIN);
    let (mut reader, mut writer) = client.into_split();
    let sent: Vec<u8> = (0..4_000_000_u32).map(|number| (number % 251) as u8).collect();
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&copy).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut received).await.unwrap();
    writing.await.unwrap();
    assert!(received.ends_with(b"<end>"));
    assert!(received[..sent.len()] == sent[..]);
}
