//! A server that answers by a script, plain or with TLS, and what it takes to talk to it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use shipway_registry::{Error, Fetched, NameFiles, Retries, Timeouts, Transport, TransportConfig, Url, fetch};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// What happens after the bytes of a reply.
pub(crate) enum Then {
    KeepOpen,
    Close,
    Hang,
    /// The connection becomes one to this port.
    Tunnel(u16),
}

/// An answer, byte by byte.
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
}

/// A well-formed answer; `head` holds whole lines.
pub(crate) fn reply(status: &str, head: &str, body: &[u8]) -> Reply {
    let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{head}\r\n", body.len()).into_bytes();
    bytes.extend(body);
    Reply { bytes, then: Then::KeepOpen }
}

pub(crate) fn raw(bytes: impl Into<Vec<u8>>, then: Then) -> Reply {
    Reply { bytes: bytes.into(), then }
}

/// Runs until it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    log: Arc<Mutex<Log>>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Log {
    requests: Vec<String>,
    connections: usize,
}

impl Server {
    /// A plain server; `script` gets a request's head and its number.
    pub(crate) async fn plain(script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, script).await
    }

    pub(crate) async fn start(tls: Option<TlsAcceptor>, script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Log::default()));
        let (script, shared) = (Arc::new(script), Arc::clone(&log));
        let accept = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.lock().unwrap().connections += 1;
                let (script, log, tls) = (Arc::clone(&script), Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &*script, &log).await,
                        // A client that refuses our certificate is part of some scripts.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &*script, &log).await;
                            }
                        }
                    }
                });
            }
        };
        Self { port, log, _task: AbortOnDropHandle::new(tokio::spawn(accept)) }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://127.0.0.1:{}{path}", self.port)).unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap().requests.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, script: &(dyn Fn(&str, usize) -> Reply + Send + Sync), log: &Mutex<Log>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                // Somebody tries TLS: a plain server answers that it does not understand.
                Ok(0x16) if head.is_empty() => {
                    let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
                    return;
                }
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let number = {
            let mut log = log.lock().unwrap();
            log.requests.push(head.clone());
            log.requests.len() - 1
        };
        let reply = script(&head, number);
        // The client may have had enough in the middle of an answer.
        if stream.write_all(&reply.bytes).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        match reply.then {
            Then::KeepOpen => {}
            Then::Close => return,
            Then::Hang => std::future::pending().await,
            Then::Tunnel(port) => {
                let mut there = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
                return;
            }
        }
    }
}

/// The value of a header in a request's head.
pub(crate) fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Settings whose waits suit tests.
pub(crate) fn settings() -> TransportConfig {
    TransportConfig {
        timeouts: Timeouts { connect: Duration::from_secs(5), idle: Duration::from_secs(5) },
        retries: Retries { first_pause: Duration::from_millis(1), ..Retries::default() },
        ..TransportConfig::default()
    }
}

/// The same with so little patience that hanging servers are given up at once.
pub(crate) fn impatient() -> TransportConfig {
    TransportConfig {
        timeouts: Timeouts { connect: Duration::from_millis(200), idle: Duration::from_millis(200) },
        retries: Retries { count: 0, ..Retries::default() },
        ..settings()
    }
}

/// A hosts file with `text`, and no name server that could answer.
pub(crate) fn names(folder: &TempDir, text: &str) -> NameFiles {
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, text).unwrap();
    NameFiles { hosts, resolv_conf: PathBuf::from("/nonexistent/resolv.conf") }
}

/// Downloads `url` by `config` and gives what came with its bytes.
pub(crate) async fn download(config: TransportConfig, url: &Url, limit: u64) -> Result<(Fetched, Vec<u8>), Error> {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("file");
    let fetched = fetch(&Transport::new(config)?, url, &into, limit).await?;
    Ok((fetched, std::fs::read(into).unwrap()))
}

/// An authority made for this test and a server's identity signed by it.
pub(crate) struct Identity {
    pub(crate) authority_pem: Vec<u8>,
    pub(crate) acceptor: TlsAcceptor,
}

/// An identity for `name`, a host name or address.
pub(crate) fn identity(name: &str) -> Identity {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
        .unwrap();
    let body = base64::engine::general_purpose::STANDARD.encode(authority_certificate.der());
    let authority_pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n").into_bytes();
    Identity { authority_pem, acceptor: TlsAcceptor::from(Arc::new(config)) }
}
