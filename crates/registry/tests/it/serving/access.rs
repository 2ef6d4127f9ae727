//! Accounts, tokens, TLS: who gets in, and to what (S-511).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use shipway_model::Digest;
use shipway_registry::server::{
    Access, Accounts, AnonymousRead, FolderStorage, Identity, Keys, Listening, Registry, Settings, Tokens, serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{Running, refused};

/// An account `ann` with the password `secret`.
async fn with_account(anonymous_read: bool) -> Running {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let file = folder.path().join("htpasswd");
    std::fs::write(&file, format!("ann:{}\n", bcrypt::hash("secret", 4).unwrap())).unwrap();
    let accounts = Accounts::read(&file).unwrap();
    let access = if anonymous_read { Access::AnonymousRead(AnonymousRead::new(accounts).unwrap()) } else { Access::Accounts(accounts) };
    Running::over(folder, Settings::default(), access).await
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn only_people_with_an_account_get_in() {
    let registry = with_account(false).await;
    let right = basic("ann", "secret");
    for path in ["/v2/", "/v2/_catalog", "/v2/a/tags/list", "/nowhere", "/v2/A/tags/list"] {
        let answer = registry.get(path).await;
        assert_eq!(answer.refusal(), refused(401, "UNAUTHORIZED"), "{path}");
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"Shipway registry\"", "{path}");
    }
    for wrong in [
        basic("ann", "other"),
        basic("ann", ""),
        basic("bob", "secret"),
        basic("", ""),
        "Basic !".to_owned(),
        "Bearer x".to_owned(),
        "Basic".to_owned(),
    ] {
        assert_eq!(registry.send("GET", "/v2/", &[("authorization", &wrong)], "").await.status, 401, "{wrong}");
    }
    assert_eq!(registry.send("GET", "/v2/", &[("authorization", &right)], "").await.status, 200);
    assert_eq!(registry.send("POST", "/v2/a/blobs/uploads/", &[("authorization", &right)], "").await.status, 202);
}

/// The token that our own `/token` gives for `scope`.
async fn fetch_token(registry: &Running, scope: &str, headers: &[(&str, &str)]) -> String {
    let answer = registry.send("GET", &format!("/token?service=shipway-registry&scope={scope}"), headers, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["token"], answer.json()["access_token"]);
    format!("Bearer {}", answer.json()["token"].as_str().unwrap())
}

#[tokio::test]
async fn reading_may_be_free() {
    let registry = with_account(true).await;
    let right = basic("ann", "secret");
    let challenge = registry.get("/v2/a/tags/list").await;
    assert_eq!(challenge.refusal(), refused(401, "UNAUTHORIZED"));
    let expected = "Bearer realm=\"http://registry.test/token\",service=\"shipway-registry\",scope=\"repository:a:pull\"";
    assert_eq!(challenge.header("www-authenticate"), expected);
    let everything = "repository:a:pull,push,delete&scope=registry:catalog:*";
    let (reader, writer) =
        (fetch_token(&registry, everything, &[]).await, fetch_token(&registry, everything, &[("authorization", &right)]).await);
    let digest = Digest::sha256_of(b"x");
    let push = format!("/v2/a/blobs/uploads/?digest={digest}");
    assert_eq!(registry.send("POST", &push, &[("authorization", &reader)], "x").await.refusal(), refused(401, "UNAUTHORIZED"));
    assert_eq!(registry.send("POST", &push, &[("authorization", &writer)], "x").await.status, 201);
    assert_eq!(registry.send("POST", &push.replace("/a/", "/b/"), &[("authorization", &right)], "x").await.status, 201, "basic works, too");
    let blob = format!("/v2/a/blobs/{digest}");
    assert_eq!(registry.send("GET", &blob, &[("authorization", &reader)], "").await.body, "x");
    assert_eq!(registry.send("GET", "/v2/_catalog", &[("authorization", &reader)], "").await.status, 200);
    assert_eq!(registry.send("DELETE", &blob, &[("authorization", &reader)], "").await.status, 401);
    assert_eq!(registry.send("GET", &blob.replace("/a/", "/b/"), &[("authorization", &reader)], "").await.status, 401, "another scope");
    assert_eq!(registry.send("DELETE", &blob, &[("authorization", &writer)], "").await.status, 202);
    // A wrong password gives no token, and a token that was touched is none.
    let wrong = registry.send("GET", "/token?scope=repository:a:pull", &[("authorization", &basic("ann", "other"))], "").await;
    assert_eq!(wrong.refusal(), refused(401, "UNAUTHORIZED"));
    for forged in [format!("{reader}x"), reader.replacen('.', "x.", 1), "Bearer x".to_owned(), "Bearer .".to_owned()] {
        assert_eq!(registry.send("GET", "/v2/", &[("authorization", &forged)], "").await.status, 401, "{forged}");
    }
    let plain = with_account(false).await;
    assert_eq!(plain.send("GET", "/token", &[("authorization", &right)], "").await.status, 404);
}

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap())
    }

    fn token(&self, access: Value) -> String {
        let head = json!({ "alg": "ES256", "kid": "k" });
        let claims = json!({ "iss": "auth", "aud": "registry", "exp": 4_000_000_000_u64, "access": access });
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.0.sign(&ring::rand::SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    async fn serving(&self) -> Running {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let file = folder.path().join("keys.json");
        let point = self.0.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        std::fs::write(&file, json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y }] }).to_string()).unwrap();
        let text = |text: &str| text.to_owned();
        let tokens =
            Tokens { realm: text("https://auth.test/"), service: text("registry"), issuer: text("auth"), keys: Keys::read(&file).unwrap() };
        Running::over(folder, Settings::default(), Access::Tokens(tokens)).await
    }
}

