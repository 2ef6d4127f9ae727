//! Whole files: what arrives, what is tried again, what never is.

use shipway_model::{Classified, Digest, ErrorKind};
use shipway_registry::{Error, Stage, Transport, TransportConfig, fetch};

use crate::server::{Server, Then, download, header, impatient, raw, reply, settings};

const TAG: &str = "ETag: \"one\"\r\n";

#[tokio::test]
async fn a_large_file_arrives_whole() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let sent = content.clone();
    let head = "Content-Disposition: attachment; filename=\"a.bin\"\r\nLast-Modified: Thu, 01 Jan 1970 00:01:00 GMT\r\n";
    let server = Server::plain(move |_, _| reply("200 OK", head, &sent)).await;
    let (fetched, bytes) = download(settings(), &server.url("/dir/file?x=y"), u64::MAX).await.unwrap();
    assert!(bytes == content);
    assert_eq!((fetched.size, fetched.digest), (3_000_000, Digest::sha256_of(&content)));
    assert_eq!((fetched.file_name.as_deref(), fetched.last_modified.unwrap().unix_seconds()), (Some("a.bin"), 60));
    let request = &server.requests()[0];
    assert!(request.starts_with("GET /dir/file?x=y HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(request, "host"), Some(format!("127.0.0.1:{}", server.port).as_str()));
    assert_eq!(header(request, "accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn final_answers_are_not_asked_for_again() {
    for (status, kind) in [
        ("404 Not Found", ErrorKind::NotFound),
        ("401 Unauthorized", ErrorKind::Unauthenticated),
        ("403 Forbidden", ErrorKind::Forbidden),
        ("400 Bad Request", ErrorKind::Unavailable),
        ("206 Partial Content", ErrorKind::Unavailable),
        ("304 Not Modified", ErrorKind::Unavailable),
    ] {
        let server = Server::plain(move |_, _| reply(status, "", b"")).await;
        let error = download(settings(), &server.url("/"), 9).await.unwrap_err();
        assert_eq!((error.to_string(), error.kind()), (format!("the server answers {status}"), kind));
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn passing_troubles_are_waited_out() {
    let server = Server::plain(|_, number| match number {
        0 => reply("503 Service Unavailable", "Retry-After: 0\r\n", b"later"),
        1 => raw("", Then::Close),
        2 => reply("429 Too Many Requests", "", b""),
        _ => reply("200 OK", "", b"abc"),
    });
    let server = server.await;
    assert_eq!(download(settings(), &server.url("/"), 3).await.unwrap().1, b"abc");
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn lasting_troubles_end_after_four_attempts() {
    let server = Server::plain(|_, _| reply("500 Internal Server Error", "", b"")).await;
    let error = download(settings(), &server.url("/"), 3).await.unwrap_err();
    assert!(matches!(error, Error::Status { .. }), "{error:?}");
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_server_that_wants_an_hour_is_not_waited_for() {
    let server = Server::plain(|_, _| reply("429 Too Many Requests", "Retry-After: 3600\r\n", b"")).await;
    let error = download(settings(), &server.url("/"), 3).await.unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("the server asks to come back in 3600 s"));
    assert_eq!(server.requests().len(), 1);
}

/// A server whose first answer of ten bytes breaks after `abcde`; `second` is what it says then.
async fn breaking(tag: &'static str, second: fn(&str) -> Vec<u8>) -> (Server, Result<Vec<u8>, Error>) {
    let server = Server::plain(move |head, number| match number {
        0 => raw(format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{tag}\r\nabcde"), Then::Close),
        _ => raw(second(head), Then::Close),
    });
    let server = server.await;
    let result = download(settings(), &server.url("/"), 10).await.map(|(fetched, bytes)| {
        assert_eq!((fetched.size, fetched.digest), (bytes.len() as u64, Digest::sha256_of(&bytes)));
        bytes
    });
    (server, result)
}

#[tokio::test]
async fn a_broken_download_is_resumed_where_it_broke() {
    let rest = |_: &str| b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 5-9/10\r\n\r\nfghij".to_vec();
    let (server, result) = breaking(TAG, rest).await;
    assert_eq!(result.unwrap(), b"abcdefghij");
    let requests = server.requests();
    assert_eq!((header(&requests[0], "range"), header(&requests[0], "if-range")), (None, None));
    assert_eq!((header(&requests[1], "range"), header(&requests[1], "if-range")), (Some("bytes=5-"), Some("\"one\"")));
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_begun_anew() {
    let (_, result) = breaking(TAG, |_| b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew".to_vec()).await;
    assert_eq!(result.unwrap(), b"new");
}

#[tokio::test]
async fn without_proof_of_sameness_nothing_is_resumed() {
    let (server, result) = breaking("ETag: W/\"weak\"\r\n", |_| b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789".to_vec()).await;
    assert_eq!(result.unwrap(), b"0123456789");
    assert_eq!(header(&server.requests()[1], "range"), None);
}

#[tokio::test]
async fn a_wrong_rest_is_not_appended() {
    for wrong in [
        "206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 4-8/10\r\n\r\nXXXXX",
        "206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 5-9/11\r\n\r\nXXXXX",
        "206 Partial Content\r\nContent-Length: 5\r\n\r\nXXXXX",
        "416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n",
    ] {
        let server = Server::plain(move |head, number| match (number, header(head, "range")) {
            (0, _) => raw(format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{TAG}\r\nabcde"), Then::Close),
            (_, Some(_)) => raw(format!("HTTP/1.1 {wrong}"), Then::Close),
            (_, None) => reply("200 OK", "", b"abcdefghij"),
        });
        let server = server.await;
        assert_eq!(download(settings(), &server.url("/"), 10).await.unwrap().1, b"abcdefghij", "{wrong}");
        assert_eq!(server.requests().len(), 3, "{wrong}");
    }
}

#[tokio::test]
async fn a_body_that_always_breaks_is_an_error() {
    for broken in
        ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n5\r\nabc", "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc"]
    {
        let server = Server::plain(move |_, _| raw(format!("HTTP/1.1 200 OK\r\n{broken}"), Then::Close)).await;
        let error = download(settings(), &server.url("/"), 10).await.unwrap_err();
        assert!(matches!(error, Error::Broken { .. } | Error::Protocol { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn files_beyond_the_limit_are_refused() {
    for large in [
        "Content-Length: 5\r\n\r\nabcde",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        "Connection: close\r\n\r\nabcde",
    ] {
        let server = Server::plain(move |_, _| raw(format!("HTTP/1.1 200 OK\r\n{large}"), Then::Close)).await;
        let error = download(settings(), &server.url("/"), 4).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 4 }), "{error:?}");
        assert_eq!(server.requests().len(), 1, "{large}");
        assert_eq!(download(settings(), &server.url("/"), 5).await.unwrap().1, b"abcde", "{large}");
    }
}

#[tokio::test]
async fn hanging_servers_are_given_up() {
    for (sent, stage) in [
        ("", Stage::Answer),
        ("HTTP/1.1 200 OK\r\nContent-Le", Stage::Answer),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", Stage::Body),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Stage::Body),
    ] {
        let server = Server::plain(move |_, _| raw(sent, Then::Hang)).await;
        let error = download(impatient(), &server.url("/"), 10).await.unwrap_err();
        assert!(matches!(&error, Error::TimedOut { stage: found, .. } if *found == stage), "{sent:?}: {error}");
    }
}

#[tokio::test]
async fn a_file_that_exists_is_never_overwritten() {
    let server = Server::plain(|_, _| reply("200 OK", "", b"abc")).await;
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("file");
    std::fs::write(&into, "mine").unwrap();
    let error = fetch(&Transport::new(TransportConfig::default()).unwrap(), &server.url("/"), &into, 9).await.unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error:?}");
    assert_eq!((std::fs::read(into).unwrap(), server.requests().len()), (b"mine".to_vec(), 0));
}

#[tokio::test]
async fn a_folder_that_is_missing_is_told_before_anything_is_asked() {
    let server = Server::plain(|_, _| reply("200 OK", "", b"abc")).await;
    let into = std::path::Path::new("/nonexistent/file");
    let error = fetch(&Transport::new(settings()).unwrap(), &server.url("/"), into, 9).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot write \"/nonexistent/file\": "), "{error}");
    assert_eq!(server.requests().len(), 0);
}
