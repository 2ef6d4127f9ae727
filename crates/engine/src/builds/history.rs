//! What is remembered of builds: `build history ls` and `build history logs ID`.
//!
//! A build that did work is kept on disk, in one folder `builds/<id>` with the record and the events, one JSON object a line. A build that found
//! everything done already is kept in memory only: doing nothing must change nothing on the disk.
//! History is worth having, not worth waiting for: nothing is synced, and a build never fails because of it.

mod disk;
mod recorder;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shipway_build::ProgressEvent;
use shipway_model::{BuildId, ImageId, Timestamp};

use crate::{Engine, Error, Result};

pub(super) use recorder::{Ending, Recorder};

/// Builds that did nothing new are remembered so many; there is nothing in them that an older one does not tell.
const UNCHANGED_KEPT: usize = 50;
/// Longer than this nobody waits for a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a build ended, or that it did not yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildStatus {
    Running,
    Completed,
    Failed(String),
    Cancelled,
}

/// What is remembered of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    pub id: BuildId,
    /// The first name it was given, or the Dockerfile's.
    pub name: String,
    pub status: BuildStatus,
    pub started: Timestamp,
    pub finished: Option<Timestamp>,
    pub cached_steps: usize,
    pub total_steps: usize,
    pub image: Option<ImageId>,
}

/// The builds of this life of the engine that are not, or not wholly, on disk.
#[derive(Debug, Default)]
pub(crate) struct History {
    state: Mutex<State>,
    tails: Arc<Tails>,
}

#[derive(Debug, Default)]
struct State {
    /// Builds under way: what is known of them, and their events as long as none is on disk.
    running: HashMap<BuildId, Kept>,
    /// Builds that found everything done, the newest last.
    unchanged: VecDeque<Kept>,
}

/// A build in memory.
#[derive(Debug, Clone)]
struct Kept {
    record: BuildRecord,
    events: Vec<ProgressEvent>,
}

impl History {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when every build that was answered is written down, or after a while.
    pub(crate) fn wait(&self) {
        self.tails.wait();
    }
}

/// Ends of builds that are being written down: whoever reads the history waits for them, so that a build that was answered is in it.
#[derive(Debug, Default)]
struct Tails {
    open: Mutex<usize>,
    closed: Condvar,
}

/// One end being written down.
struct Tail(Arc<Tails>);

impl Tail {
    fn open(tails: &Arc<Tails>) -> Self {
        *tails.open.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(Arc::clone(tails))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.closed.notify_all();
    }
}

impl Tails {
    fn wait(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.closed.wait_timeout_while(open, PATIENCE, |open| *open > 0));
    }
}

impl Engine {
    fn builds_dir(&self) -> PathBuf {
        self.inner.config.data_root.join("builds")
    }

    /// Past and running builds, the newest first.
    pub fn build_history(&self) -> Result<Vec<BuildRecord>> {
        let history = &self.inner.builds.history;
        history.wait();
        let mut records: HashMap<BuildId, BuildRecord> =
            disk::records(&self.builds_dir())?.into_iter().map(|record| (record.id, record)).collect();
        let state = history.state();
        for (id, record) in &mut records {
            if record.status == BuildStatus::Running && !state.running.contains_key(id) {
                record.status = BuildStatus::Failed("the daemon ended before the build did".to_owned());
            }
        }
        records.extend(state.running.values().chain(&state.unchanged).map(|kept| (kept.record.id, kept.record.clone())));
        drop(state);
        let mut records: Vec<BuildRecord> = records.into_values().collect();
        records.sort_by_key(|record| std::cmp::Reverse((record.started, record.id)));
        Ok(records)
    }

    /// The events of the build whose id is or starts with `id`.
    pub fn build_events(&self, id: &str) -> Result<Vec<ProgressEvent>> {
        let missing = || Error::NotFound { noun: "build", name: id.to_owned() };
        let mut matching = self.build_history()?.into_iter().filter(|record| !id.is_empty() && record.id.to_string().starts_with(id));
        let record = matching.next().ok_or_else(missing)?;
        if matching.next().is_some() {
            return Err(Error::AmbiguousPrefix { prefix: id.to_owned() });
        }
        let in_memory = {
            let state = self.inner.builds.history.state();
            let kept = state.running.get(&record.id).or_else(|| state.unchanged.iter().find(|kept| kept.record.id == record.id));
            kept.map(|kept| kept.events.clone()).filter(|events| !events.is_empty())
        };
        match in_memory {
            Some(events) => Ok(events),
            None => disk::events(&self.builds_dir().join(record.id.to_string())),
        }
    }
}
