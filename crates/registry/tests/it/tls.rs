//! Whom we believe to be who they say.

use shipway_model::{Classified, ErrorKind};
use shipway_registry::{Error, Stage, TransportConfig, Url};

use crate::server::{Identity, Server, download, identity, impatient, reply, settings};

async fn secure(identity: &Identity) -> (Server, Url) {
    let server = Server::start(Some(identity.acceptor.clone()), |_, _| reply("200 OK", "", b"secret")).await;
    let url = Url::parse(&format!("https://127.0.0.1:{}/", server.port)).unwrap();
    (server, url)
}

fn trusting(identity: &Identity) -> TransportConfig {
    TransportConfig { extra_roots: vec![identity.authority_pem.clone()], ..settings() }
}

#[tokio::test]
async fn a_server_vouched_for_by_an_extra_authority_is_believed() {
    let identity = identity("127.0.0.1");
    let (_server, url) = secure(&identity).await;
    assert_eq!(download(trusting(&identity), &url, 9).await.unwrap().1, b"secret");
}

#[tokio::test]
async fn an_unknown_authority_is_refused_and_not_asked_again() {
    let (server, url) = secure(&identity("127.0.0.1")).await;
    let stranger = identity("127.0.0.1");
    let error = download(trusting(&stranger), &url, 9).await.unwrap_err();
    assert!(matches!(&error, Error::Certificate { host, .. } if host == "127.0.0.1"), "{error:?}");
    assert_eq!(error.to_string(), "the certificate of \"127.0.0.1\" is refused: x509: certificate signed by unknown authority");
    assert!(error.hint().unwrap().contains(&format!("/etc/docker/certs.d/127.0.0.1:{}/ca.crt", server.port)), "{:?}", error.hint());
    assert_eq!((error.kind(), server.connections(), server.requests().len()), (ErrorKind::Forbidden, 1, 0));
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let identity = identity("other.test");
    let (server, url) = secure(&identity).await;
    let error = download(trusting(&identity), &url, 9).await.unwrap_err();
    assert!(matches!(&error, Error::Certificate { issuer_unknown: false, .. }), "{error:?}");
    assert!(error.to_string().ends_with("x509: certificate is valid for other.test, not 127.0.0.1"), "{error}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn only_hosts_listed_as_insecure_go_unchecked() {
    let (server, url) = secure(&identity("other.test")).await;
    for listed in ["127.0.0.1".to_owned(), format!("127.0.0.1:{}", server.port)] {
        let config = TransportConfig { insecure_hosts: vec![listed], ..settings() };
        assert_eq!(download(config, &url, 9).await.unwrap().1, b"secret");
    }
    for other in ["127.0.0.2", "127.0.0.1:1"] {
        let config = TransportConfig { insecure_hosts: vec![other.to_owned()], ..trusting(&identity("x.test")) };
        let error = download(config, &url, 9).await.unwrap_err();
        assert!(matches!(error, Error::Certificate { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn nothing_leads_from_https_to_http() {
    let plain = Server::plain(|_, _| reply("200 OK", "", b"")).await;
    let location = format!("Location: http://127.0.0.1:{}/?T0KEN\r\n", plain.port);
    let identity = identity("127.0.0.1");
    let server = Server::start(Some(identity.acceptor.clone()), move |_, _| reply("302 Found", &location, b"")).await;
    let url = Url::parse(&format!("https://127.0.0.1:{}/", server.port)).unwrap();
    let error = download(trusting(&identity), &url, 9).await.unwrap_err();
    assert_eq!(error.to_string(), format!("redirected from https to \"http://127.0.0.1:{}/?[secret]\", which is not secure", plain.port));
    assert_eq!(plain.connections(), 0);
}

#[tokio::test]
async fn a_plain_server_is_told_from_a_secure_one() {
    let identity = identity("127.0.0.1");
    // A silent peer: the system takes the connection, nobody reads from it.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://{}/", silent.local_addr().unwrap())).unwrap();
    let config = TransportConfig { extra_roots: vec![identity.authority_pem.clone()], ..impatient() };
    let error = download(config, &url, 9).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { stage: Stage::Handshake, .. }), "{error:?}");
    // One that answers the greeting in plain text.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://{}/", listener.local_addr().unwrap())).unwrap();
    let answer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        result = download(trusting(&identity), &url, 9) => result.unwrap_err(),
        () = answer => unreachable!(),
    };
    assert_eq!(error.to_string(), "http: server gave HTTP response to HTTPS client", "docker's words");
    let mended = format!("--insecure-registry {}", url.origin().authority());
    assert!(error.hint().is_some_and(|hint| hint.contains(&mended)), "{:?}", error.hint());
}

#[tokio::test]
async fn an_extra_certificate_that_is_none_is_refused() {
    let (_server, url) = secure(&identity("127.0.0.1")).await;
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
    let error = download(TransportConfig { extra_roots: vec![broken], ..settings() }, &url, 9).await.unwrap_err();
    assert!(matches!(error, Error::Settings { .. }), "{error:?}");
}
