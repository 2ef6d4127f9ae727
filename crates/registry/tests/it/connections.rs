//! The way to a server: names, addresses, kept connections, proxies, oversized heads.

use std::io;

use http::HeaderMap;
use shipway_registry::{Error, Proxies, Response, Transport, TransportConfig, Url};

use crate::server::{Reply, Server, Then, download, header, identity, names, raw, reply, settings};

async fn read(mut response: Response) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = response.body.next().await {
        all.extend(piece.unwrap());
    }
    all
}

#[tokio::test]
async fn a_connection_serves_several_requests() {
    let server = Server::plain(|_, _| reply("200 OK", "", b"abc")).await;
    let transport = Transport::new(settings()).unwrap();
    for _ in 0..5 {
        assert_eq!(read(transport.get(&server.url("/"), &HeaderMap::new()).await.unwrap()).await, b"abc");
    }
    assert_eq!((server.requests().len(), server.connections()), (5, 1));
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced() {
    // The answer promises to stay, and the server leaves without a word when asked again.
    let server = Server::plain(|_, number| if number % 2 == 1 { raw("", Then::Close) } else { reply("200 OK", "", b"abc") }).await;
    let transport = Transport::new(settings()).unwrap();
    for _ in 0..3 {
        assert_eq!(read(transport.get(&server.url("/"), &HeaderMap::new()).await.unwrap()).await, b"abc");
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_body_that_was_not_read_does_not_spoil_the_next() {
    let server = Server::plain(|_, _| reply("200 OK", "", &[b'x'; 500_000])).await;
    let transport = Transport::new(settings()).unwrap();
    let mut first = transport.get(&server.url("/"), &HeaderMap::new()).await.unwrap();
    first.body.next().await.unwrap().unwrap();
    drop(first);
    assert_eq!(read(transport.get(&server.url("/"), &HeaderMap::new()).await.unwrap()).await.len(), 500_000);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn heads_are_bounded() {
    let sized = |size: usize| Server::plain(move |_, _| reply("200 OK", &format!("X-Long: {}\r\n", "x".repeat(size)), b"abc"));
    let small = sized(60_000).await;
    assert_eq!(download(settings(), &small.url("/"), 9).await.unwrap().1, b"abc");
    let large = sized(66_000).await;
    let error = download(settings(), &large.url("/"), 9).await.unwrap_err();
    assert!(matches!(error, Error::HeadTooLarge { limit: 65_536, .. }), "{error:?}");
    assert_eq!(large.requests().len(), 1);
}

#[tokio::test]
async fn what_is_not_http_is_told_as_such() {
    for nonsense in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 two hundred\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"] {
        let server = Server::plain(move |_, _| raw(nonsense, Then::Close)).await;
        let error = download(settings(), &server.url("/"), 9).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{nonsense:?}: {error:?}");
    }
}

#[tokio::test]
async fn the_hosts_file_counts_and_its_addresses_are_tried_in_order() {
    let server = Server::plain(|_, _| reply("200 OK", "", b"abc")).await;
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens at the first two.
    let config = TransportConfig { names: names(&folder, "127.0.0.3 files.test\n::1 files.test\n127.0.0.1 files.test\n"), ..settings() };
    let url = Url::parse(&format!("http://FILES.test:{}/", server.port)).unwrap();
    assert_eq!(download(config, &url, 9).await.unwrap().1, b"abc");
    assert_eq!(header(&server.requests()[0], "host"), Some(format!("files.test:{}", server.port).as_str()));
}

#[tokio::test]
async fn localhost_needs_no_files() {
    let server = Server::plain(|_, _| reply("200 OK", "", b"abc")).await;
    let folder = tempfile::tempdir().unwrap();
    let config = TransportConfig { names: names(&folder, ""), ..settings() };
    let url = Url::parse(&format!("http://a.localhost:{}/", server.port)).unwrap();
    assert_eq!(download(config, &url, 9).await.unwrap().1, b"abc");
}

#[tokio::test]
async fn a_closed_port_is_told_with_its_address() {
    let port = Server::plain(|_, _| reply("200 OK", "", b"")).await.port;
    let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
    let error = download(settings(), &url, 9).await.unwrap_err();
    assert!(matches!(&error, Error::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused), "{error:?}");
    assert!(error.to_string().starts_with(&format!("cannot connect to 127.0.0.1:{port} at 127.0.0.1: ")), "{error}");
}

fn through(proxy: &Server) -> TransportConfig {
    let address = Some(format!("http://u:T0KEN@127.0.0.1:{}", proxy.port));
    TransportConfig { proxies: Proxies { http: address.clone(), https: address, no_proxy: Some("direct.test".to_owned()) }, ..settings() }
}

#[tokio::test]
async fn a_proxy_gets_whole_addresses_and_its_own_password_only() {
    let proxy = Server::plain(|_, _| reply("200 OK", "", b"abc")).await;
    let url = Url::parse("http://v:OTHER@files.test:81/a?b").unwrap();
    assert_eq!(download(through(&proxy), &url, 9).await.unwrap().1, b"abc");
    let request = &proxy.requests()[0];
    assert!(request.starts_with("GET http://files.test:81/a?b HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(request, "host"), Some("files.test:81"));
    // printf 'u:T0KEN' | base64; printf 'v:OTHER' | base64
    assert_eq!(header(request, "proxy-authorization"), Some("Basic dTpUMEtFTg=="));
    assert_eq!(header(request, "authorization"), Some("Basic djpPVEhFUg=="));
}

#[tokio::test]
async fn https_goes_through_a_tunnel_that_the_proxy_cannot_look_into() {
    let identity = identity("files.test");
    let server = Server::start(Some(identity.acceptor.clone()), |_, _| reply("200 OK", "", b"secret")).await;
    let port = server.port;
    let proxy = Server::plain(move |_, _| raw("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n", Then::Tunnel(port))).await;
    let config = TransportConfig { extra_roots: vec![identity.authority_pem], ..through(&proxy) };
    let url = Url::parse("https://files.test/a").unwrap();
    assert_eq!(download(config, &url, 9).await.unwrap().1, b"secret");
    let requests = proxy.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].starts_with("CONNECT files.test:443 HTTP/1.1\r\nHost: files.test:443\r\n"), "{requests:?}");
    assert_eq!(header(&requests[0], "proxy-authorization"), Some("Basic dTpUMEtFTg=="));
    assert_eq!(header(&server.requests()[0], "proxy-authorization"), None);
}

#[tokio::test]
async fn refusals_of_a_proxy_are_told_as_the_proxys() {
    let answers: [fn() -> Reply; 4] = [
        || raw("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Then::Close),
        || raw("HTTP/1.1 200 OK\r\n\r\nspeaks first", Then::Close),
        || raw("SSH-2.0\r\n\r\n", Then::Close),
        || raw(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(9000)), Then::Close),
    ];
    for answer in answers {
        let proxy = Server::plain(move |_, _| answer()).await;
        let error = download(through(&proxy), &Url::parse("https://files.test/").unwrap(), 9).await.unwrap_err();
        assert!(matches!(&error, Error::Proxy { authority, .. } if authority == "files.test:443"), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("T0KEN"));
        assert_eq!(proxy.requests().len(), 1);
    }
}

#[tokio::test]
async fn exempted_hosts_are_reached_without_the_proxy() {
    let proxy = Server::plain(|_, _| reply("502 Bad Gateway", "", b"")).await;
    let server = Server::plain(|_, _| reply("200 OK", "", b"abc")).await;
    let folder = tempfile::tempdir().unwrap();
    let config = TransportConfig { names: names(&folder, "127.0.0.1 direct.test\n"), ..through(&proxy) };
    let url = Url::parse(&format!("http://direct.test:{}/", server.port)).unwrap();
    assert_eq!(download(config, &url, 9).await.unwrap().1, b"abc");
    assert_eq!(proxy.connections(), 0);
}
