//! One layer on its way out: the other end has it, or takes it from another repository, or gets the stored form we have, or a fresh one that is compressed
//! while it is sent.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use shipway_archive::compress::{GzipBlocks, zstd_encoder};
use shipway_model::{Compression, Descriptor, DiffId, Digest, LayerId, Manifest, MediaType};
use shipway_store::{Image, Ingest, Representation};
use tokio::sync::{SemaphorePermit, mpsc};

use super::{LayerCompression, Push};
use crate::Error;
use crate::Url;
use crate::client::access::Scope;
use crate::client::manifests::is_foreign;
use crate::client::refusal::refusal;
use crate::client::registry::Target;
use crate::client::transfer::{TransferEvent, TransferState};
use crate::client::upload::Upload;

/// gzip's level for what we compress. In blocks of libdeflate this packs programs and texts smaller than docker does (Go, its level 6); 5 does not always.
const GZIP_LEVEL: i32 = 6;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;
/// Repositories asked for a mount before the bytes are sent.
const MOUNTS: usize = 3;
/// Time between two words about progress.
const TELL: Duration = Duration::from_millis(100);

/// A layer that is at the other end now.
pub(super) struct There {
    pub(super) diff_id: DiffId,
    pub(super) descriptor: Descriptor,
    /// We know, by our own hashing, that these bytes are this layer.
    pub(super) is_ours: bool,
}

