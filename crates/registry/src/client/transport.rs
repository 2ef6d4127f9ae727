//! Requests and answers: settings, redirects, what goes into a request's head. The room that downloads, and later pulls and pushes, are built on.
//!
//! What must stay true: `Authorization` and cookies never reach another origin than the one they were given for; nothing leads from https to http; every
//! answer's head is bounded in size and time. Statuses other than redirects are answers, not errors: their meaning is the caller's.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HOST, IF_RANGE, LOCATION, PROXY_AUTHORIZATION, RANGE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

use super::body::Body;
use super::dial::Dialer;
use super::hosts::TrustSource;
use super::names::NameFiles;
use super::pool::{Link, Pool, Route};
use super::proxy::Proxies;
use super::retry::Retries;
use super::upload::{RequestBody, Sending, Upload};
use crate::error::Stage;
use crate::{Error, Url};

/// The most redirects one request follows: what curl's users and browsers have found enough is between 10 and 50; loops are the usual reason for more.
const REDIRECTS: usize = 10;
/// The largest head of an answer, as S-509 asks.
pub(super) const HEAD_LIMIT: usize = 64 * 1024;

/// Settings of a transport, finished values.
#[derive(Debug, Clone, Default)]
pub struct TransportConfig {
    /// Certificate authorities trusted beside the system's, each text in PEM form with one or more certificates.
    pub extra_roots: Vec<Vec<u8>>,
    /// Hosts (`host` or `host:port`) whose certificates are not checked.
    pub insecure_hosts: Vec<String>,
    /// Who knows what is special about the TLS of single servers.
    pub trust: Option<Arc<dyn TrustSource>>,
    /// The ways around: proxies, and who is reached without.
    pub proxies: Proxies,
    pub timeouts: Timeouts,
    pub retries: Retries,
    /// The files that names are looked up with.
    pub names: NameFiles,
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For each step up to a usable connection: the name, the connection, the proxy, the handshake.
    pub connect: Duration,
    /// For the head of an answer, and between two pieces of its body.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(30) }
    }
}

/// An HTTP client. Clones share connections.
#[derive(Clone)]
pub struct Transport(Arc<Parts>);

struct Parts {
    dialer: Dialer,
    pool: Arc<Pool>,
    timeouts: Timeouts,
    retries: Retries,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Where the answer came from in the end.
    pub url: Url,
    pub body: Body,
}

impl Transport {
    /// A client with these settings; nothing is read or connected yet.
    ///
    /// # Errors
    /// `Settings` or `InvalidUrl` for a proxy or certificate that cannot be read, `Unsupported` for a kind of proxy we do not know.
    pub fn new(config: TransportConfig) -> Result<Self, Error> {
        let timeouts = config.timeouts;
        let retries = config.retries;
        let pool = Arc::new(Pool::new(timeouts.idle));
        Ok(Self(Arc::new(Parts { dialer: Dialer::new(config)?, pool, timeouts, retries })))
    }

    /// How long to wait for what; for those who wait on top of this transport.
    pub(super) fn timeouts(&self) -> Timeouts {
        self.0.timeouts
    }

    /// How often and when to ask again; for those who do it on top of this transport.
    pub(super) fn retries(&self) -> Retries {
        self.0.retries
    }

    /// Asks for `url`, following at most ten redirects. User and password of the address are sent to its origin unless `headers` bring `Authorization`.
    /// The body comes as it is stored: we ask servers not to compress, and undo no compression.
    ///
    /// # Errors
    /// Whatever keeps us from an answer. A status such as 404 is an answer.
    pub async fn get(&self, url: &Url, headers: &HeaderMap) -> Result<Response, Error> {
        self.follow(&Method::GET, url, headers).await
    }

    /// As [`Transport::get`], for any method that changes nothing at the server.
    pub(super) async fn follow(&self, method: &Method, url: &Url, headers: &HeaderMap) -> Result<Response, Error> {
        let mut url = url.clone();
        let mut headers = headers.clone();
        for _ in 0..=REDIRECTS {
            let response = self.request(method, &url, &headers, Upload::Empty).await?;
            let Some(next) = redirect(&response)? else {
                return Ok(response);
            };
            tracing::debug!(from = %url, to = %next, status = %response.status, "redirected");
            if next.origin() != url.origin() {
                headers = for_strangers(&headers);
            }
            url = next;
        }
        Err(Error::TooManyRedirects { limit: REDIRECTS, last: url })
    }

