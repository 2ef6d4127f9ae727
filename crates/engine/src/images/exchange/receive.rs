//! The side that gets the images. The other side is not trusted: everything it says is bounded, and every byte is checked against the ids it named first.
//!
//! What must stay true: no image and no name changes before everything of all images is here, checked and durable; they appear in one transaction.
//! What came of a session that broke stays: whole layers under a lease for an hour, the beginning of a layer as the beginning of a download.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::time::Duration;

use shipway_model::{Classified, DiffId, ImageConfig, LayerId, Reference};
use shipway_store::{Download, LayerOrigin, Lease, NewImage, Store, UnpackRequest, UnpackedLayer};

use super::frame::{FrameReader, FrameWriter, Kind, LineError, parse, unpack};
use super::{Exchange, IMAGES, LAYERS, Line, NAMES, Offer, OfferedLayer, Want, WantedLayer};
use crate::{Engine, Error, Subject};

/// How long the layers of a session that broke are kept for the next one.
const KEPT: Duration = Duration::from_secs(3600);
/// Bytes of all configs of one exchange.
const CONFIGS: usize = 64 << 20;

/// An image that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub id: shipway_model::ImageId,
    pub references: Vec<Reference>,
}

/// Why nothing came.
#[derive(Debug)]
pub struct ReceiveFailure {
    pub error: Error,
    /// The other side knows it and tells whoever waits there.
    pub told: bool,
}

/// An image of the offer, checked as far as that goes without its layers.
struct Announced {
    references: Vec<Reference>,
    config_bytes: Vec<u8>,
    diff_ids: Vec<DiffId>,
}

impl Engine {
    /// Takes in the images that the other side of `line` offers.
    ///
    /// # Errors
    /// `Remote` when the line breaks or the other side breaks its rules; the store's `Corrupt` when bytes are not what was announced.
    ///
    /// # Durability
    /// When the other side is told that it is done, the images and their names survive a power cut. Before that none of them is visible.
    pub async fn receive_images(&self, line: Line) -> Result<Vec<Received>, ReceiveFailure> {
        let lease = self.inner.store.lease();
        let (engine, kept) = (self.clone(), lease.clone());
        let task = tokio::task::spawn_blocking(move || {
            let mut out = FrameWriter::greet(line.output).map_err(|error| ReceiveFailure { error: error.into(), told: false })?;
            let received = FrameReader::greeted(line.input).and_then(|input| engine.take_in(input, &mut out, &lease));
            received.map_err(|error| {
                let told = !matches!(error, LineError::Refused { .. }) && out.refuse(&error);
                ReceiveFailure { told: told || matches!(error, LineError::Refused { .. }), error: error.into() }
            })
        });
        let internal = |error| ReceiveFailure { error: Error::internal(format!("receiving ended abnormally: {error}")), told: false };
        let received = task.await.map_err(internal)?;
        match &received {
            Ok(images) => {
                for image in images {
                    let id = image.id.to_string();
                    self.inner.events.publish(Subject::Image, "receive", id.clone(), BTreeMap::from([("name".to_owned(), id)]));
                }
            }
            Err(failure) => {
                tracing::info!(error = %failure.error, "images did not come whole");
                self.inner.store.publish_soon();
                // The task owns nothing but the lease and ends by itself.
                tokio::spawn(async move {
                    tokio::time::sleep(KEPT).await;
                    drop(kept);
                });
            }
        }
        received
    }