fn scope(name: &str, actions: &[&str]) -> Value {
    json!({ "type": "repository", "name": name, "actions": actions })
}

/// S-511, S-512: a token for one repository opens no other, neither by address nor by a mount from it.
#[tokio::test]
async fn a_token_opens_its_repositories_only() {
    let signer = Signer::new();
    let registry = signer.serving().await;
    let (owner, other) =
        (signer.token(json!([scope("private", &["pull", "push"])])), signer.token(json!([scope("mine", &["pull", "push"])])));
    let digest = Digest::sha256_of(b"treasure");
    let path = format!("/v2/private/blobs/uploads/?digest={digest}");
    assert_eq!(registry.send("POST", &path, &[("authorization", &owner)], "treasure").await.status, 201);

    let challenge = registry.get(&format!("/v2/private/blobs/{digest}")).await;
    assert_eq!(
        challenge.header("www-authenticate"),
        "Bearer realm=\"https://auth.test/\",service=\"registry\",scope=\"repository:private:pull\""
    );
    for method in ["GET", "HEAD"] {
        assert_eq!(
            registry.send(method, &format!("/v2/private/blobs/{digest}"), &[("authorization", &other)], "").await.status,
            401,
            "{method}"
        );
        assert_eq!(
            registry.send(method, &format!("/v2/mine/blobs/{digest}"), &[("authorization", &other)], "").await.status,
            404,
            "{method}"
        );
    }
    let mount = format!("/v2/mine/blobs/uploads/?mount={digest}&from=private");
    assert_eq!(registry.send("POST", &mount, &[("authorization", &other)], "").await.status, 202, "an upload, not a mount");
    let both = signer.token(json!([scope("private", &["pull"]), scope("mine", &["pull", "push"])]));
    assert_eq!(registry.send("POST", &mount, &[("authorization", &both)], "").await.status, 201);
    let delete = registry.send("DELETE", &format!("/v2/private/blobs/{digest}"), &[("authorization", &owner)], "").await;
    assert_eq!(delete.status, 401);
    assert!(delete.header("www-authenticate").ends_with("error=\"insufficient_scope\""));
    assert_eq!(registry.send("GET", "/v2/_catalog", &[("authorization", &owner)], "").await.status, 401);
    let admin = signer.token(json!([{ "type": "registry", "name": "catalog", "actions": ["*"] }]));
    assert_eq!(registry.send("GET", "/v2/_catalog", &[("authorization", &admin)], "").await.status, 200);
    let forged = Signer::new().token(json!([scope("private", &["*"])]));
    assert_eq!(registry.send("GET", &format!("/v2/private/blobs/{digest}"), &[("authorization", &forged)], "").await.status, 401);
}

/// A certificate made on the spot is one that clients can be told to trust; files leave over TLS, too.
#[tokio::test]
async fn a_self_signed_registry_is_trusted_by_its_certificate() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let identity = Identity::self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let storage = FolderStorage::open(&folder.path().join("registry")).unwrap();
    let registry = Registry::new(Arc::new(storage), Access::Open, Settings::default());
    let socket = Listening::bind("127.0.0.1:0", Some(&identity)).await.unwrap();
    let address = socket.address().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(registry, vec![socket], stop.clone()));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(identity.certificate_pem.unwrap().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();

    let content = "x".repeat(500_000);
    let digest = Digest::sha256_of(content.as_bytes());
    let post =
        format!("POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{content}", content.len());
    stream.write_all(post.as_bytes()).await.unwrap();
    stream.write_all(format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let text = String::from_utf8(all).unwrap();
    assert!(text.starts_with("HTTP/1.1 201 Created") && text.ends_with(&format!("\r\n\r\n{content}")), "{} bytes", text.len());

    // Who comes without TLS hears why nothing comes of it.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut told = String::new();
    plain.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.0 400 Bad Request\r\n") && told.contains("this registry speaks https"), "{told}");
    stop.cancel();
    task.await.unwrap();
}
