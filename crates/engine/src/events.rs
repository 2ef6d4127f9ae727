//! What happened, for anyone: a bounded history and a broadcast.
//!
//! Publishing never blocks and never fails. A subscriber that falls behind is told how many events it lost.
//! Events carry names and ids, never environment or credentials (security.md section 6).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use shipway_model::Timestamp;
use tokio::sync::broadcast;

use crate::clock;

/// How many past events `since` can ask for, as dockerd keeps.
const HISTORY: usize = 256;
/// How many events a slow subscriber may lag behind.
const BACKLOG: usize = 1024;

/// The kind of thing an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Container,
    Image,
    Volume,
    Network,
    Daemon,
    Builder,
}

impl Subject {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Daemon => "daemon",
            Self::Builder => "builder",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub at: Timestamp,
    pub subject: Subject,
    /// Docker's word for what happened: `create`, `start`, `die`, `exec_create: ls`...
    pub action: String,
    /// Full id of the thing.
    pub id: String,
    /// What Docker tells about it: name, image, labels, exitCode...
    pub attributes: BTreeMap<String, String>,
}

/// The engine's event bus.
#[derive(Debug)]
pub struct Events {
    history: Mutex<VecDeque<Arc<Event>>>,
    sender: broadcast::Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { history: Mutex::default(), sender: broadcast::Sender::new(BACKLOG) }
    }
}

impl Events {
    /// Publishes that `action` happened to the `subject` with `id`.
    pub fn publish(&self, subject: Subject, action: impl Into<String>, id: impl Into<String>, attributes: BTreeMap<String, String>) {
        let event = Arc::new(Event { at: clock::now(), subject, action: action.into(), id: id.into(), attributes });
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(Arc::clone(&event));
        // An error only says that nobody listens.
        let _ = self.sender.send(event);
    }

    /// Publishes that a prune of `subject` freed `bytes`; such an event is about no single thing.
    pub fn publish_prune(&self, subject: Subject, bytes: u64) {
        self.publish(subject, "prune", "", BTreeMap::from([("reclaimed".to_owned(), bytes.to_string())]));
    }

    /// The kept events since `since` and everything after, without a gap between the two.
    pub fn subscribe(&self, since: Option<Timestamp>) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let past = match since {
            Some(since) => history.iter().filter(|event| event.at >= since).cloned().collect(),
            None => Vec::new(),
        };
        (past, self.sender.subscribe())
    }
}

impl Events {
    /// How many subscribers listen now.
    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }
}
