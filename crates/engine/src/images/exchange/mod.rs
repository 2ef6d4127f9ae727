//! Images from one machine to another without a registry: only the layers that the other side lacks cross the line.
//!
//! The line is any two streams of bytes; the command line makes it with ssh. One engine offers, the other answers what it lacks, layers go as their
//! exact tars from the byte on that is missing, and an image appears on the other side when everything of it is checked and durable.
//! [`frame`] has the frames, [`send`] and [`receive`] the two sides.

mod frame;
mod receive;
mod send;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use shipway_model::{Classified as _, DiffId, ImageId};

use crate::Error;
use crate::blocking::{ChannelReader, ChannelWriter};
use frame::LineError;

pub use receive::{ReceiveFailure, Received};
pub use send::{ImagesToSend, SendMessage, SendSink, Sent};

/// The two streams that lead to the other side.
#[derive(Debug)]
pub struct Line {
    pub input: ChannelReader,
    pub output: ChannelWriter,
}

/// Images in one exchange at most.
const IMAGES: usize = 1000;
/// Layers in one exchange at most.
const LAYERS: usize = 10_000;
/// Names of one image at most.
const NAMES: usize = 1000;

/// What the sender has.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    images: Vec<OfferedImage>,
    /// The layers of all of them, each once, those at the bottom first.
    layers: Vec<OfferedLayer>,
}

/// An image of the offer; its config follows the offer in a frame of its own.
#[derive(Debug, Serialize, Deserialize)]
struct OfferedImage {
    id: ImageId,
    /// Full references that are to mean it.
    names: Vec<String>,
}

/// A layer of the offer.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OfferedLayer {
    diff_id: DiffId,
    /// Bytes of its tar.
    size: u64,
}

/// What the receiver lacks.
#[derive(Debug, Serialize, Deserialize)]
struct Want {
    layers: Vec<WantedLayer>,
}

/// A layer that is lacking, or that begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WantedLayer {
    diff_id: DiffId,
    /// The bytes before this one are there already.
    from: u64,
}

/// Which session brings which layer here. A later session takes a layer over: its line lives, that of the former may have been dead for long.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    newest: u64,
    bringing: HashMap<DiffId, u64>,
}

impl Exchange {
    /// Takes these layers over; the number of the session.
    fn begin(&self, layers: impl Iterator<Item = DiffId>) -> u64 {
        let mut turns = self.lock();
        turns.newest += 1;
        let session = turns.newest;
        turns.bringing.extend(layers.map(|layer| (layer, session)));
        session
    }

    /// Does `work` on what came of a layer, unless another session took it over.
    fn while_mine<T>(&self, session: u64, layer: &DiffId, work: impl FnOnce() -> Result<T, LineError>) -> Result<T, LineError> {
        let turns = self.lock();
        if turns.bringing.get(layer) == Some(&session) {
            return work();
        }
        Err(LineError::violation("another exchange brings the same layer here and goes on with it"))
    }

    fn end(&self, session: u64) {
        self.lock().bringing.retain(|_, owner| *owner != session);
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<LineError> for Error {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Store(error) => Self::from(error),
            other => Self::Remote { reason: other.to_string(), kind: other.kind(), hint: other.hint(), unreached: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_session_takes_a_layer_over() {
        let (exchange, layer) = (Exchange::default(), DiffId(shipway_model::Digest::sha256_of(b"layer")));
        let first = exchange.begin(std::iter::once(layer));
        assert!(exchange.while_mine(first, &layer, || Ok(())).is_ok());
        let second = exchange.begin(std::iter::once(layer));
        assert!(exchange.while_mine(first, &layer, || Ok(())).is_err());
        exchange.end(first);
        assert!(exchange.while_mine(second, &layer, || Ok(())).is_ok());
        exchange.end(second);
        assert!(exchange.while_mine(second, &layer, || Ok(())).is_err());
    }
}
