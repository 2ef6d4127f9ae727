//! One layer on its way: from the registry into a file, from the file through the hashes into a folder, both at once.
//!
//! The file is what ties a network that stops and goes to a reader that wants a stream: the reader waits where nothing has come yet, and what broke off
//! is simply appended to. Whether the bytes are right is known when both digests are, and only then anything becomes visible.
//!
//! # Source
//! RFC 9110, section 14 (ranges). OCI distribution-spec 1.1, "Pulling blobs".

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderValue, StatusCode};
use shipway_model::{Classified as _, Descriptor, DiffId, Digest, ErrorKind, LayerId};
use shipway_store::{Download, LayerOrigin, Lease, UnpackRequest};
use tokio::time::Instant;

use super::Puller;
use crate::Error;
use crate::client::fetch::content_range;
use crate::client::registry::Registry;
use crate::client::transfer::{TransferEvent, TransferSink, TransferState};
use crate::client::transport::Response;
use crate::error::Stage;
use crate::hash::Hasher;

/// Bytes gathered before they are written.
const PIECE: usize = 1 << 20;
/// Time between two words about progress.
const TELL: Duration = Duration::from_millis(100);
/// An attempt that brought so much was worth it: the next failure counts as the first again.
const WORTH_IT: u64 = 1 << 20;
/// A server that sends less in the time in which it must send something is taken for one that hangs (S-509).
const LEAST: u64 = 8 << 10;

/// One layer to bring here.
pub(super) struct Job<'a> {
    pub(super) puller: &'a Puller,
    pub(super) registry: &'a Registry,
    pub(super) repository: &'a str,
    pub(super) descriptor: &'a Descriptor,
    pub(super) diff_id: DiffId,
    pub(super) lease: &'a Lease,
    pub(super) events: &'a TransferSink,
    /// The layers below, bottom first; none while they are on their way themselves.
    pub(super) lower: Vec<LayerId>,
}

/// What came of a layer.
pub(super) enum Found {
    Here(Here),
    /// It links to files of the layers below: it is to be unpacked again, on top of them. The error is for when that is no help.
    NeedsLower(Error),
}

/// A layer that is here.
pub(super) struct Here {
    pub(super) id: LayerId,
    /// The blob that was fetched and found to be it.
    pub(super) fetched: Option<Digest>,
}

/// How an attempt to unpack what comes ended.
enum Outcome {
    Done(Here),
    /// What an earlier pull left was not the beginning of it.
    StaleBeginning,
    /// It links to what is not in it.
    LinksDown(Error),
}

