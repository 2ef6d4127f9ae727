//! Clients that ask for too much, send too much, or send it twice (S-510, S-512).

use std::time::Duration;

use serde_json::json;
use shipway_model::Digest;
use shipway_registry::server::{Access, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{OCI_MANIFEST, Running, eager, refused};

/// A connection for requests that no client library would send.
async fn raw(registry: &Running, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", registry.port)).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn status_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        match stream.read_u8().await {
            Ok(byte) => line.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(line).unwrap().trim().to_owned()
}

#[tokio::test]
async fn no_list_is_longer_than_a_thousand() {
    let registry = Running::start().await;
    let (digest, _) = registry.push_image("a", "v", "x").await;
    let tags = registry.folder.path().join("registry/repositories/a/_tags");
    for number in 0..1100 {
        std::fs::write(tags.join(format!("t{number:04}")), digest.to_string()).unwrap();
    }
    for query in ["", "?n=1000000000", "?n=18446744073709551616"] {
        let answer = registry.get(&format!("/v2/a/tags/list{query}")).await;
        assert_eq!(answer.json()["tags"].as_array().unwrap().len(), 1000, "{query}");
        assert_eq!(answer.header("link"), "</v2/a/tags/list?n=1000&last=t0999>; rel=\"next\"", "{query}");
    }
    let answer = registry.get("/v2/_catalog?n=1000000000").await;
    assert_eq!((answer.status, answer.json()["repositories"].clone()), (200, json!(["a"])));
}

#[tokio::test]
async fn ten_thousand_referrers_come_in_pages() {
    let registry = Running::start().await;
    registry.push_image("a", "v", "x").await;
    let subject = Digest::sha256_of(b"subject");
    let root = registry.folder.path().join("registry/repositories/a");
    let folder = root.join(format!("_referrers/sha256-{}", subject.hex()));
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0..10_000 {
        let digest = Digest::sha256_of(format!("{number}").as_bytes());
        let descriptor = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "artifactType": "t" });
        std::fs::write(root.join("_manifests/sha256").join(digest.hex()), "x\n{}").unwrap();
        std::fs::write(folder.join(format!("sha256-{}", digest.hex())), descriptor.to_string()).unwrap();
    }
    let (mut path, mut count) = (format!("/v2/a/referrers/{subject}"), 0);
    loop {
        let answer = registry.get(&path).await;
        let page = answer.json()["manifests"].as_array().unwrap().len();
        assert!(page <= 1000);
        count += page;
        match answer.header("link").strip_prefix('<').and_then(|rest| rest.split_once('>')) {
            Some((next, _)) => path = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(count, 10_000);
}

#[tokio::test]
async fn heads_are_bounded() {
    let registry = Running::start().await;
    let huge = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(200_000));
    let many = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(100));
    for text in [huge, many] {
        let mut stream = TcpStream::connect(("127.0.0.1", registry.port)).await.unwrap();
        // The server may hang up before all of it is written.
        let _ = stream.write_all(text.as_bytes()).await;
        let line = status_line(&mut stream).await;
        assert!(line.starts_with("HTTP/1.1 431") || line.is_empty(), "{line}");
    }
    assert_eq!(registry.get("/v2/").await.status, 200);
}

