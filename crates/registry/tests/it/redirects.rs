//! Where servers send us, and where we do not go.

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use shipway_registry::{Error, Transport, Url};

use crate::server::{Server, download, header, reply, settings};

#[tokio::test]
async fn every_kind_of_redirect_is_followed() {
    let server = Server::plain(|head, number| match number {
        0 => reply("301 Moved Permanently", "Location: b\r\n", b"old"),
        1 => reply("302 Found", "Location: ?q\r\n", b""),
        2 => reply("303 See Other", "Location: /c\r\n", b""),
        3 => reply("307 Temporary Redirect", "Location: d#part\r\n", b""),
        4 => reply("308 Permanent Redirect", "Location: e\r\n", b""),
        _ => reply("200 OK", "", head.lines().next().unwrap().as_bytes()),
    });
    let server = server.await;
    let (_, bytes) = download(settings(), &server.url("/x/a"), 99).await.unwrap();
    assert_eq!(bytes, b"GET /e HTTP/1.1");
    let lines: Vec<_> = server.requests().iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(lines, ["/x/a", "/x/b", "/x/b?q", "/c", "/d", "/e"]);
}

#[tokio::test]
async fn a_loop_ends_after_ten_redirects() {
    let server = Server::plain(|_, _| reply("302 Found", "Location: /\r\n", b"")).await;
    let error = download(settings(), &server.url("/"), 9).await.unwrap_err();
    assert!(matches!(error, Error::TooManyRedirects { limit: 10, .. }), "{error:?}");
    assert_eq!(server.requests().len(), 11);
}

#[tokio::test]
async fn ten_redirects_are_not_too_many() {
    let server =
        Server::plain(|_, number| if number < 10 { reply("302 Found", "Location: /\r\n", b"") } else { reply("200 OK", "", b"ok") }).await;
    assert_eq!(download(settings(), &server.url("/"), 9).await.unwrap().1, b"ok");
}

#[tokio::test]
async fn secrets_stay_with_their_origin() {
    let other = Server::plain(|_, _| reply("200 OK", "", b"")).await;
    let location = format!("Location: {}\r\n", other.url("/").exposed());
    let server = Server::plain(move |head, _| {
        if head.starts_with("GET /first ") { reply("302 Found", "Location: /second\r\n", b"") } else { reply("302 Found", &location, b"") }
    });
    let server = server.await;
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer T0KEN"));
    headers.insert(COOKIE, HeaderValue::from_static("T0KEN"));
    Transport::new(settings()).unwrap().get(&server.url("/first"), &headers).await.unwrap();
    assert_eq!(header(&server.requests()[1], "authorization"), Some("Bearer T0KEN"));
    assert!(!other.requests()[0].contains("T0KEN"), "{:?}", other.requests());
}

#[tokio::test]
async fn user_and_password_of_the_address_stay_with_its_origin() {
    let other = Server::plain(|_, _| reply("404 Not Found", "", b"")).await;
    let location = format!("Location: {}\r\n", other.url("/").exposed());
    let server = Server::plain(move |_, _| reply("302 Found", &location, b"")).await;
    let url = Url::parse(&format!("http://u:T0KEN@127.0.0.1:{}/?T0KEN", server.port)).unwrap();
    let error = download(settings(), &url, 9).await.unwrap_err();
    // printf 'u:T0KEN' | base64
    assert_eq!(header(&server.requests()[0], "authorization"), Some("Basic dTpUMEtFTg=="));
    assert_eq!((header(&other.requests()[0], "authorization"), header(&other.requests()[0], "referer")), (None, None));
    assert!(!format!("{error} {error:?}").contains("T0KEN"));
}

#[tokio::test]
async fn other_schemes_and_missing_addresses_are_refused() {
    for location in ["Location: file:///etc/passwd\r\n", "Location: ftp://host/\r\n", "Location: http://\r\n", ""] {
        let server = Server::plain(move |_, _| reply("302 Found", location, b"")).await;
        let error = download(settings(), &server.url("/"), 9).await.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }), "{location}: {error:?}");
    }
}
