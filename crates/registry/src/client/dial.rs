//! The way from an origin to a connection that speaks HTTP: name, TCP, proxy, TLS.
//!
//! What must stay true: each step has its own time limit; through a proxy no name is looked up here but the proxy's, since only the proxy may know it.

use std::time::Duration;

use http::HeaderValue;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::task::AbortOnDropHandle;

use super::names::Names;
use super::pool::{Link, Route};
use super::proxy::ProxyRules;
use super::tls::Tls;
use super::transport::{HEAD_LIMIT, TransportConfig, broken};
use super::{race, within};
use crate::error::Stage;
use crate::{Error, Host, Origin, Url};

/// The largest answer of a proxy to CONNECT.
const PROXY_HEAD_LIMIT: usize = 8 * 1024;

/// A connection in both directions, whatever it is made of.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}
pub(super) type BoxedWire = Box<dyn Wire>;

/// Makes connections.
pub(super) struct Dialer {
    names: Names,
    tls: Tls,
    proxies: ProxyRules,
    connect: Duration,
}

impl Dialer {
    pub(super) fn new(config: TransportConfig) -> Result<Self, Error> {
        Ok(Self {
            names: Names::new(config.names),
            tls: Tls::new(config.extra_roots, config.insecure_hosts, config.trust),
            proxies: ProxyRules::new(&config.proxies)?,
            connect: config.timeouts.connect,
        })
    }

    /// A new connection to `origin`, ready for a request.
    pub(super) async fn dial(&self, origin: &Origin) -> Result<Link, Error> {
        let (wire, route) = match self.proxies.for_origin(origin) {
            None => (self.reach(origin).await?, Route::Direct),
            Some(proxy) => {
                let wire = self.reach(&proxy.origin()).await?;
                let authorization = proxy.basic_authorization();
                if origin.secure {
                    let tunnel = open_tunnel(wire, proxy, authorization, origin);
                    let wire = within(self.connect, Stage::Proxy, &proxy.host().to_string(), tunnel).await?;
                    (self.secure(wire, origin).await?, Route::Direct)
                } else {
                    (wire, Route::Forwarded { authorization })
                }
            }
        };
        speak(wire, route, &origin.host).await
    }

    /// Connects to `origin` itself, with TLS where it asks for it.
    async fn reach(&self, origin: &Origin) -> Result<BoxedWire, Error> {
        let addresses = match &origin.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => within(self.connect, Stage::Name, name, self.names.addresses(name)).await?,
        };
        let stream = race::connect(&addresses, origin, self.connect).await?;
        // Requests are written whole; waiting for more to send only adds time.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        if origin.secure { self.secure(Box::new(stream), origin).await } else { Ok(Box::new(stream)) }
    }

    async fn secure(&self, wire: BoxedWire, origin: &Origin) -> Result<BoxedWire, Error> {
        within(self.connect, Stage::Handshake, &origin.host.to_string(), self.tls.handshake(wire, origin)).await
    }
}

/// Starts HTTP/1.1 on a connection.
async fn speak(wire: BoxedWire, route: Route, host: &Host) -> Result<Link, Error> {
    let host = host.to_string();
    let (sender, connection) =
        http1::Builder::new().max_header_size(HEAD_LIMIT).handshake(TokioIo::new(wire)).await.map_err(|error| broken(&host, &error))?;
    let task = tokio::spawn(async move {
        // Whoever waits for an answer is told of the failure by their own call.
        if let Err(error) = connection.await {
            tracing::debug!(host, %error, "a connection ended");
        }
    });
    Ok(Link { sender, route, _task: AbortOnDropHandle::new(task) })
}

/// Asks the proxy at the other end of `wire` to connect to `origin`.
///
/// # Source
/// RFC 9110, section 9.3.6.
async fn open_tunnel(mut wire: BoxedWire, proxy: &Url, authorization: Option<HeaderValue>, origin: &Origin) -> Result<BoxedWire, Error> {
    let authority = origin.authority();
    let refused = |reason: String| Error::Proxy { proxy: proxy.origin().authority(), authority: authority.clone(), reason };
    let mut ask = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    if let Some(authorization) = authorization {
        ask.extend(b"Proxy-Authorization: ");
        ask.extend(authorization.as_bytes());
        ask.extend(b"\r\n");
    }
    ask.extend(b"\r\n");
    let lost = |error: std::io::Error| Error::Broken { host: proxy.host().to_string(), reason: error.to_string() };
    wire.write_all(&ask).await.map_err(lost)?;
    wire.flush().await.map_err(lost)?;
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() > PROXY_HEAD_LIMIT {
            return Err(refused(format!("its answer is larger than {PROXY_HEAD_LIMIT} bytes")));
        }
        if wire.read_buf(&mut head).await.map_err(lost)? == 0 {
            return Err(refused("it hung up".to_owned()));
        }
    };
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    if !status.is_some_and(|status| status.len() == 3 && status.starts_with('2')) {
        return Err(refused(format!("\"{}\"", line.chars().take(200).collect::<String>())));
    }
    // TLS clients speak first, so there can be nothing yet from the server.
    if end < head.len() { Err(refused("it sends data before it was asked".to_owned())) } else { Ok(wire) }
}