    fn take_in<R: std::io::Read, W: Write>(
        &self,
        mut input: FrameReader<R>,
        out: &mut FrameWriter<W>,
        lease: &Lease,
    ) -> Result<Vec<Received>, LineError> {
        let store = &self.inner.store;
        let offer: Offer = parse(&input.expect(Kind::Offer)?)?;
        let images = announced(&offer, &mut input)?;
        let mut here: HashMap<DiffId, LayerId> = HashMap::new();
        for layer in &offer.layers {
            if let Some(id) = store.layer_by_diff_id(&layer.diff_id).filter(|id| lease.add_layer(id)) {
                here.insert(layer.diff_id, id);
            }
        }
        let lacking: Vec<&OfferedLayer> = offer.layers.iter().filter(|layer| !here.contains_key(&layer.diff_id)).collect();
        room_for(store, lacking.iter().map(|layer| layer.size))?;
        let turns = &self.inner.exchange;
        let session = Session { turns, number: turns.begin(lacking.iter().map(|layer| layer.diff_id)) };
        let mut want = Want { layers: Vec::new() };
        for layer in &lacking {
            // What an earlier session left is the beginning; the digest of the whole proves it.
            want.layers.push(WantedLayer { diff_id: layer.diff_id, from: store.download(&layer.diff_id.0, layer.size)?.received() });
        }
        out.json(Kind::Want, &want)?;
        out.flush()?;
        for (layer, wanted) in lacking.iter().zip(&want.layers) {
            let begins: WantedLayer = parse(&input.expect(Kind::Layer)?)?;
            if begins != *wanted {
                return Err(LineError::violation(format!("the layer {} begins instead of {}", begins.diff_id, wanted.diff_id)));
            }
            let unpacked = take_layer(store, &session, layer, &mut input, lease)?;
            here.insert(layer.diff_id, unpacked.layer.id);
        }
        let received = publish(store, images, &here)?;
        out.frame(Kind::Stored, b"")?;
        out.flush()?;
        Ok(received)
    }
}

/// The turn at some layers, given back at the end.
struct Session<'a> {
    turns: &'a Exchange,
    number: u64,
}

impl Session<'_> {
    fn discard(&self, layer: &OfferedLayer, download: &Download) -> Result<(), LineError> {
        self.turns.while_mine(self.number, &layer.diff_id, || {
            download.discard();
            Ok(())
        })
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.turns.end(self.number);
    }
}

/// Reads the configs and checks that offer, configs and layers belong together.
fn announced<R: std::io::Read>(offer: &Offer, input: &mut FrameReader<R>) -> Result<Vec<Announced>, LineError> {
    if offer.images.is_empty() || offer.images.len() > IMAGES || offer.layers.len() > LAYERS {
        return Err(LineError::violation("it offers no images, or too many images or layers"));
    }
    let mut unused: HashSet<DiffId> = offer.layers.iter().map(|layer| layer.diff_id).collect();
    if unused.len() != offer.layers.len() {
        return Err(LineError::violation("it offers a layer twice"));
    }
    let offered = unused.clone();
    let (mut images, mut bytes) = (Vec::new(), 0);
    for image in &offer.images {
        let config_bytes = input.expect(Kind::Config)?;
        bytes += config_bytes.len();
        if bytes > CONFIGS {
            return Err(LineError::violation(format!("the configs have more than {CONFIGS} bytes")));
        }
        if ImageConfig::id(&config_bytes) != image.id {
            return Err(LineError::violation(format!("the config of image {} has another digest", image.id)));
        }
        let config = ImageConfig::parse(&config_bytes)
            .map_err(|error| LineError::violation(format!("the config of image {} cannot be read: {error}", image.id)))?;
        for diff_id in &config.rootfs.diff_ids {
            if !offered.contains(diff_id) {
                return Err(LineError::violation(format!("layer {diff_id} of image {} is not offered", image.id)));
            }
            unused.remove(diff_id);
        }
        if image.names.len() > NAMES {
            return Err(LineError::violation(format!("image {} has more than {NAMES} names", image.id)));
        }
        let mut references = Vec::new();
        for name in &image.names {
            let reference = Reference::parse(name).ok().filter(|reference| reference.tag().is_some() && reference.digest().is_none());
            references.push(reference.ok_or_else(|| LineError::violation(format!("\"{name}\" is no name with a tag")))?);
        }
        images.push(Announced { references, config_bytes, diff_ids: config.rootfs.diff_ids });
    }
    match unused.iter().next() {
        Some(layer) => Err(LineError::violation(format!("layer {layer} is of no image"))),
        None => Ok(images),
    }
}

/// An announcement of more than the disk holds ends before it fills the disk.
fn room_for(store: &Store, sizes: impl Iterator<Item = u64>) -> Result<(), LineError> {
    let needed = sizes.fold(0_u64, u64::saturating_add);
    let free = rustix::fs::statvfs(store.root()).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if needed > free { Err(LineError::Store(shipway_store::Error::NoSpace { needed: Some(needed) })) } else { Ok(()) }
}

