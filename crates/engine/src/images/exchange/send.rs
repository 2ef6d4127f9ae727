//! The side that has the images.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use shipway_model::{DiffId, ImageId, LayerId};
use shipway_store::{Lease, SaveItem, Store};

use super::frame::{FrameReader, FrameWriter, Kind, LineError, PIECE, parse};
use super::{IMAGES, LAYERS, Line, NAMES, Offer, OfferedImage, OfferedLayer, Want};
use crate::{Engine, Error, Subject};

/// Time between two words about progress.
const TELL: Duration = Duration::from_millis(100);

/// What sending tells while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendMessage {
    /// The other side has this layer.
    There { layer: DiffId },
    /// So far is this layer; `current` counts what the other side had of it.
    Sending { layer: DiffId, current: u64, total: u64 },
    /// All of this layer is sent.
    LayerSent { layer: DiffId },
}

/// Takes the messages of a sending. Never blocks.
pub type SendSink = Arc<dyn Fn(SendMessage) + Send + Sync>;

/// What became of a sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The images, by their familiar names or ids.
    pub images: Vec<String>,
    /// Their layers, and how many of those the other side lacked.
    pub layers: usize,
    pub layers_sent: usize,
    /// Bytes that went over the line.
    pub bytes: u64,
}

/// Images that are kept until they are sent.
pub struct ImagesToSend {
    engine: Engine,
    offer: Offer,
    shown: Vec<String>,
    configs: Vec<Vec<u8>>,
    layers: HashMap<DiffId, LayerId>,
    _lease: Lease,
}

impl Engine {
    /// Finds the images that `names` mean, to be sent.
    ///
    /// # Errors
    /// `NoSuchImage`; `Invalid` for more than one exchange carries.
    pub fn images_to_send(&self, names: &[String]) -> crate::Result<ImagesToSend> {
        let store = &self.inner.store;
        let lease = store.lease();
        let mut wanted: BTreeMap<ImageId, Vec<String>> = BTreeMap::new();
        let mut shown = Vec::new();
        for SaveItem { id, mut references } in self.items_named(names)? {
            references.retain(|reference| reference.tag().is_some() && reference.digest().is_none());
            shown.push(references.first().map_or_else(|| id.to_string(), |reference| reference.familiar()));
            wanted.entry(id).or_default().extend(references.iter().map(|reference| reference.canonical()));
        }
        let (mut images, mut configs, mut offered, mut layers) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
        for (id, mut names) in wanted {
            let gone = || Error::NoSuchImage { name: id.to_string(), nearest: Vec::new() };
            let image = store.images().get(&id).filter(|_| lease.add_image(&id)).ok_or_else(gone)?;
            for layer in &image.layers {
                let layer = store.layer(layer).ok_or_else(|| Error::internal(format!("layer {layer} of an image is not here")))?;
                if layers.insert(layer.diff_id, layer.id).is_none() {
                    offered.push(OfferedLayer { diff_id: layer.diff_id, size: layer.tar_size });
                }
            }
            names.sort();
            names.dedup();
            if names.len() > NAMES {
                return Err(Error::invalid(format!("an image has more than {NAMES} names")));
            }
            configs.push(store.images().config_bytes(&id)?);
            images.push(OfferedImage { id, names });
        }
        if images.len() > IMAGES || offered.len() > LAYERS {
            return Err(Error::invalid(format!("more than {IMAGES} images or {LAYERS} layers cannot be sent at once")));
        }
        let offer = Offer { images, layers: offered };
        Ok(ImagesToSend { engine: self.clone(), offer, shown, configs, layers, _lease: lease })
    }
}

impl ImagesToSend {
    /// Sends what the other side of `line` lacks, and waits until it has all of it durably.
    ///
    /// # Errors
    /// `Remote` when the line breaks, or when the other side refuses, with its words.
    ///
    /// # Cost
    /// Each layer that is lacking is read, hashed and compressed once.
    pub async fn send(self, line: Line, sink: SendSink) -> crate::Result<Sent> {
        let engine = self.engine.clone();
        let ids: Vec<String> = self.offer.images.iter().map(|image| image.id.to_string()).collect();
        let task = tokio::task::spawn_blocking(move || self.converse(line, &sink));
        let sent = task.await.map_err(|error| Error::internal(format!("sending ended abnormally: {error}")))??;
        for id in ids {
            engine.inner.events.publish(Subject::Image, "send", id.clone(), BTreeMap::from([("name".to_owned(), id)]));
        }
        Ok(sent)
    }

    fn converse(self, line: Line, sink: &SendSink) -> Result<Sent, LineError> {
        let mut out = FrameWriter::greet(line.output)?;
        let sent = self.converse_with(FrameReader::greeted(line.input)?, &mut out, sink);
        if let Err(error @ (LineError::Store(_) | LineError::Violation { .. })) = &sent {
            // A layer that cannot be read is news for the other side too; a broken line carries none.
            out.refuse(error);
        }
        sent
    }

