//! Uploads over HTTP: sessions, their turns, and the body of a request on its way to the storage.
//!
//! What must stay true: one request at a time writes to a session; bytes go where the session is, or nowhere (416); what was received before a
//! connection broke stays, so that the client goes on from there; a session has an end: its blob, a cancellation, or time.
//!
//! # Source
//! OCI distribution-spec 1.1, "Pushing blobs", "Pushing a blob in chunks", "Mounting a blob from another repository".

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use shipway_model::Digest;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::Registry;
use super::blocking::{files, with_storage};
use super::names::{RepositoryName, parse_digest};
use super::reply::{Reply, status};
use super::route::{Parameters, upload_unknown};
use super::storage::{Committed, StorageError, Upload};
use crate::codes::{Code, Refusal};

/// Bytes gathered before they are handed to the storage; one such batch is written while the next one arrives.
const BATCH: usize = 256 * 1024;
/// How long a client may be silent in the middle of a body.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a request waits for its turn: the one before it may only be a connection that broke.
const TURN: Duration = Duration::from_secs(2);
/// What Docker's clients read an upload's id from.
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// The sessions of this process.
#[derive(Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
    /// Bytes in sessions that are no blobs yet, and on the way into them.
    pending: Arc<AtomicU64>,
}

struct Session {
    id: String,
    repository: RepositoryName,
    upload: Mutex<Box<dyn Upload>>,
    turn: Arc<tokio::sync::Mutex<()>>,
    touched: Mutex<Instant>,
}

/// A session whose turn it is.
struct Turn {
    session: Arc<Session>,
    _turn: OwnedMutexGuard<()>,
}

impl Sessions {
    pub(super) fn count(&self) -> usize {
        lock(&self.open).len()
    }

    /// Forgets sessions that were idle for `idle`; the storage deletes their bytes.
    pub(super) fn expire(&self, idle: Duration) {
        let expired: Vec<Arc<Session>> =
            lock(&self.open).values().filter(|session| lock(&session.touched).elapsed() >= idle).cloned().collect();
        for session in expired {
            self.forget(&session);
        }
    }

    fn insert(&self, id: String, repository: RepositoryName, upload: Box<dyn Upload>) -> Arc<Session> {
        let upload = Mutex::new(upload);
        let session = Session { id: id.clone(), repository, upload, turn: Arc::default(), touched: Mutex::new(Instant::now()) };
        Arc::clone(lock(&self.open).entry(id).or_insert_with(|| Arc::new(session)))
    }

