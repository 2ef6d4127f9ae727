//! One remote registry, spoken to as somebody: what pull, push and every other verb of the distribution protocol ask through.
//!
//! What must stay true: a question that changes nothing is asked again by `Retries`, answered 401 by `Access`, and passed from mirror to registry; what was
//! once found out about a registry (that it speaks plain http) holds for all clones; no error hides that a registry said no.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::access::{Access, Scope};
use super::endpoint::{Endpoint, Hosts};
use super::refusal;
use super::retry::{Retries, retry_after};
use super::transport::{Response, Transport};
use super::upload::Upload;
use crate::error::Stage;
use crate::{Error, Url};

/// Questions answered 401 in a row before we believe it: the first has no token, the second one that expired.
const ROUNDS: usize = 3;
/// Bytes of an answer nobody wants that are read to keep the connection.
const LEFTOVER: usize = 64 * 1024;

/// A registry and who we are to it. Clones share what was found out.
#[derive(Clone)]
pub struct Registry(Arc<Parts>);

struct Parts {
    transport: Transport,
    domain: String,
    doors: Vec<Door>,
    fetches_foreign_layers: bool,
    takes_nondistributable: bool,
}

/// An endpoint and what we know of it.
struct Door {
    endpoint: Endpoint,
    access: Access,
    /// Set once it was found to speak plain http only.
    plain: AtomicBool,
    /// A mirror that could not be reached: this operation goes on without it.
    lost: AtomicBool,
}

