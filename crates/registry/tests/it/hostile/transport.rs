//! S-509: slow and broken servers, below the protocol of registries.

use std::time::{Duration, Instant};

use http::HeaderMap;
use shipway_model::{Classified as _, ErrorKind};
use shipway_registry::{Access, Error, Scope};
use shipway_testkit::{BadRegistry, Delivery, Reply};

use super::{leaked, registry, somebody};

/// Reads an answer to its end, at most a megabyte.
async fn get(server: &BadRegistry) -> Result<(u16, usize), Error> {
    let registry = registry(server, &Access::with(somebody()));
    let mut response = registry.get("a/b/manifests/x", &Scope::pull("a/b"), &HeaderMap::new()).await?;
    if !response.status.is_success() {
        return Err(Error::Status { status: response.status, retry_after: None });
    }
    let mut size = 0;
    while let Some(piece) = response.body.next().await {
        size += piece?.len();
        if size > 1 << 20 {
            break;
        }
    }
    Ok((response.status.as_u16(), size))
}

/// Each line: what the server does every time; the kind and words of the error; how many requests it may have cost.
#[tokio::test]
async fn trouble_that_does_not_pass() {
    let raw = |text: &str| Reply::new(200, "").by(Delivery::Raw(text.as_bytes().to_vec()));
    let long = |count: usize| "x".repeat(count);
    let cases: Vec<(Reply, ErrorKind, &str, usize)> = vec![
        (Reply::new(500, ""), ErrorKind::Unavailable, "500 Internal Server Error", 3),
        (Reply::new(502, "<html>"), ErrorKind::Unavailable, "502 Bad Gateway", 3),
        (Reply::new(503, "").with("Retry-After", "soon"), ErrorKind::Unavailable, "503 Service Unavailable", 3),
        (Reply::new(429, "").with("Retry-After", "3600"), ErrorKind::Unavailable, "429 Too Many Requests", 1),
        (Reply::new(429, "").with("Retry-After", "999999999999999999999"), ErrorKind::Unavailable, "429", 3),
        (
            Reply::new(503, "").with("Date", "Sat, 21 Nov 2026 10:00:00 GMT").with("Retry-After", "Sat, 21 Nov 2026 11:00:00 GMT"),
            ErrorKind::Unavailable,
            "503",
            1,
        ),
        (Reply::new(200, "").by(Delivery::HungUp), ErrorKind::Unavailable, "broke", 3),
        (Reply::new(200, "").after(Duration::from_secs(5)), ErrorKind::Unavailable, "no answer from \"127.0.0.1\" within 700 ms", 3),
        (Reply::new(200, "abcdef").by(Delivery::Hanging(3)), ErrorKind::Unavailable, "no more data from \"127.0.0.1\" within 700 ms", 1),
        (Reply::new(200, "abcdef").by(Delivery::Truncated(3)), ErrorKind::Unavailable, "broke", 1),
        (Reply::new(200, "abcdef").by(Delivery::Reset(3)), ErrorKind::Unavailable, "broke", 1),
        (raw(&format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", long(70_000))), ErrorKind::Unavailable, "is larger than 65536 bytes", 1),
        (raw(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(300))), ErrorKind::Unavailable, "is larger than 65536 bytes", 1),
        (raw("SSH-2.0-OpenSSH_9\r\n\r\n"), ErrorKind::Unavailable, "against the rules of HTTP", 1),
        (raw("HTTP/1.1 999999 X\r\n\r\n"), ErrorKind::Unavailable, "against the rules of HTTP", 1),
        (
            raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            ErrorKind::Unavailable,
            "against the rules of HTTP",
            1,
        ),
        (raw("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), ErrorKind::Unavailable, "against the rules of HTTP", 1),
        (raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnonsense"), ErrorKind::Unavailable, "127.0.0.1", 1),
        (raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"), ErrorKind::Unavailable, "127.0.0.1", 1),
        (raw(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(3)), ErrorKind::Unavailable, "127.0.0.1", 3),
        (Reply::to("/v2/a/b/manifests/x"), ErrorKind::Unavailable, "redirected more than 10 times", 11),
        (Reply::to("file:///etc/passwd"), ErrorKind::Unavailable, "redirected to nowhere", 1),
        (Reply::to("http://127.0.0.1:0/"), ErrorKind::Unavailable, "redirected to nowhere", 1),
        (Reply::new(307, ""), ErrorKind::Unavailable, "names no address", 1),
    ];
    let work = cases.into_iter().map(|(reply, kind, words, most)| async move {
        let shown = format!("{} {:?} {:?}", reply.status, reply.delivery, reply.headers).chars().take(120).collect::<String>();
        let server = BadRegistry::plain(move |_, _| reply.clone());
        let begun = Instant::now();
        let error = get(&server).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{shown}: {error:?}");
        assert!(error.to_string().contains(words), "{shown}: {error}");
        assert!(server.lines().len() <= most, "{shown}: {} requests", server.lines().len());
        assert!(begun.elapsed() < Duration::from_secs(8), "{shown}: {:?}", begun.elapsed());
        assert!(!leaked(&[&server]), "{shown}");
    });
    futures_util::future::join_all(work).await;
}

/// Each line: what the server does the first two times. The third answer is good.
#[tokio::test]
async fn trouble_that_passes() {
    for reply in [
        Reply::new(500, ""),
        Reply::new(503, "").with("Retry-After", "0"),
        Reply::new(429, "").with("Date", "Sat, 21 Nov 2026 10:00:00 GMT").with("Retry-After", "Sat, 21 Nov 2026 09:00:00 GMT"),
        Reply::new(408, ""),
        Reply::new(200, "").by(Delivery::HungUp),
    ] {
        let shown = format!("{reply:?}");
        let server = BadRegistry::plain(move |_, number| if number < 2 { reply.clone() } else { Reply::new(200, "good") });
        assert_eq!(get(&server).await.unwrap(), (200, 4), "{shown}");
        assert_eq!(server.lines().len(), 3, "{shown}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_left_when_nobody_wants_more() {
    let server = BadRegistry::plain(|_, _| Reply::new(200, vec![0; 64 * 1024]).by(Delivery::Endless(1 << 34)));
    let (_, size) = get(&server).await.unwrap();
    assert!(size < 2 << 20);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.sent() < 64 << 20, "{}", server.sent());
}