impl Job<'_> {
    pub(super) async fn run(self) -> Result<Found, Error> {
        if let Some(id) = self.here() {
            self.tell(TransferState::Exists);
            return Ok(Found::Here(Here { id, fetched: None }));
        }
        let closed = |_| Error::Internal { what: "the puller was closed".to_owned() };
        // The turn first: who waits for somebody else's download must not keep a place from others.
        let _turn = self.puller.turns.take(self.descriptor.digest).await;
        let _place = match self.puller.places.try_acquire() {
            Ok(place) => place,
            Err(_) => {
                self.tell(TransferState::Waiting);
                self.puller.places.acquire().await.map_err(closed)?
            }
        };
        if let Some(id) = self.here() {
            self.tell(TransferState::Exists);
            return Ok(Found::Here(Here { id, fetched: None }));
        }
        let mut outcome = self.attempt().await?;
        if matches!(outcome, Outcome::StaleBeginning) {
            outcome = self.attempt().await?;
        }
        match outcome {
            Outcome::Done(here) => {
                self.tell(TransferState::Pulled);
                Ok(Found::Here(here))
            }
            Outcome::LinksDown(error) => Ok(Found::NeedsLower(error)),
            Outcome::StaleBeginning => Err(Error::Internal { what: "a download began with what was thrown away".to_owned() }),
        }
    }

    /// The layer, if it is here already; the lease keeps it then.
    fn here(&self) -> Option<LayerId> {
        self.puller.store.layer_by_diff_id(&self.diff_id).filter(|id| self.lease.add_layer(id))
    }

    async fn attempt(&self) -> Result<Outcome, Error> {
        let (store, descriptor) = (self.puller.store.clone(), self.descriptor.clone());
        let download = crate::client::blocking(move || Ok(Arc::new(store.download(&descriptor.digest, descriptor.size)?))).await?;
        let began_with = download.received();
        let result = self.receive(&download).await;
        let store_error = match result {
            Ok(here) => return Ok(Outcome::Done(here)),
            // What came stays, for the attempt that knows the layers below.
            Err(error) if self.lower.is_empty() && links_down(&error) => return Ok(Outcome::LinksDown(error)),
            // The network is no reason to throw away what came.
            Err(error @ (Error::Store(_) | Error::Content { .. })) => error,
            Err(error) => return Err(error),
        };
        download.discard();
        // A decoder that meets garbage says so in many ways; only for want of space a second attempt is no use.
        if began_with > 0 && store_error.kind() != ErrorKind::Exhausted {
            tracing::info!(layer = %self.descriptor.digest, error = %store_error, "what an earlier pull left is of no use");
            return Ok(Outcome::StaleBeginning);
        }
        Err(store_error)
    }

    /// Fetches and unpacks side by side.
    async fn receive(&self, download: &Arc<Download>) -> Result<Here, Error> {
        let request = UnpackRequest {
            expected: Some(self.diff_id),
            origin: LayerOrigin::Pulled,
            created: crate::clock::now(),
            lower: self.lower.clone(),
            lease: Some(self.lease.clone()),
        };
        let (store, reader) = (self.puller.store.clone(), download.reader());
        let mut unpacking = std::pin::pin!(crate::client::blocking(move || Ok(store.unpack_layer(reader, &request)?)));
        let mut fetching = std::pin::pin!(self.fetch(download));
        let mut fetched = false;
        let mut tick = tokio::time::interval(TELL);
        let unpacked = loop {
            tokio::select! {
                result = &mut fetching, if !fetched => match result {
                    Ok(()) => {
                        fetched = true;
                        self.tell(TransferState::Downloaded);
                    }
                    Err(error) => {
                        download.give_up();
                        // The unpacker ends with the stream; what it says then is only about that.
                        drop(unpacking.await);
                        return Err(error);
                    }
                },
                result = &mut unpacking => {
                    // It took the last byte before we were told that it came.
                    if !std::mem::replace(&mut fetched, true) && result.is_ok() {
                        self.tell(TransferState::Downloaded);
                    }
                    break result?;
                }
                _ = tick.tick(), if fetched => {
                    self.tell(TransferState::Extracting { current: download.read(), total: self.descriptor.size });
                }
            }
        };
        let found = self.digest_of(download, unpacked.stored).await?;
        if found != self.descriptor.digest || unpacked.stored_size != self.descriptor.size {
            let reason = format!("its {} bytes have the digest {found}", unpacked.stored_size);
            return Err(Error::Content { what: format!("the layer {}", self.descriptor.digest), reason });
        }
        let (download, lease, id, stored) = (Arc::clone(download), self.lease.clone(), unpacked.layer.id, unpacked.stored);
        crate::client::blocking(move || {
            download.commit(&lease, &stored)?;
            Ok(Here { id, fetched: Some(stored) })
        })
        .await
    }

    /// The digest of what came, by the algorithm it was asked for by; `stored` is that by SHA-256. For another one, which hardly anybody uses, the bytes
    /// are read again.
    async fn digest_of(&self, download: &Arc<Download>, stored: Digest) -> Result<Digest, Error> {
        let algorithm = self.descriptor.digest.algorithm();
        if algorithm == stored.algorithm() {
            return Ok(stored);
        }
        let mut reader = download.reader();
        crate::client::blocking(move || {
            let (mut hasher, mut piece) = (Hasher::new(algorithm), vec![0; PIECE]);
            loop {
                let path = std::path::PathBuf::from("a download");
                match reader.read(&mut piece).map_err(|source| Error::File { path, source })? {
                    0 => return Ok(hasher.finish()),
                    count => hasher.update(&piece[..count]),
                }
            }
        })
        .await
    }

    /// Brings the missing bytes, however often the connection breaks, as long as it gets somewhere.
    async fn fetch(&self, download: &Arc<Download>) -> Result<(), Error> {
        let mut retry = 0;
        loop {
            let before = download.received();
            if before == self.descriptor.size {
                return Ok(());
            }
            let response = self.ask(before).await?;
            let Err(error) = self.take(response, download, before).await else { continue };
            if download.received() - before >= WORTH_IT {
                retry = 0;
            }
            let retries = self.registry.retries();
            let Some(pause) = retries.pause(retry, &error) else { return Err(error) };
            tracing::info!(layer = %self.descriptor.digest, %error, received = download.received(), "a layer is gone on with");
            self.tell(TransferState::Retrying { pause });
            tokio::time::sleep(pause).await;
            retry += 1;
        }
    }

    /// Takes what comes until the body ends.
    async fn take(&self, mut response: Response, download: &Arc<Download>, from: u64) -> Result<(), Error> {
        let broken = |reason: &str| Error::Broken { host: response.url.host().to_string(), reason: reason.to_owned() };
        let header = |name| response.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        // A server that knows no ranges sends everything again; the digest proves that the beginning is the same.
        let mut skip = 0;
        if response.status == StatusCode::PARTIAL_CONTENT {
            let range = header(CONTENT_RANGE).and_then(content_range);
            if !range.is_some_and(|(first, total)| first == from && total.is_none_or(|total| total == self.descriptor.size)) {
                return Err(broken("the rest of the layer is not what was asked for"));
            }
        } else {
            skip = from;
            if let Some(size) =
                header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok()).filter(|size| *size != self.descriptor.size)
            {
                let reason = format!("the registry announces {size} bytes instead of {}", self.descriptor.size);
                return Err(Error::Content { what: format!("the layer {}", self.descriptor.digest), reason });
            }
        }
        let mut gathered = Vec::with_capacity(PIECE);
        let patience = self.registry.patience();
        // Time spent waiting for the server, not for our own disk, and where the download was when that began.
        let (mut told, mut waited, mut was_at) = (Instant::now(), Duration::ZERO, from);
        loop {
            let asked = Instant::now();
            let next = response.body.next().await;
            waited += asked.elapsed();
            let piece = match next {
                Some(Ok(piece)) => piece,
                other => {
                    self.write(download, &mut gathered).await?;
                    return match other {
                        Some(Err(error)) => Err(error),
                        _ if download.received() == self.descriptor.size => Ok(()),
                        _ => Err(Error::Broken { host: response.url.host().to_string(), reason: "the layer ended early".to_owned() }),
                    };
                }
            };
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            skip -= skipped as u64;
            let (came, room) = (&piece[skipped..], self.descriptor.size - download.received() - gathered.len() as u64);
            if came.len() as u64 > room {
                // The digest says whether the promised bytes are right; nobody needs the others.
                gathered.extend_from_slice(&came[..usize::try_from(room).unwrap_or(came.len())]);
                return self.write(download, &mut gathered).await;
            }
            gathered.extend_from_slice(came);
            let current = download.received() + gathered.len() as u64;
            if waited >= patience {
                if skip == 0 && current < (was_at + LEAST).min(self.descriptor.size) {
                    self.write(download, &mut gathered).await?;
                    return Err(Error::TimedOut { stage: Stage::Body, host: response.url.host().to_string(), limit: patience });
                }
                (waited, was_at) = (Duration::ZERO, current);
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                self.tell(TransferState::Downloading { current, total: self.descriptor.size });
            }
            // The unpacker is not kept waiting by a slow network, nor woken for every packet of a fast one.
            if gathered.len() >= PIECE || download.read() == download.received() && gathered.len() >= PIECE / 8 {
                self.write(download, &mut gathered).await?;
            }
        }
    }

    async fn write(&self, download: &Arc<Download>, gathered: &mut Vec<u8>) -> Result<(), Error> {
        if gathered.is_empty() {
            return Ok(());
        }
        let (bytes, download) = (std::mem::replace(gathered, Vec::with_capacity(PIECE)), Arc::clone(download));
        crate::client::blocking(move || Ok(download.append(&bytes)?)).await
    }

    fn tell(&self, state: TransferState) {
        (self.events)(TransferEvent { layer: self.descriptor.digest, state });
    }
}

/// Whether a layer could not be unpacked because it links to a file that is not in it.
fn links_down(error: &Error) -> bool {
    matches!(error, Error::Store(source) if matches!(&**source, shipway_store::Error::Archive(shipway_archive::Error::NoLinkTarget { .. })))
}