/// Takes one layer in: what comes is appended to its beginning, and unpacked and hashed behind that.
fn take_layer<R: std::io::Read>(
    store: &Store,
    session: &Session<'_>,
    layer: &OfferedLayer,
    input: &mut FrameReader<R>,
    lease: &Lease,
) -> Result<UnpackedLayer, LineError> {
    let download = store.download(&layer.diff_id.0, layer.size)?;
    let request = UnpackRequest {
        expected: Some(layer.diff_id),
        origin: LayerOrigin::Loaded,
        created: crate::clock::now(),
        lower: Vec::new(),
        lease: Some(lease.clone()),
    };
    std::thread::scope(|scope| {
        let reader = download.reader();
        let unpacking = std::thread::Builder::new().name("image-line".to_owned());
        let unpacking = unpacking.spawn_scoped(scope, || store.unpack_layer(reader, &request)).map_err(LineError::Broken)?;
        let taken = take_bytes(session, layer, input, &download, || unpacking.is_finished());
        if taken.is_err() {
            download.give_up();
        }
        let unpacked = unpacking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (taken, unpacked) {
            (Err(error), _) => Err(error),
            (Ok(()), Ok(unpacked)) => {
                session.discard(layer, &download)?;
                Ok(unpacked)
            }
            (Ok(()), Err(error)) => {
                // Wrong bytes are no beginning of anything; for want of space they stay.
                if !matches!(error, shipway_store::Error::NoSpace { .. }) {
                    session.discard(layer, &download)?;
                }
                Err(error.into())
            }
        }
    })
}

/// Appends what comes until the layer's end, or until `unpacked` says that nobody reads it any more.
fn take_bytes<R: std::io::Read>(
    session: &Session<'_>,
    layer: &OfferedLayer,
    input: &mut FrameReader<R>,
    download: &Download,
    unpacked: impl Fn() -> bool,
) -> Result<(), LineError> {
    loop {
        let frame = input.next()?;
        let bytes = match frame.kind {
            Kind::Data => frame.body,
            Kind::Packed => unpack(&frame.body)?,
            Kind::End if download.received() == layer.size => return Ok(()),
            Kind::End => {
                return Err(LineError::violation(format!(
                    "layer {} ended after {} of {} bytes",
                    layer.diff_id,
                    download.received(),
                    layer.size
                )));
            }
            other => return Err(LineError::violation(format!("{other:?} came in the middle of a layer"))),
        };
        if bytes.len() as u64 > layer.size - download.received() {
            return Err(LineError::violation(format!("layer {} has more than the {} bytes announced", layer.diff_id, layer.size)));
        }
        session.turns.while_mine(session.number, &layer.diff_id, || Ok(download.append(&bytes)?))?;
        if unpacked() && download.received() < layer.size {
            // It ended early, so it failed; the caller has its error.
            return Ok(());
        }
    }
}

/// Makes the images and their names visible, all at once and durably.
fn publish(store: &Store, images: Vec<Announced>, here: &HashMap<DiffId, LayerId>) -> Result<Vec<Received>, LineError> {
    let mut new = Vec::new();
    for image in images {
        let layers: Option<Vec<LayerId>> = image.diff_ids.iter().map(|diff_id| here.get(diff_id).copied()).collect();
        let layers = layers.ok_or_else(|| LineError::violation("a layer did not come"))?;
        let stored = NewImage {
            config_bytes: image.config_bytes,
            layers,
            manifest: None,
            blobs: Vec::new(),
            parent: None,
            origin: LayerOrigin::Loaded,
        };
        new.push((stored, image.references));
    }
    let inside = store.clone();
    let received = store.publish(move |txn| {
        let mut received = Vec::new();
        for (image, references) in new {
            let id = inside.images().put(txn, image)?;
            for reference in &references {
                inside.images().tag(txn, reference, id)?;
            }
            received.push(Received { id, references });
        }
        Ok(received)
    })?;
    Ok(received)
}

impl std::fmt::Display for ReceiveFailure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(out)
    }
}

impl std::error::Error for ReceiveFailure {}

impl Classified for ReceiveFailure {
    fn kind(&self) -> shipway_model::ErrorKind {
        self.error.kind()
    }

    fn hint(&self) -> Option<String> {
        self.error.hint()
    }
}
