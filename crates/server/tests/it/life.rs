//! Connections that end: clients that leave, a daemon that stops, a machine without descriptors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shipway_server::ServeOptions;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::harness::{Harness, PATIENCE, read_all, read_until};

#[tokio::test]
async fn a_handler_notices_within_a_second_that_its_client_left() {
    let harness = Harness::start();
    let left = Arc::clone(&harness.application.left);
    for (number, path) in ["/wait", "/stream"].into_iter().enumerate() {
        let mut client = harness.connect().await;
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: d\r\n\r\n").as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let started = Instant::now();
        drop(client);
        harness.until(&left, number + 1).await;
        assert!(started.elapsed() < Duration::from_secs(1), "{path}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_stream_goes_on_while_the_client_only_finished_sending() {
    let harness = Harness::start();
    let left = Arc::clone(&harness.application.left);
    let mut client = harness.connect().await;
    client.write_all(b"GET /stream HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    read_until(&mut client, "first\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(left.load(std::sync::atomic::Ordering::SeqCst), 0);
    drop(client);
    harness.until(&left, 1).await;
}

#[tokio::test]
async fn stopping_finishes_requests_and_takes_no_new_ones() {
    let harness = Harness::start();
    let mut busy = harness.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
    let mut idle = harness.connect().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    harness.stop.cancel();
    assert!(read_all(&mut busy).await.ends_with("slow"));
    assert_eq!(read_all(&mut idle).await, "");
    timeout(PATIENCE, harness.served).await.unwrap().unwrap();
    assert!(!harness.path.exists());
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let harness = Harness::start_with(ServeOptions { shutdown_grace: Duration::from_millis(100), ..ServeOptions::default() });
    let mut client = harness.connect().await;
    client.write_all(b"GET /stream HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
    read_until(&mut client, "first\n").await;
    harness.stop.cancel();
    timeout(Duration::from_secs(2), harness.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_over_the_limit_wait_their_turn() {
    let harness = Harness::start_with(ServeOptions { max_connections: 1, ..ServeOptions::default() });
    let first = harness.connect().await;
    let mut second = harness.connect().await;
    second.write_all(b"GET /second HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut buffer = [0];
    assert!(timeout(Duration::from_millis(100), tokio::io::AsyncReadExt::read(&mut second, &mut buffer)).await.is_err());
    drop(first);
    assert!(read_all(&mut second).await.ends_with("you asked for /second"));
}

/// Lowers the limit of this process, which is this test's own under nextest, until accepting fails; then gives descriptors back.
#[tokio::test]
async fn without_descriptors_accepting_waits_and_recovers() {
    let harness = Harness::start();
    let clients: Vec<_> = futures_util::future::join_all((0..8).map(|_| harness.connect())).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    // One more for the client below, none for the server's side of it: the limit is the number of the second free descriptor.
    let limit = (0..).filter(|number| !std::path::Path::new(&format!("/proc/self/fd/{number}")).exists()).nth(1).unwrap();
    set_descriptor_limit(limit);
    let mut waiting = harness.connect().await;
    waiting.write_all(b"GET /patient HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut buffer = [0];
    assert!(timeout(Duration::from_millis(300), tokio::io::AsyncReadExt::read(&mut waiting, &mut buffer)).await.is_err());
    drop(clients);
    assert!(read_all(&mut waiting).await.ends_with("you asked for /patient"));
}

fn set_descriptor_limit(limit: usize) {
    let pid = std::process::id().to_string();
    // The program is started with its own limit; only ours changes.
    let status = std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:")]).status().unwrap();
    assert!(status.success());
}
