//! The registry server: the distribution API over any [`Storage`].
//!
//! The order of things: a connection (`listen`, `connection`), an address (`route`), the way in (`access`), a question (`blobs`, `manifests`, `uploads`,
//! `lists`), the storage (`storage`, `folder`). What must stay true: memory per request is bounded whatever the client does; content is never whole in
//! memory except manifests (4 MiB); read-only means that no request changes anything.

mod access;
mod at_hand;
mod blobs;
mod blocking;
mod clock;
mod connection;
mod folder;
mod listen;
mod lists;
mod manifests;
mod metrics;
mod names;
mod proxy;
mod reply;
mod route;
mod storage;
mod tls;
mod uploads;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::access::{Access, AccessError, Accounts, AnonymousRead, Keys, Tokens};
pub use self::folder::{EngineFolder, FolderProblem, FolderStorage, FolderUsage};
pub use self::listen::{Listening, ServeError, serve};
pub use self::names::{ManifestReference, RepositoryName, Tag};
pub use self::proxy::Upstream;
pub use self::storage::{Collected, Committed, Kept, NewManifest, Page, Storage, StorageError, StoredBlob, StoredManifest, Upload};
pub use self::tls::{Identity, TlsError};

use self::reply::{Reply, ReplyBody};
use self::route::{Parameters, Route};
use self::wire::Outbox;
use crate::codes::{Code, Refusal};

/// The digest of what an answer holds or speaks of.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// By this old clients know a registry.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// Bodies taken in at once; more wait. Each holds half a MiB.
const RECEIVING: usize = 256;

/// How a registry behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Nothing is taken and nothing removed.
    pub read_only: bool,
    /// Tags, manifests and blobs can be deleted.
    pub deletion: bool,
    /// Bytes of all blobs and uploads at most.
    pub quota: Option<u64>,
    /// Uploads in progress at most.
    pub uploads: usize,
    /// An upload that nobody came back to for so long is forgotten.
    pub upload_idle: Duration,
    /// How often what nobody needs is deleted; never when zero.
    pub collect_every: Duration,
    /// A blob that no manifest needs is kept for so long after somebody last relied on it.
    pub collect_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            read_only: false,
            deletion: true,
            quota: None,
            uploads: 4096,
            upload_idle: Duration::from_secs(3600),
            collect_every: Duration::from_secs(3600),
            collect_grace: Duration::from_secs(24 * 3600),
        }
    }
}

/// A registry.
pub struct Registry {
    storage: Arc<dyn Storage>,
    access: Access,
    settings: Settings,
    /// Where what is not here comes from, in a cache.
    upstream: Option<Upstream>,
    sessions: uploads::Sessions,
    receiving: Semaphore,
    metrics: metrics::Metrics,
}

impl Registry {
    /// A registry over `storage`.
    pub fn new(storage: Arc<dyn Storage>, access: Access, settings: Settings) -> Arc<Self> {
        Self::with(storage, access, settings, None)
    }

    /// A cache of `upstream` over `storage`.
    pub fn caching(storage: Arc<dyn Storage>, access: Access, settings: Settings, upstream: Upstream) -> Arc<Self> {
        Self::with(storage, access, settings, Some(upstream))
    }

    fn with(storage: Arc<dyn Storage>, access: Access, settings: Settings, upstream: Option<Upstream>) -> Arc<Self> {
        let receiving = Semaphore::new(RECEIVING);
        Arc::new(Self { storage, access, settings, upstream, sessions: Default::default(), receiving, metrics: Default::default() })
    }

    /// Deletes what nobody needs, and forgets uploads that nobody came back to.
    ///
    /// # Errors
    /// The storage's, in words for an administrator.
    pub async fn collect(&self) -> Result<Collected, Refusal> {
        let (grace, idle) = (self.settings.collect_grace, self.settings.upload_idle);
        self.sessions.expire(idle);
        let collected = blocking::with_storage(&self.storage, "collecting", move |storage| storage.collect(grace, idle)).await?;
        self.metrics.collections.fetch_add(1, Ordering::Relaxed);
        self.metrics.collected_bytes.fetch_add(collected.bytes, Ordering::Relaxed);
        if collected != Collected::default() {
            tracing::info!(?collected, "collected");
        }
        Ok(collected)
    }