    fn converse_with<R: io::Read + Send + 'static, W: Write>(
        &self,
        mut input: FrameReader<R>,
        out: &mut FrameWriter<W>,
        sink: &SendSink,
    ) -> Result<Sent, LineError> {
        out.json(Kind::Offer, &self.offer)?;
        for config in &self.configs {
            out.frame(Kind::Config, config)?;
        }
        out.flush()?;
        let want: Want = parse(&input.expect(Kind::Want)?)?;
        self.check(&want)?;
        let wanted: HashSet<DiffId> = want.layers.iter().map(|layer| layer.diff_id).collect();
        for layer in self.offer.layers.iter().filter(|layer| !wanted.contains(&layer.diff_id)) {
            sink(SendMessage::There { layer: layer.diff_id });
        }
        // One more frame comes: that everything is stored, or why not. It may come in the middle of a layer.
        let (sender, answer) = channel();
        let listener = move || drop(sender.send(input.next()));
        std::thread::Builder::new().name("image-line".to_owned()).spawn(listener).map_err(LineError::Broken)?;
        for layer in &want.layers {
            self.send_layer(&self.engine.inner.store, layer, out, &answer, sink)?;
        }
        out.flush()?;
        match answer.recv() {
            Ok(Ok(frame)) if frame.kind == Kind::Stored => {}
            Ok(Ok(frame)) => return Err(LineError::violation(format!("{:?} came at the end", frame.kind))),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(LineError::violation("nobody listens any more")),
        }
        Ok(Sent { images: self.shown.clone(), layers: self.offer.layers.len(), layers_sent: want.layers.len(), bytes: out.written() })
    }

    /// Only what was offered can be wanted, once.
    fn check(&self, want: &Want) -> Result<(), LineError> {
        let mut left: HashMap<DiffId, u64> = self.offer.layers.iter().map(|layer| (layer.diff_id, layer.size)).collect();
        for layer in &want.layers {
            match left.remove(&layer.diff_id) {
                Some(size) if layer.from <= size => {}
                _ => return Err(LineError::violation(format!("it wants the layer {} from byte {}", layer.diff_id, layer.from))),
            }
        }
        Ok(())
    }

    fn send_layer<W: Write>(
        &self,
        store: &Store,
        wanted: &super::WantedLayer,
        out: &mut FrameWriter<W>,
        answer: &Receiver<Result<super::frame::Frame, LineError>>,
        sink: &SendSink,
    ) -> Result<(), LineError> {
        let layer = wanted.diff_id;
        let id = self.layers.get(&layer).ok_or_else(|| LineError::violation(format!("layer {layer} was not offered")))?;
        let total = self.offer.layers.iter().find(|offered| offered.diff_id == layer).map_or(0, |offered| offered.size);
        out.json(Kind::Layer, wanted)?;
        let mut pieces = Pieces {
            out,
            answer,
            sink,
            layer,
            total,
            skip: wanted.from,
            sent: wanted.from,
            held: Vec::new(),
            told: Instant::now(),
            failed: None,
        };
        let written = store.write_layer(id, &mut pieces);
        if written.is_ok() {
            pieces.hand_over().or_else(|error| pieces.fail(error)).ok();
        }
        if let Some(error) = pieces.failed {
            return Err(error);
        }
        written?;
        out.frame(Kind::End, b"")?;
        sink(SendMessage::LayerSent { layer });
        Ok(())
    }
}

/// The tar of a layer on its way into frames.
struct Pieces<'a, W> {
    out: &'a mut FrameWriter<W>,
    answer: &'a Receiver<Result<super::frame::Frame, LineError>>,
    sink: &'a SendSink,
    layer: DiffId,
    total: u64,
    /// Bytes at the beginning that the other side has.
    skip: u64,
    sent: u64,
    held: Vec<u8>,
    told: Instant,
    /// Why the line cannot be written to any more; what the store says then is only about that.
    failed: Option<LineError>,
}

impl<W: Write> Pieces<'_, W> {
    fn hand_over(&mut self) -> Result<(), LineError> {
        match self.answer.try_recv() {
            Ok(Err(error)) => return Err(error),
            Ok(Ok(frame)) => return Err(LineError::violation(format!("{:?} came in the middle of a layer", frame.kind))),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        if self.held.is_empty() {
            return Ok(());
        }
        self.out.piece(&self.held)?;
        self.sent += self.held.len() as u64;
        self.held.clear();
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            (self.sink)(SendMessage::Sending { layer: self.layer, current: self.sent, total: self.total });
        }
        Ok(())
    }

    /// Notes the failure. When the line broke, the other side may have said why just before.
    fn fail(&mut self, error: LineError) -> io::Result<()> {
        let said = match &error {
            LineError::Broken(_) => self.answer.recv_timeout(Duration::from_secs(2)).ok().and_then(Result::err),
            _ => None,
        };
        self.failed = Some(match said {
            Some(said @ LineError::Refused { .. }) => said,
            _ => error,
        });
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

impl<W: Write> Write for Pieces<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.skip > 0 {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skipped as u64;
            return Ok(skipped);
        }
        let taken = bytes.len().min(PIECE - self.held.len());
        self.held.extend_from_slice(&bytes[..taken]);
        if self.held.len() == PIECE
            && let Err(error) = self.hand_over()
        {
            self.fail(error)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