    fn forget(&self, session: &Session) {
        if lock(&self.open).remove(&session.id).is_some() {
            let received = lock(&session.upload).received();
            self.pending.fetch_sub(received.min(self.pending.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
    }
}

impl Registry {
    /// `POST /v2/<name>/blobs/uploads/`; `mountable` is the repository that may be mounted from.
    pub(super) async fn begin_upload(
        &self,
        repository: &RepositoryName,
        parameters: &Parameters,
        mountable: Option<RepositoryName>,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Reply, Refusal> {
        if let Some(Ok(digest)) = parameters.get("mount").map(parse_digest)
            && self.mount(repository, digest, mountable).await?
        {
            return blob_created(repository, &digest);
        }
        let digest = parameters.get("digest").map(parse_digest).transpose()?;
        if self.sessions.count() >= self.settings.uploads {
            let after = HeaderValue::from_static("10");
            return Err(Refusal::new(Code::TooManyRequests, "too many uploads at once").header(RETRY_AFTER, after));
        }
        let (id, name) = (new_id()?, repository.clone());
        let begun = {
            let id = id.clone();
            with_storage(&self.storage, "beginning an upload", move |storage| storage.begin_upload(&name, &id)).await?
        };
        let session = self.sessions.insert(id, repository.clone(), begun);
        let Some(digest) = digest else { return progress(&session, StatusCode::ACCEPTED) };
        let turn = self.turn(session).await?;
        let outcome = match self.receive(&turn, 0, announced(headers)?, body).await {
            Ok(()) => self.commit(&turn, digest).await,
            Err(refusal) => Err(refusal),
        };
        if outcome.is_err() {
            // A single request has no second chance.
            self.discard(&turn).await?;
        }
        outcome
    }

    /// Makes a blob that is in `from`, or that the machine has anyway, one of `repository`; false when its bytes must come.
    async fn mount(&self, repository: &RepositoryName, digest: Digest, from: Option<RepositoryName>) -> Result<bool, Refusal> {
        let (into, room) = (repository.clone(), self.room());
        let (mounted, adopted) = with_storage(&self.storage, "mounting a blob", move |storage| {
            if let Some(from) = from
                && storage.mount_blob(&from, &into, &digest)?
            {
                return Ok((true, None));
            }
            storage.adopt_blob(&into, &digest, room).map(|adopted| (false, adopted))
        })
        .await?;
        self.metrics.adopted.fetch_add(adopted.unwrap_or_default(), Ordering::Relaxed);
        Ok(mounted || adopted.is_some())
    }

    /// `GET /v2/<name>/blobs/uploads/<id>`
    pub(super) async fn upload_status(&self, repository: &RepositoryName, id: &str) -> Result<Reply, Refusal> {
        let turn = self.turn(self.session(repository, id).await?).await?;
        progress(&turn.session, StatusCode::NO_CONTENT)
    }

    /// `PATCH /v2/<name>/blobs/uploads/<id>`
    pub(super) async fn continue_upload(
        &self,
        repository: &RepositoryName,
        id: &str,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Reply, Refusal> {
        let turn = self.turn(self.session(repository, id).await?).await?;
        let (offset, length) = place(&turn.session, headers)?;
        self.take_in(&turn, offset, length, body).await?;
        progress(&turn.session, StatusCode::ACCEPTED)
    }

    /// `PUT /v2/<name>/blobs/uploads/<id>?digest=<digest>`
    pub(super) async fn finish_upload(
        &self,
        repository: &RepositoryName,
        id: &str,
        parameters: &Parameters,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Reply, Refusal> {
        let turn = self.turn(self.session(repository, id).await?).await?;
        let digest = parameters.get("digest").ok_or_else(|| Refusal::new(Code::DigestInvalid, "the parameter \"digest\" is missing"))?;
        let digest = parse_digest(digest)?;
        let (offset, length) = place(&turn.session, headers)?;
        self.take_in(&turn, offset, length, body).await?;
        self.commit(&turn, digest).await
    }

    /// `DELETE /v2/<name>/blobs/uploads/<id>`
    pub(super) async fn cancel_upload(&self, repository: &RepositoryName, id: &str) -> Result<Reply, Refusal> {
        let turn = self.turn(self.session(repository, id).await?).await?;
        self.discard(&turn).await?;
        Ok(status(StatusCode::NO_CONTENT))
    }

    /// Finds a session, also one that another process began in this storage.
    async fn session(&self, repository: &RepositoryName, id: &str) -> Result<Arc<Session>, Refusal> {
        let known = lock(&self.sessions.open).get(id).cloned();
        if let Some(session) = known {
            return if session.repository == *repository { Ok(session) } else { Err(upload_unknown()) };
        }
        let (name, wanted) = (repository.clone(), id.to_owned());
        let found = with_storage(&self.storage, "looking for an upload", move |storage| storage.find_upload(&name, &wanted)).await?;
        Ok(self.sessions.insert(id.to_owned(), repository.clone(), found.ok_or_else(upload_unknown)?))
    }

    async fn turn(&self, session: Arc<Session>) -> Result<Turn, Refusal> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&session.turn).lock_owned()).await;
        let turn = turn.map_err(|_| out_of_place(&session, "another request is writing to this upload"))?;
        // It may have ended while we waited.
        let is_open = lock(&self.sessions.open).get(&session.id).is_some_and(|open| Arc::ptr_eq(open, &session));
        if is_open { Ok(Turn { session, _turn: turn }) } else { Err(upload_unknown()) }
    }

    /// Takes in a body: one batch is written and hashed while the next one arrives.
    async fn receive(&self, turn: &Turn, mut offset: u64, length: Option<u64>, mut body: Incoming) -> Result<(), Refusal> {
        let _place = self.receiving.acquire().await.map_err(|error| Refusal::internal("receiving an upload", &error))?;
        let mut writing: Option<tokio::task::JoinHandle<Result<(), Refusal>>> = None;
        let (start, mut ended) = (offset, false);
        while !ended {
            let mut pieces: Vec<Bytes> = Vec::new();
            let mut weight = 0;
            while weight < BATCH && !ended {
                let frame = tokio::time::timeout(SILENCE, body.frame()).await;
                let silent = || Refusal::new(Code::BlobUploadInvalid, "the body stopped").status(StatusCode::REQUEST_TIMEOUT);
                match frame.map_err(|_| silent())? {
                    Some(Ok(frame)) => {
                        if let Ok(piece) = frame.into_data() {
                            weight += piece.len();
                            pieces.push(piece);
                        }
                    }
                    // What came before the break is kept below: the client may go on from there.
                    Some(Err(error)) => {
                        tracing::debug!(%error, "an upload's connection broke");
                        self.append(turn, offset, pieces, writing.take()).await?;
                        return Err(Refusal::new(Code::BlobUploadInvalid, "the body broke off"));
                    }
                    None => ended = true,
                }
            }
            let next = offset + weight as u64;
            if let Some(former) = writing.take() {
                joined(former).await?;
            }
            if length.is_some_and(|length| next - start > length) {
                return Err(Refusal::new(Code::SizeInvalid, "the body is longer than it was announced to be"));
            }
            self.check_quota(weight as u64)?;
            if weight > 0 {
                self.metrics.received.fetch_add(weight as u64, Ordering::Relaxed);
                writing = Some(tokio::spawn(self.write(turn, offset, pieces)));
            }
            offset = next;
        }
        if let Some(last) = writing.take() {
            joined(last).await?;
        }
        *lock(&turn.session.touched) = Instant::now();
        if length.is_some_and(|length| offset - start != length) {
            return Err(Refusal::new(Code::SizeInvalid, "the body is shorter than it was announced to be"));
        }
        Ok(())
    }

    async fn append(
        &self,
        turn: &Turn,
        offset: u64,
        pieces: Vec<Bytes>,
        former: Option<tokio::task::JoinHandle<Result<(), Refusal>>>,
    ) -> Result<(), Refusal> {
        if let Some(former) = former {
            joined(former).await?;
        }
        self.write(turn, offset, pieces).await
    }

    /// Writes a batch. It runs to its end even when its request is given up, and never behind another one's back.
    fn write(&self, turn: &Turn, offset: u64, pieces: Vec<Bytes>) -> impl Future<Output = Result<(), Refusal>> + Send + 'static {
        let (session, pending) = (Arc::clone(&turn.session), Arc::clone(&self.sessions.pending));
        let weight = pieces.iter().map(|piece| piece.len() as u64).sum();
        pending.fetch_add(weight, Ordering::Relaxed);
        async move {
            let writer = Arc::clone(&session);
            let written = files("receiving an upload", move || match lock(&writer.upload).append(offset, &pieces) {
                Err(StorageError::Elsewhere { .. }) => Ok(false),
                other => other.map(|()| true),
            });
            let outcome = written.await;
            if !matches!(outcome, Ok(true)) {
                pending.fetch_sub(weight, Ordering::Relaxed);
            }
            if outcome? { Ok(()) } else { Err(out_of_place(&session, "the upload is elsewhere by now")) }
        }
    }

    /// Takes in a body. What the quota has no room for ends the upload: what came of it would only keep others out.
    async fn take_in(&self, turn: &Turn, offset: u64, length: Option<u64>, body: Incoming) -> Result<(), Refusal> {
        let outcome = self.receive(turn, offset, length, body).await;
        if outcome.as_ref().is_err_and(|refusal| refusal.code() == Code::Denied) {
            self.discard(turn).await?;
        }
        outcome
    }

    pub(super) fn check_quota(&self, more: u64) -> Result<(), Refusal> {
        if more <= self.room() {
            return Ok(());
        }
        let quota = self.settings.quota.unwrap_or(u64::MAX);
        Err(Refusal::new(Code::Denied, format!("the registry's quota of {quota} bytes is used up")))
    }

    /// Bytes that may come before the quota is used up.
    fn room(&self) -> u64 {
        let used = self.storage.usage() + self.sessions.pending.load(Ordering::Relaxed);
        self.settings.quota.map_or(u64::MAX, |quota| quota.saturating_sub(used))
    }

    async fn commit(&self, turn: &Turn, digest: Digest) -> Result<Reply, Refusal> {
        let session = Arc::clone(&turn.session);
        let outcome = files("ending an upload", move || lock(&session.upload).commit(&digest)).await;
        self.sessions.forget(&turn.session);
        match outcome? {
            Committed::Done => blob_created(&turn.session.repository, &digest),
            Committed::Mismatch { actual } => Err(Refusal::new(Code::DigestInvalid, "the content has another digest")
                .detail(serde_json::json!({ "digest": digest.to_string(), "actual": actual.to_string() }))),
        }
    }

    async fn discard(&self, turn: &Turn) -> Result<(), Refusal> {
        self.sessions.forget(&turn.session);
        let session = Arc::clone(&turn.session);
        files("cancelling an upload", move || lock(&session.upload).discard()).await
    }
}

async fn joined(writing: tokio::task::JoinHandle<Result<(), Refusal>>) -> Result<(), Refusal> {
    writing.await.unwrap_or_else(|error| Err(Refusal::internal("receiving an upload", &error)))
}

/// Where a request's bytes belong, and how many it announces.
fn place(session: &Session, headers: &HeaderMap) -> Result<(u64, Option<u64>), Refusal> {
    let received = lock(&session.upload).received();
    let length = announced(headers)?;
    let Some(range) = headers.get(CONTENT_RANGE) else { return Ok((received, length)) };
    let Some((first, last)) = range.to_str().ok().and_then(parse_range) else {
        return Err(out_of_place(session, "the header Content-Range must have the form first-last"));
    };
    if first != received {
        return Err(out_of_place(session, "the chunk does not continue the upload"));
    }
    let count = last - first + 1;
    if length.is_some_and(|length| length != count) {
        return Err(Refusal::new(Code::SizeInvalid, "Content-Range and Content-Length disagree"));
    }
    Ok((received, Some(count)))
}

/// `first-last`, both inclusive, as the specification's expression has it.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(first) || !is_number(last) {
        return None;
    }
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < u64::MAX).then_some((first, last))
}

