//! Who we are to a registry, and how it is reached.

use http::HeaderMap;
use shipway_model::Secret;
use shipway_registry::{Access, Credentials, Error, HostSettings, Hosts, Registry, Scope, Transport};

use crate::server::{Server, header, reply, settings};

fn registry(server: &Server, access: &Access) -> Registry {
    let hosts = Hosts::new(&HostSettings::default()).unwrap();
    Registry::new(Transport::new(settings()).unwrap(), &hosts, &format!("127.0.0.1:{}", server.port), access, false).unwrap()
}

#[tokio::test]
async fn a_registry_here_is_reached_in_plain_http() {
    let server = Server::plain(|_, _| reply("200 OK", "", b"{}")).await;
    let registry = registry(&server, &Access::anonymous());
    for _ in 0..2 {
        let response = registry.get("x/manifests/latest", &Scope::pull("x"), &HeaderMap::new()).await.unwrap();
        assert_eq!(response.status, 200);
    }
    let requests: Vec<_> = server.requests().iter().filter(|head| head.starts_with("GET ")).cloned().collect();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(requests[0].starts_with("GET /v2/x/manifests/latest HTTP/1.1"));
}

#[tokio::test]
async fn a_password_goes_only_where_it_was_asked_for() {
    let server = Server::plain(|head, _| match header(head, "authorization") {
        None => reply("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", b"{}"),
        Some(_) => reply("200 OK", "", b"{}"),
    })
    .await;
    let access = Access::with(Credentials::basic("u", Secret::new("p")));
    let registry = registry(&server, &access);
    for _ in 0..2 {
        assert_eq!(registry.get("x/tags/list", &Scope::pull("x"), &HeaderMap::new()).await.unwrap().status, 200);
    }
    let sent: Vec<_> = server
        .requests()
        .iter()
        .filter(|head| head.starts_with("GET "))
        .map(|head| header(head, "authorization").map(str::to_owned))
        .collect();
    // printf 'u:p' | base64
    assert_eq!(sent, [None, Some("Basic dTpw".to_owned()), Some("Basic dTpw".to_owned())]);
    assert_eq!(self::registry(&server, &Access::anonymous()).get("", &Scope::registry(), &HeaderMap::new()).await.unwrap().status, 401);
}

#[tokio::test]
async fn nobody_listening_is_told_as_that() {
    let server = Server::plain(|_, _| reply("200 OK", "", b"{}")).await;
    let port = server.port;
    let registry = registry(&server, &Access::anonymous());
    drop(server);
    let error = registry.get("", &Scope::registry(), &HeaderMap::new()).await.unwrap_err();
    assert!(matches!(&error, Error::Connect { authority, .. } if *authority == format!("127.0.0.1:{port}")), "{error:?}");
}