impl Push<'_> {
    /// Sees to it that a layer is there; `named` is how the manifest it came by calls it.
    pub(super) async fn layer(&self, id: LayerId, named: Option<Descriptor>) -> Result<There, Error> {
        let layer = self.pusher.store.layer(&id).ok_or_else(|| Error::Internal { what: format!("layer {id} is gone") })?;
        let diff_id = layer.diff_id;
        self.tell(diff_id, TransferState::Preparing);
        let forms = self.pusher.store.representations(&diff_id);
        let ours = |digest: &Digest| forms.iter().any(|form| form.digest == *digest);
        if let Some(named) = named.as_ref().filter(|named| !named.urls.is_empty() && is_foreign(&named.media_type) && !self.may_pass_on()) {
            self.tell(diff_id, TransferState::Skipped);
            return Ok(There { diff_id, is_ours: ours(&named.digest), descriptor: named.clone() });
        }
        let barred = forms.iter().find(|form| is_foreign(&form.media_type)).filter(|_| !self.may_pass_on());
        let known: Vec<Descriptor> = forms
            .iter()
            .filter(|form| self.fits(&form.media_type) && named.as_ref().is_none_or(|named| named.digest != form.digest))
            .map(|form| Descriptor::new(form.media_type.clone(), form.digest, form.size))
            .collect();
        // The form that the image came in goes first by every way there is, also where another one would save its bytes: with it the image keeps its digest.
        let there = |descriptor: &Descriptor| There { diff_id, is_ours: ours(&descriptor.digest), descriptor: descriptor.clone() };
        let mut place = None;
        for candidates in [named.as_slice(), &known] {
            for candidate in candidates {
                if self.exists(&candidate.digest, candidate.size).await? {
                    self.tell(diff_id, TransferState::ExistsThere);
                    return Ok(there(candidate));
                }
            }
            if barred.is_some() || candidates.is_empty() {
                continue;
            }
            if place.is_none() {
                place = Some(self.place(diff_id).await?);
            }
            for candidate in candidates {
                let form = forms.iter().find(|form| form.digest == candidate.digest);
                let origins = form.map(|form| form.origins.as_slice()).unwrap_or_default();
                if let Some(from) = self.mount(&candidate.digest, origins).await? {
                    self.tell(diff_id, TransferState::Mounted { from });
                    return Ok(there(candidate));
                }
            }
            for candidate in candidates {
                if self.pusher.store.blobs().size(&candidate.digest) == Some(candidate.size) && self.lease.add_blob(&candidate.digest) {
                    let sent = self.send_blob(diff_id, &candidate.digest, candidate.size).await?;
                    self.tell(diff_id, if sent { TransferState::Pushed } else { TransferState::ExistsThere });
                    return Ok(there(candidate));
                }
            }
        }
        // Compressing it anew would only hide what it is.
        if let Some(form) = barred {
            let registry = self.registry.domain().to_owned();
            return Err(Error::Nondistributable { digest: form.digest.to_string(), registry });
        }
        let _place = match place {
            Some(place) => place,
            None => self.place(diff_id).await?,
        };
        let descriptor = self.compress(id, diff_id, layer.tar_size).await?;
        self.tell(diff_id, TransferState::Pushed);
        Ok(There { diff_id, descriptor, is_ours: true })
    }

    /// One of the places for layers on their way, which are fewer than layers.
    async fn place(&self, diff_id: DiffId) -> Result<SemaphorePermit<'_>, Error> {
        if let Ok(place) = self.pusher.places.try_acquire() {
            return Ok(place);
        }
        self.tell(diff_id, TransferState::Waiting);
        self.pusher.places.acquire().await.map_err(|_| Error::Internal { what: "the pusher was closed".to_owned() })
    }

    /// The layers of an image whose manifest is there.
    pub(super) fn known(&self, image: &Image, manifest: &Manifest) -> Vec<There> {
        let layers = image.layers.iter().zip(&manifest.layers);
        let known = layers.filter_map(|(id, descriptor)| {
            let diff_id = self.pusher.store.layer(id)?.diff_id;
            self.tell(diff_id, TransferState::ExistsThere);
            let is_ours = self.pusher.store.representations(&diff_id).iter().any(|form| form.digest == descriptor.digest);
            Some(There { diff_id, descriptor: descriptor.clone(), is_ours })
        });
        known.collect()
    }

    fn may_pass_on(&self) -> bool {
        self.registry.takes_nondistributable()
    }

    fn fits(&self, media_type: &MediaType) -> bool {
        match self.request.compression {
            LayerCompression::AsItIs => media_type.is_layer(),
            LayerCompression::Gzip => media_type.layer_compression() == Some(Compression::Gzip),
            LayerCompression::Zstd => media_type.layer_compression() == Some(Compression::Zstd),
        }
    }

    /// Asks the registry to take the blob from another repository of its own; the repository, if it did.
    async fn mount(&self, digest: &Digest, origins: &[String]) -> Result<Option<String>, Error> {
        let prefix = format!("{}/", self.registry.domain());
        let others =
            origins.iter().filter_map(|origin| origin.strip_prefix(prefix.as_str())).filter(|other| *other != self.request.repository);
        for other in others.take(MOUNTS) {
            let path = format!("{}/blobs/uploads/?mount={digest}&from={other}", self.request.repository);
            let scopes = [self.scope(), Scope::pull(other)];
            let response = self.registry.send(&Method::POST, Target::Path(&path), &scopes, &HeaderMap::new(), Upload::Empty).await?;
            match response.status {
                StatusCode::CREATED => return Ok(Some(other.to_owned())),
                // It began an upload instead, which nobody will go on with.
                StatusCode::ACCEPTED => {
                    if let Ok(session) = self.session(&response) {
                        let headers = HeaderMap::new();
                        let cancel = self.registry.send(&Method::DELETE, Target::Url(&session), &scopes, &headers, Upload::Empty);
                        // It ends by itself as well.
                        drop(cancel.await);
                    }
                }
                status if status.is_server_error() => return Err(refusal(response).await),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Compresses the layer, sends what comes out as it comes, and keeps it as a blob. When sending fails the blob is sent once it is whole.
    async fn compress(&self, id: LayerId, diff_id: DiffId, total: u64) -> Result<Descriptor, Error> {
        let (sender, receiver) = mpsc::channel(8);
        let (store, lease, events) = (self.pusher.store.clone(), self.lease.clone(), Arc::clone(self.events));
        let zstd = self.request.compression == LayerCompression::Zstd;
        let compressing = crate::client::blocking(move || {
            let ingest = store.blobs().ingest()?.keep_in(&lease);
            let tee = Tee { ingest, sender: Some(sender), gathered: Vec::new() };
            let tell = move |current| events(TransferEvent { layer: diff_id.0, state: TransferState::Pushing { current, total } });
            let failed = |source| Error::File { path: store.root().to_owned(), source };
            let mut tee = if zstd {
                let encoder = zstd_encoder(tee, ZSTD_LEVEL).map_err(|error| Error::Internal { what: error.to_string() })?;
                let mut counted = Counted { out: encoder, current: 0, told: Instant::now(), tell };
                store.write_layer(&id, &mut counted)?;
                counted.out.finish().map_err(failed)?
            } else {
                let threads = available_parallelism().map_or(1, usize::from);
                let mut counted = Counted { out: GzipBlocks::new(tee, GZIP_LEVEL, threads), current: 0, told: Instant::now(), tell };
                store.write_layer(&id, &mut counted)?;
                counted.out.finish().map_err(|error| Error::Internal { what: error.to_string() })?
            };
            tee.hand_over();
            Ok(tee.ingest.commit(None)?)
        });
        let session = self.begin().await?;
        let (sent, compressed) = tokio::join!(self.patch(&session, receiver), compressing);
        let (digest, size) = compressed?;
        let media_type = if zstd { MediaType::OciLayerTarZstd } else { MediaType::OciLayerTarGzip };
        // A push that breaks later, or dies, finds by this that the layer is there, or has it to send without compressing it again.
        let noting = self.note(diff_id, Representation { media_type: media_type.clone(), digest, size, origins: Vec::new() });
        let finishing = async {
            match sent {
                Ok(session) => self.finish(&session, &digest).await,
                Err(error) => Err(error),
            }
        };
        let (noted, finished) = tokio::join!(noting, finishing);
        noted?;
        if let Err(error) = finished {
            tracing::info!(layer = %diff_id, %error, "a layer is sent again, from what was compressed");
            self.send_blob(diff_id, &digest, size).await?;
        }
        Ok(Descriptor::new(media_type, digest, size))
    }

    /// Makes a form of a layer, and the blob that it is, durable.
    async fn note(&self, diff_id: DiffId, form: Representation) -> Result<(), Error> {
        let store = self.pusher.store.clone();
        crate::client::blocking(move || {
            let inside = store.clone();
            Ok(store.publish(move |txn| inside.remember_representation(txn, diff_id, form))?)
        })
        .await
    }

    pub(super) fn tell(&self, diff_id: DiffId, state: TransferState) {
        (self.events)(TransferEvent { layer: diff_id.0, state });
    }

    /// Where an upload goes on, by the answer that says so.
    pub(super) fn session(&self, response: &crate::Response) -> Result<Url, Error> {
        let location = response.headers.get(http::header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| Error::Redirect { reason: "the registry names no address for the upload".to_owned() })?;
        let session = response.url.join(location).map_err(|error| Error::Redirect { reason: error.to_string() })?;
        if response.url.is_secure() && !session.is_secure() {
            return Err(Error::InsecureRedirect { to: session });
        }
        Ok(session)
    }
}

/// Writes to the blob and to whoever sends it. That nobody sends any more does not keep the blob from being finished.
struct Tee {
    ingest: Ingest,
    sender: Option<mpsc::Sender<io::Result<Bytes>>>,
    gathered: Vec<u8>,
}

/// Bytes handed over at once.
const PIECE: usize = 256 << 10;

impl Tee {
    fn hand_over(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let piece = Bytes::from(std::mem::take(&mut self.gathered));
        if let Some(sender) = &self.sender
            && sender.blocking_send(Ok(piece)).is_err()
        {
            self.sender = None;
        }
    }
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.ingest.write_all(bytes)?;
        if self.sender.is_some() {
            self.gathered.extend_from_slice(bytes);
            if self.gathered.len() >= PIECE {
                self.hand_over();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.ingest.flush()
    }
}

/// Counts what passes and tells of it now and then.
struct Counted<W, T> {
    out: W,
    current: u64,
    told: Instant,
    tell: T,
}

impl<W: Write, T: FnMut(u64)> Write for Counted<W, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.current += count as u64;
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            (self.tell)(self.current);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A counter shared with the stream that sends.
pub(super) type Counter = Arc<Mutex<(u64, Instant)>>;

/// Adds to the counter; the sum, when it is time to tell.
pub(super) fn advance(counter: &Counter, count: usize) -> Option<u64> {
    let mut state = counter.lock().unwrap_or_else(PoisonError::into_inner);
    state.0 += count as u64;
    (state.1.elapsed() >= TELL).then(|| {
        state.1 = Instant::now();
        state.0
    })
}
