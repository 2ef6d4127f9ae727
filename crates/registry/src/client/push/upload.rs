//! The protocol of uploads: is it there, begin, send, finish.
//!
//! # Source
//! OCI distribution-spec 1.1, "Pushing blobs": monolithic (POST, then PUT), and a stream of unknown length (POST, PATCH, then PUT); "Mounting a blob from
//! another repository": a registry may look for it by itself when no repository is named.

use std::fs::File;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use shipway_model::{DiffId, Digest};
use tokio::sync::mpsc;

use super::Push;
use super::layer::{Counter, advance};
use crate::client::refusal::refusal;
use crate::client::registry::Target;
use crate::client::transfer::{TransferEvent, TransferState};
use crate::client::transport::Response;
use crate::client::upload::Upload;
use crate::{Error, Url};

/// Bytes read from a blob at once.
const PIECE: usize = 256 << 10;

impl Push<'_> {
    /// Whether the repository has the blob.
    pub(super) async fn exists(&self, digest: &Digest, size: u64) -> Result<bool, Error> {
        let path = format!("{}/blobs/{digest}", self.request.repository);
        let response = self.registry.head(&path, &self.scope(), &HeaderMap::new()).await?;
        match response.status.as_u16() {
            200 => {
                let told =
                    response.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
                Ok(told.is_none_or(|told| told == size))
            }
            401 | 403 => Err(self.denied(response).await),
            status if status >= 500 => Err(refusal(response).await),
            _ => Ok(false),
        }
    }

    /// An answer to HEAD has no body: the same question by GET has the registry's words.
    async fn denied(&self, response: Response) -> Error {
        let path = format!("{}/tags/list", self.request.repository);
        match self.registry.get(&path, &self.scope(), &HeaderMap::new()).await {
            Ok(worded) if worded.status == response.status => refusal(worded).await,
            _ => refusal(response).await,
        }
    }

    /// Begins the upload of a blob by offering the registry to take it from wherever it has it already; where the upload goes on, or none when there is
    /// nothing to send. Registries that know no such offer begin the upload all the same.
    async fn offer(&self, digest: &Digest) -> Result<Option<Url>, Error> {
        let path = format!("{}/blobs/uploads/?mount={digest}", self.request.repository);
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))]);
        let response = self.insist(&Method::POST, &path, &headers, &Bytes::new()).await?;
        match response.status {
            StatusCode::CREATED => Ok(None),
            StatusCode::ACCEPTED => self.session(&response).map(Some),
            // One that takes the offer for a mistake.
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => self.begin().await.map(Some),
            _ => Err(refusal(response).await),
        }
    }

    /// Begins an upload; where it goes on.
    pub(super) async fn begin(&self) -> Result<Url, Error> {
        let path = format!("{}/blobs/uploads/", self.request.repository);
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))]);
        let response = self.insist(&Method::POST, &path, &headers, &Bytes::new()).await?;
        if response.status != StatusCode::ACCEPTED {
            return Err(refusal(response).await);
        }
        self.session(&response)
    }

    /// Sends a stream whose length nobody knows yet; where the upload goes on.
    pub(super) async fn patch(&self, session: &Url, pieces: mpsc::Receiver<std::io::Result<Bytes>>) -> Result<Url, Error> {
        let stream = futures_util::stream::unfold(pieces, |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) });
        let upload = Upload::Stream(stream.boxed(), None);
        let response = self.registry.send(&Method::PATCH, Target::Url(session), &[self.scope()], &octets(), upload).await?;
        if !matches!(response.status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Err(refusal(response).await);
        }
        self.session(&response)
    }

    /// Ends an upload whose bytes are all there.
    pub(super) async fn finish(&self, session: &Url, digest: &Digest) -> Result<(), Error> {
        self.put(session, digest, Upload::Empty).await
    }

    async fn put(&self, session: &Url, digest: &Digest, upload: Upload) -> Result<(), Error> {
        let url = session.with_pairs(&[("digest", &digest.to_string())])?;
        let response = self.registry.send(&Method::PUT, Target::Url(&url), &[self.scope()], &octets(), upload).await?;
        if !matches!(response.status, StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK) {
            return Err(refusal(response).await);
        }
        Ok(())
    }

    /// Sends bytes in memory as a blob.
    pub(super) async fn send_bytes(&self, digest: &Digest, bytes: Bytes) -> Result<(), Error> {
        let mut patience = Patience::default();
        loop {
            let Some(session) = self.offer(digest).await? else { return Ok(()) };
            match self.put(&session, digest, Upload::Bytes(bytes.clone())).await {
                Ok(()) => return Ok(()),
                Err(error) => patience.wait(self, error).await?,
            }
        }
    }

    /// Sends a blob of the store in one piece; false when the registry had it somewhere else and took it from there.
    pub(super) async fn send_blob(&self, diff_id: DiffId, digest: &Digest, size: u64) -> Result<bool, Error> {
        let mut patience = Patience::default();
        loop {
            let Some(session) = self.offer(digest).await? else { return Ok(false) };
            let (store, wanted) = (self.pusher.store.clone(), *digest);
            let file = crate::client::blocking(move || Ok(store.blobs().open(&wanted)?)).await?;
            let (events, counter): (_, Counter) = (Arc::clone(self.events), Arc::new(Mutex::new((0, Instant::now()))));
            let stream = read_out(file).map(move |piece| {
                if let Ok(piece) = &piece
                    && let Some(current) = advance(&counter, piece.len())
                {
                    events(TransferEvent { layer: diff_id.0, state: TransferState::Pushing { current, total: size } });
                }
                piece
            });
            match self.put(&session, digest, Upload::Stream(stream.boxed(), Some(size))).await {
                Ok(()) => return Ok(true),
                Err(error) => patience.wait(self, error).await?,
            }
        }
    }

    /// A small request below `/v2/`, asked again where a passing trouble came.
    pub(super) async fn insist(&self, method: &Method, path: &str, headers: &HeaderMap, body: &Bytes) -> Result<Response, Error> {
        let mut patience = Patience::default();
        let scopes = [self.scope()];
        loop {
            let upload = if body.is_empty() { Upload::Empty } else { Upload::Bytes(body.clone()) };
            let error = match self.registry.send(method, Target::Path(path), &scopes, headers, upload).await {
                Ok(response) if response.status.is_server_error() || response.status == StatusCode::TOO_MANY_REQUESTS => {
                    refusal(response).await
                }
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            patience.wait(self, error).await?;
        }
    }
}

/// Attempts that failed so far.
#[derive(Default)]
struct Patience {
    failed: u32,
}

impl Patience {
    /// Pauses before the next attempt.
    ///
    /// # Errors
    /// `error` itself, when another attempt is no use.
    async fn wait(&mut self, push: &Push<'_>, error: Error) -> Result<(), Error> {
        let Some(pause) = push.registry.retries().pause(self.failed, &error) else { return Err(error) };
        tracing::info!(registry = push.registry.domain(), %error, pause_ms = pause.as_millis(), "an upload is tried again");
        tokio::time::sleep(pause).await;
        self.failed += 1;
        Ok(())
    }
}

fn octets() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))])
}

/// The bytes of a file as a stream, read on a thread that may block.
fn read_out(mut file: File) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
    let (sender, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let next = match (&mut file).take(PIECE as u64).read_to_end(&mut piece) {
                Ok(0) => return,
                Ok(_) => Ok(Bytes::from(piece)),
                Err(error) => Err(error),
            };
            let is_last = next.is_err();
            if sender.blocking_send(next).is_err() || is_last {
                return;
            }
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|piece| (piece, receiver)) })
}
