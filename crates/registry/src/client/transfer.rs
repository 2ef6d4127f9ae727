//! What a transfer tells of itself, layer by layer; and turns, so that nobody fetches what somebody else is fetching.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shipway_model::Digest;
use tokio::sync::OwnedMutexGuard;

/// Takes what happens as it happens. Never blocks.
pub type TransferSink = Arc<dyn Fn(TransferEvent) + Send + Sync>;

/// Something happened to a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferEvent {
    /// The layer: the stored digest when it comes, the diff id when it goes.
    pub layer: Digest,
    pub state: TransferState,
}

/// How far a layer is. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferState {
    /// It will be asked for.
    Announced,
    /// Others come first.
    Waiting,
    Downloading {
        current: u64,
        total: u64,
    },
    /// Tried again after this long.
    Retrying {
        pause: Duration,
    },
    Downloaded,
    /// It has come whole and is still being unpacked.
    Extracting {
        current: u64,
        total: u64,
    },
    /// It is here.
    Pulled,
    /// It was here before.
    Exists,
    /// It is being looked for at the other end.
    Preparing,
    Pushing {
        current: u64,
        total: u64,
    },
    Pushed,
    /// The other end has it.
    ExistsThere,
    /// Its type says that the other end does not get it; its manifest says where it is.
    Skipped,
    /// The other end took it from another repository of its own.
    Mounted {
        from: String,
    },
}

/// One turn for each blob that somebody is fetching.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits until nobody else fetches `digest`.
    pub(super) async fn take(&self, digest: Digest) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(digest).or_default())
        };
        turn.lock_owned().await
    }
}