    /// One request, one answer; redirects are answers. A body that streams is sent once, over a connection of its own choice.
    ///
    /// # Errors
    /// Whatever keeps us from an answer.
    pub(super) async fn request(&self, method: &Method, url: &Url, headers: &HeaderMap, upload: Upload) -> Result<Response, Error> {
        let origin = url.origin();
        // What was sent once cannot be sent again over the next connection, so a stream never meets one that may be stale.
        let mut upload = Some(upload);
        while let Some(copy) = upload.as_ref().and_then(Upload::again) {
            let Some(link) = self.0.pool.take(&origin) else { break };
            match self.send(link, method, url, headers, copy).await {
                // The server may close a resting connection at any moment, even as we write to it: that says nothing about the next one.
                Err(Error::Broken { reason, .. }) => tracing::debug!(%url, reason, "a kept connection was stale"),
                other => return other,
            }
        }
        let link = self.0.dialer.dial(&origin).await?;
        self.send(link, method, url, headers, upload.take().unwrap_or(Upload::Empty)).await
    }

    async fn send(&self, mut link: Link, method: &Method, url: &Url, headers: &HeaderMap, upload: Upload) -> Result<Response, Error> {
        let host = url.host().to_string();
        let (body, sending) = Sending::start(upload);
        let request = request(&link.route, method, url, headers, body)?;
        let asked = async {
            link.sender.ready().await.map_err(|error| broken(&host, &error))?;
            link.sender.send_request(request).await.map_err(|error| broken(&host, &error))
        };
        let (head, incoming) = sending.answered(self.0.timeouts.idle, Stage::Answer, &host, asked).await?.into_parts();
        let body = Body::new(incoming, link, Arc::clone(&self.0.pool), url.origin(), self.0.timeouts.idle);
        Ok(Response { status: head.status, headers: head.headers, url: url.clone(), body })
    }
}

/// Sorts what hyper says about a connection.
pub(super) fn broken(host: &str, error: &hyper::Error) -> Error {
    let host = host.to_owned();
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    if error.is_parse_too_large() {
        Error::HeadTooLarge { host, limit: HEAD_LIMIT }
    } else if error.is_parse() {
        Error::Protocol { host, reason: format!("{error}{cause}") }
    } else {
        Error::Broken { host, reason: format!("{error}{cause}") }
    }
}

fn request(route: &Route, method: &Method, url: &Url, headers: &HeaderMap, body: RequestBody) -> Result<Request<RequestBody>, Error> {
    let mut all = headers.clone();
    let host = HeaderValue::from_str(url.host_header()).map_err(|error| Error::InvalidUrl { reason: error.to_string() })?;
    all.insert(HOST, host);
    all.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!("shipway/", env!("CARGO_PKG_VERSION"))));
    // Digests and ranges speak of stored bytes, so nothing on the way shall compress them.
    all.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
    if let Some(authorization) = url.basic_authorization() {
        all.entry(AUTHORIZATION).or_insert(authorization);
    }
    let target = match route {
        Route::Direct => url.path_and_query().to_owned(),
        Route::Forwarded { authorization } => {
            if let Some(authorization) = authorization {
                all.insert(PROXY_AUTHORIZATION, authorization.clone());
            }
            url.absolute_form()
        }
    };
    let mut request =
        Request::builder().method(method).uri(target).body(body).map_err(|error| Error::InvalidUrl { reason: error.to_string() })?;
    *request.headers_mut() = all;
    Ok(request)
}

/// What may be said to another origin than the one the headers were made for: what is asked for, never who asks. Headers an administrator wrote for one
/// host are for that host.
fn for_strangers(headers: &HeaderMap) -> HeaderMap {
    let harmless = |name: &http::HeaderName| [ACCEPT, ACCEPT_ENCODING, RANGE, IF_RANGE, USER_AGENT].contains(name);
    headers.iter().filter(|(name, _)| harmless(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Where the answer sends us, if it does.
fn redirect(response: &Response) -> Result<Option<Url>, Error> {
    if !matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response.headers.get(LOCATION).ok_or_else(|| Error::Redirect { reason: "the answer names no address".to_owned() })?;
    let location = std::str::from_utf8(location.as_bytes()).map_err(|error| Error::Redirect { reason: error.to_string() })?;
    let next = response.url.join(location).map_err(|error| Error::Redirect { reason: error.to_string() })?;
    if response.url.is_secure() && !next.is_secure() {
        return Err(Error::InsecureRedirect { to: next });
    }
    Ok(Some(next))
}