    /// Collects from time to time until `stop`.
    pub async fn collect_until(self: Arc<Self>, stop: CancellationToken) {
        let every = self.settings.collect_every;
        while !every.is_zero() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            // What went wrong is in the log; the next round tries again.
            let _ = self.collect().await;
        }
    }

    /// Numbers about it, in Prometheus' text form.
    pub fn metrics(&self) -> String {
        self.metrics.render(self.sessions.count(), self.storage.usage())
    }

    /// Answers one request; `outbox` is there when the connection can send files.
    async fn answer(&self, request: Request<Incoming>, outbox: Option<Arc<Outbox>>) -> Reply {
        let (head, body) = request.into_parts();
        let route = Route::parse(head.uri.path());
        // Only connections without TLS can send files.
        let origin = origin(&head, outbox.is_none());
        let kind = route.as_ref().map_or("nowhere", Route::kind);
        let outcome = match route {
            Ok(route) => self.dispatch(&route, &head, &origin, body, outbox).await,
            // Strangers learn nothing about addresses either.
            Err(refusal) => match self.access.check(&head.headers, &Route::Base, &Method::GET, &origin).await {
                Ok(_) => Err(refusal),
                Err(stranger) => Err(stranger),
            },
        };
        let mut reply = outcome.unwrap_or_else(|refusal| {
            tracing::debug!(method = %head.method, path = head.uri.path(), %refusal, "refused");
            reply::refusal(refusal)
        });
        reply.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        reply.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        self.metrics.count(kind, &head.method, reply.status());
        reply
    }

    async fn dispatch(
        &self,
        route: &Route,
        head: &http::request::Parts,
        origin: &str,
        body: Incoming,
        outbox: Option<Arc<Outbox>>,
    ) -> Result<Reply, Refusal> {
        let (method, headers) = (&head.method, &head.headers);
        let grant = self.access.check(headers, route, method, origin).await?;
        let parameters = Parameters::parse(head.uri.query());
        if !matches!(*method, Method::GET | Method::HEAD) {
            self.check_changeable(route, method)?;
        }
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        match (route, method) {
            (Route::Base, _) if is_read => Ok(base()),
            (Route::Token, &Method::GET) => {
                let token = self.access.token(headers, &parameters).await?;
                Ok(json(token.to_string()))
            }
            (Route::Catalog, _) if is_read => self.list_repositories(&parameters).await,
            (Route::Tags(name), _) if is_read => self.list_tags(name, &parameters).await,
            (Route::Referrers(name, subject), _) if is_read => self.list_referrers(name, *subject, &parameters).await,
            (Route::Manifest(name, reference), _) if is_read => self.get_manifest(name, reference.clone(), headers).await,
            (Route::Manifest(name, reference), &Method::PUT) => self.put_manifest(name, reference.clone(), headers, body).await,
            (Route::Manifest(name, reference), &Method::DELETE) => self.delete_manifest(name, reference.clone()).await,
            (Route::Blob(name, digest), &Method::GET) => self.get_blob(name, *digest, headers, outbox).await,
            (Route::Blob(name, digest), &Method::HEAD) => self.head_blob(name, *digest).await,
            (Route::Blob(name, digest), &Method::DELETE) => self.delete_blob(name, *digest).await,
            (Route::Uploads(name), &Method::POST) => {
                let from = parameters.get("from").and_then(|from| RepositoryName::parse(from).ok());
                let mountable = from.filter(|from| grant.may_pull(from));
                self.begin_upload(name, &parameters, mountable, headers, body).await
            }
            (Route::Upload(name, id), _) if is_read => self.upload_status(name, id).await,
            (Route::Upload(name, id), &Method::PATCH) => self.continue_upload(name, id, headers, body).await,
            (Route::Upload(name, id), &Method::PUT) => self.finish_upload(name, id, &parameters, headers, body).await,
            (Route::Upload(name, id), &Method::DELETE) => self.cancel_upload(name, id).await,
            _ => Err(route.wrong_method(method)),
        }
    }

    /// Refuses changes where there are none.
    fn check_changeable(&self, route: &Route, method: &Method) -> Result<(), Refusal> {
        let is_deletion = *method == Method::DELETE && !matches!(route, Route::Upload(..));
        let reason = match () {
            () if self.settings.read_only => "this registry is read-only",
            () if self.upstream.is_some() && *method != Method::DELETE => "this registry is a cache; push to the one behind it",
            () if is_deletion && !self.settings.deletion => "deletion is switched off in this registry",
            () => return Ok(()),
        };
        Err(Refusal::new(Code::Unsupported, reason).header(http::header::ALLOW, HeaderValue::from_static("GET, HEAD")))
    }
}

fn base() -> Reply {
    json("{}".to_owned())
}

fn json(text: String) -> Reply {
    let mut reply = reply::status(StatusCode::OK);
    reply.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *reply.body_mut() = ReplyBody::Whole(text.into());
    reply
}

/// How the client reached us, by its own word; a word with strange letters is none.
fn origin(head: &http::request::Parts, is_secure: bool) -> String {
    let host = head.headers.get(http::header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_plain = host.len() < 256 && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    format!("{}://{}", if is_secure { "https" } else { "http" }, if is_plain { host } else { "" })
}
