//! HTTP as clients should not speak it (security.md F-20), and as they may.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use crate::harness::{Harness, read_all, read_until};

const GOOD: &[u8] = b"GET /good HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n";

/// The status of the first answer, 0 when there is none.
fn status(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| answer.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

#[tokio::test]
async fn malformed_requests_are_refused_and_hurt_nobody_else() {
    let harness = Harness::start();
    for (name, bytes, expected) in [
        ("garbage", &b"\x00\x01\x02 nonsense\r\n\r\n"[..], 400),
        ("no version", b"GET /\r\n\r\n", 400),
        ("unknown version", b"GET / HTTP/7.3\r\n\r\n", 400),
        ("NUL in the path", b"GET /a\x00b HTTP/1.1\r\nHost: d\r\n\r\n", 400),
        ("NUL in a header", b"GET / HTTP/1.1\r\nHost: d\x00\r\n\r\n", 400),
        ("space in a header name", b"GET / HTTP/1.1\r\nHo st: d\r\n\r\n", 400),
        ("folded header", b"GET / HTTP/1.1\r\nHost: d\r\n folded\r\n\r\n", 400),
        ("negative length", b"POST /length HTTP/1.1\r\nHost: d\r\nContent-Length: -5\r\n\r\n", 400),
        ("two lengths", b"POST /length HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        ("huge length", b"POST /length HTTP/1.1\r\nHost: d\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        ("unknown transfer coding", b"POST /length HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: magic\r\n\r\n", 400),
        ("bad chunk size", b"POST /length HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", 400),
        ("chunk size that overflows", b"POST /length HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400),
        ("body cut short", b"POST /length HTTP/1.1\r\nHost: d\r\nContent-Length: 10\r\n\r\nabc", 400),
    ] {
        let answer = harness.exchange(bytes).await;
        assert_eq!(status(&answer), expected, "{name}: {answer:?}");
        assert!(!answer.contains("you asked for"), "{name}: {answer:?}");
    }
    let answered = harness.exchange(GOOD).await;
    assert!(answered.ends_with("you asked for /good"), "{answered:?}");
}

#[tokio::test]
async fn the_http2_preface_gets_no_answer_it_could_misread() {
    let harness = Harness::start();
    let answer = harness.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(status(&answer) == 400 || answer.is_empty() || status(&answer) == 505, "{answer:?}");
    assert_eq!(harness.application.answered.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_length_beside_a_coding_smuggles_nothing() {
    let harness = Harness::start();
    let answer = harness
        .exchange(b"POST /length HTTP/1.1\r\nHost: d\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: d\r\n\r\n")
        .await;
    // The coding wins (RFC 9112, 6.3), and nothing that follows on this connection is believed.
    assert_eq!((status(&answer), answer.matches("HTTP/1.1").count()), (200, 1), "{answer:?}");
    assert!(answer.contains("connection: close") && answer.ends_with("\r\n\r\n0"), "{answer:?}");
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let harness = Harness::start();
    let mut bytes = b"GET / HTTP/1.1\r\nHost: d\r\nX-Big: ".to_vec();
    bytes.resize(3 << 20, b'a');
    let answer = harness.exchange(&bytes).await;
    assert!(matches!(status(&answer), 431 | 400 | 0), "{}", &answer[..answer.len().min(80)]);
    assert_eq!(harness.application.answered.load(Ordering::SeqCst), 0);
    let mut many = b"GET / HTTP/1.1\r\nHost: d\r\n".to_vec();
    for number in 0..5000 {
        many.extend(format!("X-{number}: a\r\n").bytes());
    }
    many.extend(b"\r\n");
    assert_eq!(status(&harness.exchange(&many).await), 431);
}

#[tokio::test]
async fn large_heads_as_docker_build_sends_them_pass() {
    let harness = Harness::start();
    let path = format!("/{}", "x".repeat(60_000));
    let answer = harness
        .exchange(
            format!("GET {path} HTTP/1.1\r\nHost: d\r\nX-Registry-Config: {}\r\nConnection: close\r\n\r\n", "b".repeat(200_000)).as_bytes(),
        )
        .await;
    assert_eq!(status(&answer), 200);
    assert!(answer.ends_with(&path));
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let harness = Harness::start();
    let mut bytes = b"POST /length HTTP/1.1\r\nHost: d\r\nContent-Length: 2097152\r\nConnection: close\r\n\r\n".to_vec();
    bytes.resize(bytes.len() + (2 << 20), b'a');
    assert_eq!(status(&harness.exchange(&bytes).await), 413);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let harness = Harness::start();
    let answer = harness.exchange(b"GET /slow HTTP/1.1\r\nHost: d\r\n\r\nGET /two HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").await;
    let (slow, two) = (answer.find("slow").unwrap(), answer.find("you asked for /two").unwrap());
    assert!(slow < two);
}

#[tokio::test]
async fn a_client_that_finished_sending_still_gets_its_answer() {
    let harness = Harness::start();
    assert!(harness.exchange(b"GET /slow HTTP/1.1\r\nHost: d\r\n\r\n").await.ends_with("slow"));
    assert!(harness.exchange(b"POST /length HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\nabc").await.ends_with('3'));
    assert!(
        harness
            .exchange(b"POST /length HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
            .await
            .ends_with('2')
    );
}

#[tokio::test]
async fn a_panic_ends_one_request() {
    let harness = Harness::start();
    let answer = harness.exchange(b"GET /panic HTTP/1.1\r\nHost: d\r\n\r\n").await;
    assert_eq!(status(&answer), 500);
    assert!(answer.contains("\"message\":\"internal error: GET /panic panicked: on purpose\""), "{answer:?}");
    assert!(harness.exchange(GOOD).await.ends_with("you asked for /good"));
}

#[tokio::test]
async fn slow_and_idle_connections_hold_nobody_back() {
    let harness = Harness::start();
    let mut idle = Vec::new();
    for number in 0..500 {
        let mut client = harness.connect().await;
        if number % 2 == 0 {
            client.write_all(b"GET /never HT").await.unwrap();
        }
        idle.push(client);
    }
    let started = Instant::now();
    assert!(harness.exchange(GOOD).await.ends_with("you asked for /good"));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn odd_escapes_in_paths_reach_nothing() {
    let harness = Harness::start();
    for (path, seen) in [("/a%2Fb", "/a/b"), ("/%zz", "/%zz"), ("/..%2f..%2fetc", "/../../etc"), ("/%00", "/\0"), ("/%ED%95%9C", "/한")] {
        let answer = harness.exchange(format!("GET {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.ends_with(&format!("you asked for {seen}")), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let harness = Harness::start();
    let mut client = harness.connect().await;
    for _ in 0..3 {
        client.write_all(b"GET /again HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
        assert!(read_until(&mut client, "/again").await.starts_with("HTTP/1.1 200"));
    }
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, "");
}