fn announced(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Refusal::new(Code::SizeInvalid, "the header Content-Length is no number"))
}

fn out_of_place(session: &Session, message: &str) -> Refusal {
    let mut refusal = Refusal::new(Code::BlobUploadInvalid, message).status(StatusCode::RANGE_NOT_SATISFIABLE);
    for (name, value) in whereabouts(session) {
        refusal = refusal.header(name, value);
    }
    refusal
}

fn progress(session: &Session, code: StatusCode) -> Result<Reply, Refusal> {
    let mut reply = status(code);
    reply.headers_mut().extend(whereabouts(session));
    Ok(reply)
}

/// The headers that say where an upload is.
fn whereabouts(session: &Session) -> [(HeaderName, HeaderValue); 3] {
    // A fresh upload says 0-0, as Docker's registry does: the form has no way to say "nothing".
    let last = lock(&session.upload).received().saturating_sub(1);
    let location = format!("/v2/{}/blobs/uploads/{}", session.repository, session.id);
    [(LOCATION, header(&location)), (RANGE, header(&format!("0-{last}"))), (UPLOAD_ID, header(&session.id))]
}

fn blob_created(repository: &RepositoryName, digest: &Digest) -> Result<Reply, Refusal> {
    let mut reply = status(StatusCode::CREATED);
    reply.headers_mut().insert(LOCATION, header(&format!("/v2/{repository}/blobs/{digest}")));
    reply.headers_mut().insert(super::CONTENT_DIGEST, header(&digest.to_string()));
    Ok(reply)
}

/// Our own texts as header values: names, digests and numbers have only letters that may stand there.
pub(super) fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A random UUID (version 4).
pub(super) fn new_id() -> Result<String, Refusal> {
    let mut bytes = [0_u8; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|error| Refusal::internal("beginning an upload", &error))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = shipway_model::digest::to_hex(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