/// A request without its body, before it is known through which door it goes.
#[derive(Clone, Copy)]
struct Question<'a> {
    method: &'a Method,
    target: Target<'a>,
    scopes: &'a [Scope],
    headers: &'a HeaderMap,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// Below `/v2/`.
    Path(&'a str),
    /// Where an earlier answer pointed to.
    Url(&'a Url),
}

impl Registry {
    /// The registry called `domain` for somebody who has `access`; nothing is asked yet.
    ///
    /// # Errors
    /// `InvalidUrl` for a name that is no host.
    pub fn new(transport: Transport, hosts: &Hosts, domain: &str, access: &Access, for_push: bool) -> Result<Self, Error> {
        let doors = hosts
            .endpoints(domain, for_push)?
            .into_iter()
            .map(|endpoint| {
                Ok(Door {
                    access: access.at(&endpoint.homes()?),
                    plain: AtomicBool::new(endpoint.may_fall_to_http && !endpoint.base.is_secure()),
                    lost: AtomicBool::new(false),
                    endpoint,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self(Arc::new(Parts {
            transport,
            domain: domain.to_owned(),
            doors,
            fetches_foreign_layers: hosts.fetches_foreign_layers(),
            takes_nondistributable: hosts.takes_nondistributable(domain),
        })))
    }

    /// The name it goes by in references.
    pub fn domain(&self) -> &str {
        &self.0.domain
    }

    /// How long it may be silent in the middle of an answer.
    pub(super) fn patience(&self) -> Duration {
        self.0.transport.timeouts().idle
    }

    /// Whether layers that it does not have may be fetched from elsewhere.
    pub(super) fn fetches_foreign_layers(&self) -> bool {
        self.0.fetches_foreign_layers
    }

    /// Whether it gets layers that are not to be distributed.
    pub(super) fn takes_nondistributable(&self) -> bool {
        self.0.takes_nondistributable
    }

    /// GET of what lies anywhere else: without a word about who we are (S-506).
    pub(super) async fn elsewhere(&self, url: &Url, headers: &HeaderMap) -> Result<Response, Error> {
        self.0.transport.follow(&Method::GET, url, headers).await
    }

    /// How often and when to ask again; for transfers that go on where they broke.
    pub(super) fn retries(&self) -> Retries {
        self.0.transport.retries()
    }

    /// GET of `path`, which lies below `/v2/`. Every status that is no passing trouble is an answer.
    ///
    /// # Errors
    /// Whatever keeps all endpoints from answering.
    pub async fn get(&self, path: &str, scope: &Scope, headers: &HeaderMap) -> Result<Response, Error> {
        self.read(&Method::GET, path, scope, headers).await
    }

    /// HEAD of `path`.
    ///
    /// # Errors
    /// As [`Registry::get`].
    pub async fn head(&self, path: &str, scope: &Scope, headers: &HeaderMap) -> Result<Response, Error> {
        self.read(&Method::HEAD, path, scope, headers).await
    }

    async fn read(&self, method: &Method, path: &str, scope: &Scope, headers: &HeaderMap) -> Result<Response, Error> {
        let mut last = None;
        let doors: Vec<&Door> = self.0.doors.iter().filter(|door| door.serves(path)).collect();
        for (number, door) in doors.iter().enumerate() {
            let is_last = number + 1 == doors.len();
            let question = Question { method, target: Target::Path(path), scopes: std::slice::from_ref(scope), headers };
            match self.insist(door, question, path).await {
                Ok(response) if is_last || response.status.is_success() => return Ok(response),
                Ok(response) => {
                    tracing::debug!(mirror = %door.endpoint.base, status = %response.status, "a mirror is passed over");
                    last = Some(refusal::refusal(response).await);
                }
                Err(error) if is_last => return Err(error),
                Err(error) => {
                    // One warning an operation: the others of its requests go straight to the next.
                    if !door.lost.swap(true, Ordering::Relaxed) {
                        tracing::warn!(mirror = %door.endpoint.base, registry = self.0.domain, %error, "a mirror fails; the next is asked");
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::Internal { what: format!("no endpoint of \"{}\"", self.0.domain) }))
    }

    /// Asks again where that may help. A mirror gets one chance: the registry itself is there too.
    async fn insist(&self, door: &Door, question: Question<'_>, path: &str) -> Result<Response, Error> {
        let mut retry = 0;
        loop {
            let answer = self.ask(door, question, Upload::Empty).await;
            let pause = |error: &Error| if door.endpoint.is_mirror { None } else { self.0.transport.retries().pause(retry, error) };
            let pause = match answer {
                Ok(response) if !is_passing(response.status) => return Ok(response),
                Ok(response) => {
                    let Some(pause) = pause(&passing(&response)) else { return Ok(response) };
                    tracing::info!(registry = self.0.domain, path, status = %response.status, pause_ms = pause.as_millis(), "a registry is asked again");
                    pause
                }
                Err(error) => {
                    let Some(pause) = pause(&error) else { return Err(error) };
                    tracing::info!(registry = self.0.domain, path, %error, pause_ms = pause.as_millis(), "a registry is asked again");
                    pause
                }
            };
            tokio::time::sleep(pause).await;
            retry += 1;
        }
    }

    /// A request that may change something: sent once, except that a question after who we are is answered where the body can be sent again.
    ///
    /// # Errors
    /// Whatever keeps us from an answer. A redirect is an answer.
    pub async fn send(
        &self,
        method: &Method,
        target: Target<'_>,
        scopes: &[Scope],
        headers: &HeaderMap,
        upload: Upload,
    ) -> Result<Response, Error> {
        let door = self.0.doors.iter().find(|door| door.endpoint.may_push);
        let door = door.ok_or_else(|| Error::Internal { what: format!("nothing of \"{}\" may be written to", self.0.domain) })?;
        self.ask(door, Question { method, target, scopes, headers }, upload).await
    }

    /// One question, with the answers to "who are you?".
    async fn ask(&self, door: &Door, question: Question<'_>, upload: Upload) -> Result<Response, Error> {
        let mut upload = Some(upload);
        let mut round = 0;
        loop {
            round += 1;
            let again = upload.as_ref().and_then(Upload::again);
            let current = upload.take().unwrap_or_default();
            let (response, sent) = self.exchange(door, question, current).await?;
            let base = self.base(door)?;
            // What stands behind a redirect has no business asking who we are.
            if response.status != StatusCode::UNAUTHORIZED || response.url.origin() != base.origin() || round == ROUNDS {
                return Ok(response);
            }
            let Some(again) = again else { return Ok(response) };
            let (transport, origin) = (&self.0.transport, base.origin());
            let answered = door.access.challenged(transport, &origin, question.scopes, &response.headers, sent.as_ref()).await?;
            if !answered {
                return Ok(response);
            }
            let mut response = response;
            // The rest of a refusal is read so that its connection can be used again; if that fails there will be another.
            drop(refusal::read(&mut response.body, LEFTOVER).await);
            upload = Some(again);
        }
    }

    /// One request to wherever the endpoint is reached, and what it was authorized by.
    async fn exchange(&self, door: &Door, question: Question<'_>, upload: Upload) -> Result<(Response, Option<HeaderValue>), Error> {
        let again = upload.again();
        // Read before asking: another clone may find out while we ask.
        let was_plain = door.plain.load(Ordering::Relaxed);
        match self.exchange_at(door, question, upload).await {
            Err(error) if !was_plain && door.falls_to_http(&error) => {
                tracing::debug!(registry = self.0.domain, %error, "https is not spoken there: plain http is used");
                door.plain.store(true, Ordering::Relaxed);
                let Some(again) = again else { return Err(error) };
                self.exchange_at(door, question, again).await.map_err(|plain| {
                    // When neither works, the first trouble is the one to tell unless nobody listened at all.
                    door.plain.store(false, Ordering::Relaxed);
                    if matches!(plain, Error::Connect { .. }) { error } else { plain }
                })
            }
            other => other,
        }
    }

    async fn exchange_at(&self, door: &Door, question: Question<'_>, upload: Upload) -> Result<(Response, Option<HeaderValue>), Error> {
        let Question { method, target, scopes, headers } = question;
        let base = self.base(door)?;
        let url = match target {
            Target::Path(path) => door.endpoint.address(&base, path)?,
            Target::Url(url) => url.clone(),
        };
        let mut headers = headers.clone();
        if url.origin() == base.origin() {
            headers.extend(door.endpoint.headers.clone());
        }
        let authorization = if url.origin() == base.origin() { door.access.authorization(&base.origin(), scopes) } else { None };
        if let Some(authorization) = &authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let reads = *method == Method::GET || *method == Method::HEAD;
        let mut response = if reads && matches!(target, Target::Path(_)) {
            self.0.transport.follow(method, &url, &headers).await?
        } else {
            self.0.transport.request(method, &url, &headers, upload).await?
        };
        let nothing = response.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0");
        if *method == Method::HEAD || nothing {
            // The end of what has no bytes is there at once, and the connection is free for the next request.
            drop(response.body.next().await);
        }
        Ok((response, authorization))
    }

    /// Where the endpoint is reached, as far as we know.
    fn base(&self, door: &Door) -> Result<Url, Error> {
        if door.plain.load(Ordering::Relaxed) && door.endpoint.base.is_secure() {
            return door.endpoint.base.as_plain();
        }
        Ok(door.endpoint.base.clone())
    }
}

impl Door {
    /// Whether `path` may be asked for here.
    fn serves(&self, path: &str) -> bool {
        let by_tag = path.rsplit_once("/manifests/").is_some_and(|(_, reference)| !reference.contains(':')) || path.contains("/tags/");
        let allowed = if by_tag { self.endpoint.may_resolve } else { self.endpoint.may_pull };
        allowed && !self.lost.load(Ordering::Relaxed)
    }

    fn falls_to_http(&self, error: &Error) -> bool {
        let no_tls = matches!(
            error,
            Error::Tls { .. }
                | Error::PlainHttp { .. }
                | Error::Connect { .. }
                | Error::Broken { .. }
                | Error::Certificate { .. }
                | Error::TimedOut { stage: Stage::Handshake, .. }
        );
        self.endpoint.may_fall_to_http && no_tls
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Registry {}", self.0.domain)
    }
}

/// Statuses that may be other ones in a moment.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

fn passing(response: &Response) -> Error {
    Error::Status { status: response.status, retry_after: retry_after(&response.headers) }
}