#[tokio::test]
async fn a_second_writer_of_an_upload_is_sent_away() {
    let registry = Running::start().await;
    let location = registry.begin("a").await;
    let mut first = raw(&registry, &format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = registry.send("PATCH", &location, &[("content-range", "0-4")], "HELLO").await;
    assert_eq!(second.refusal(), refused(416, "BLOB_UPLOAD_INVALID"));
    first.write_all(b"world").await.unwrap();
    assert_eq!(status_line(&mut first).await, "HTTP/1.1 202 Accepted");
    let digest = Digest::sha256_of(b"helloworld");
    assert_eq!(registry.send("PUT", &format!("{location}?digest={digest}"), &[], "").await.status, 201);
}

#[tokio::test]
async fn an_upload_goes_on_where_its_connection_broke() {
    let registry = Running::start().await;
    let location = registry.begin("a").await;
    let broken = raw(&registry, &format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(broken);
    let status = registry.get(&location).await;
    assert_eq!((status.status, status.header("range")), (204, "0-4"));
    let rest = registry.send("PATCH", &location, &[("content-range", "5-9")], "world").await;
    assert_eq!((rest.status, rest.header("range")), (202, "0-9"));
    let digest = Digest::sha256_of(b"helloworld");
    assert_eq!(registry.send("PUT", &format!("{location}?digest={digest}"), &[], "").await.status, 201);
}

#[tokio::test]
async fn uploads_expire() {
    let registry = Running::with(eager(), Access::Open).await;
    let location = registry.begin("a").await;
    registry.send("PATCH", &location, &[], "hello").await;
    assert_eq!(registry.registry.collect().await.unwrap().uploads, 1);
    assert_eq!(registry.get(&location).await.refusal(), refused(404, "BLOB_UPLOAD_UNKNOWN"));
    assert_eq!(std::fs::read_dir(registry.folder.path().join("registry/uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn uploads_have_a_number_and_a_quota() {
    let registry = Running::with(Settings { uploads: 2, quota: Some(100), ..Settings::default() }, Access::Open).await;
    let one = registry.begin("a").await;
    let two = registry.begin("b").await;
    let third = registry.send("POST", "/v2/c/blobs/uploads/", &[], "").await;
    assert_eq!((third.refusal(), third.header("retry-after")), (refused(429, "TOOMANYREQUESTS"), "10"));
    // Bytes that are no blobs yet count, too.
    assert_eq!(registry.send("PATCH", &one, &[], vec![1; 60]).await.status, 202);
    assert_eq!(registry.send("PATCH", &one, &[], vec![1; 60]).await.refusal(), refused(403, "DENIED"));
    // What found no room ends, or it would keep everybody else out until it expires.
    assert_eq!(registry.get(&one).await.refusal(), refused(404, "BLOB_UPLOAD_UNKNOWN"));
    assert_eq!(registry.send("PATCH", &two, &[], vec![2; 60]).await.status, 202);
    let digest = Digest::sha256_of(&[2; 60]);
    assert_eq!(registry.send("PUT", &format!("{two}?digest={digest}"), &[], "").await.status, 201);
    let over = registry.send("POST", &format!("/v2/c/blobs/uploads/?digest={digest}"), &[], vec![3; 60]).await;
    assert_eq!(over.refusal(), refused(403, "DENIED"));
}

/// Files leave by their place in a queue (`server/wire.rs`): answers on one connection must not get each other's bytes.
#[tokio::test]
async fn answers_on_one_connection_keep_their_bytes() {
    let registry = Running::start().await;
    let contents: Vec<Vec<u8>> =
        [2_500_000, 10, 1 << 20, 70_000].iter().enumerate().map(|(seed, size)| vec![seed as u8 + 1; *size]).collect();
    let mut text = String::new();
    for content in &contents {
        let digest = registry.push_blob("a", content).await;
        text.push_str(&format!(
            "GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\nHEAD /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        text.push_str(&format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nRange: bytes=3-7\r\n\r\n"));
    }
    text.push_str("GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut stream = raw(&registry, &text).await;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let mut rest = all.as_slice();
    let mut next = |with_body: bool| {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(rest[..end].to_vec()).unwrap().to_ascii_lowercase();
        let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let length = if with_body { length } else { 0 };
        let body = rest[end..end + length].to_vec();
        rest = &rest[end + length..];
        body
    };
    for content in &contents {
        assert!(next(true) == *content);
        assert!(next(false).is_empty());
        assert_eq!(next(true), content[3..8]);
    }
    assert_eq!(next(true), b"{}");
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_reader_that_leaves_disturbs_nobody() {
    let registry = Running::start().await;
    let content = vec![7; 20_000_000];
    let digest = registry.push_blob("a", &content).await;
    for _ in 0..10 {
        let mut stream = raw(&registry, &format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let mut some = vec![0; 100_000];
        stream.read_exact(&mut some).await.unwrap();
    }
    assert!(registry.get(&format!("/v2/a/blobs/{digest}")).await.body == content);
}
