//! The kept log of every build: one folder `builds/<id>` with the record and the events, one JSON object a line.
//!
//! History is worth having, not worth waiting for: a named thread writes it, nothing is synced, and a build never fails because of it.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shipway_build::{ProgressEvent, ProgressSink};
use shipway_dockerfile::SourceText;
use shipway_model::{BuildId, ImageId, Reference, Timestamp};

use crate::{Engine, Error, Result, clock};

/// Builds remembered; older ones are forgotten.
const KEPT: usize = 200;

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

/// Work for the writing thread.
enum Note {
    Event(Box<ProgressEvent>),
    /// How it ended; the tail is dropped when that is written.
    Record(Box<BuildRecord>, Tail),
}

/// Ends of builds that are being written down: whoever reads the history waits for them, so that a build that was answered is in it.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    open: Mutex<usize>,
    closed: Condvar,
}

/// Longer than this nobody waits for a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

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

/// Writes down one build as it goes.
pub(super) struct Recorder {
    record: Mutex<BuildRecord>,
    notes: mpsc::Sender<Note>,
    tails: Arc<Tails>,
}

impl Recorder {
    /// Begins to write down build `id`.
    pub(super) fn start(engine: &Engine, id: BuildId, tags: &[Reference]) -> Self {
        let name = tags.first().map_or_else(|| "Dockerfile".to_owned(), Reference::familiar);
        let record = BuildRecord {
            id,
            name,
            status: BuildStatus::Running,
            started: clock::now(),
            finished: None,
            cached_steps: 0,
            total_steps: 0,
            image: None,
        };
        let (notes, receiver) = mpsc::channel();
        let folder = engine.builds_dir().join(id.to_string());
        let first = record.clone();
        let spawned = std::thread::Builder::new().name("build-history".to_owned()).spawn(move || {
            if let Err(error) = write_down(&folder, &first, &receiver) {
                tracing::warn!(build = %first.id, %error, "cannot keep the log of a build");
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "cannot keep the log of a build");
        }
        Self { record: Mutex::new(record), notes, tails: Arc::clone(&engine.inner.builds.tails) }
    }

    /// A sink that writes down every event and passes it on.
    pub(super) fn sink(&self, onward: ProgressSink) -> ProgressSink {
        let notes = self.notes.clone();
        Arc::new(move |event: ProgressEvent| {
            // The writing thread may have given up; the build goes on.
            let _ = notes.send(Note::Event(Box::new(event.clone())));
            onward(event);
        })
    }

    /// A build without a name is known by its Dockerfile.
    pub(super) fn dockerfile(&self, source: &SourceText) {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        if record.name == "Dockerfile" {
            record.name.clone_from(&source.name);
        }
    }

    /// Writes down how it ended.
    pub(super) fn finish(&self, status: BuildStatus, image: Option<ImageId>, cached_steps: usize, total_steps: usize) {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.status = status;
        record.image = image;
        record.cached_steps = cached_steps;
        record.total_steps = total_steps;
        record.finished = Some(clock::now());
        let _ = self.notes.send(Note::Record(Box::new(record.clone()), Tail::open(&self.tails)));
    }
}

fn write_down(folder: &Path, first: &BuildRecord, notes: &mpsc::Receiver<Note>) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    write_record(folder, first)?;
    let mut events = BufWriter::new(File::create(folder.join("events.jsonl"))?);
    while let Ok(note) = notes.recv() {
        match note {
            Note::Event(event) => {
                serde_json::to_writer(&mut events, &event)?;
                events.write_all(b"\n")?;
            }
            Note::Record(record, tail) => {
                events.flush()?;
                write_record(folder, &record)?;
                drop(tail);
            }
        }
    }
    events.flush()?;
    if let Some(builds) = folder.parent() {
        forget_old(builds)?;
    }
    Ok(())
}

fn write_record(folder: &Path, record: &BuildRecord) -> std::io::Result<()> {
    std::fs::write(folder.join("record.json"), serde_json::to_vec(record)?)
}

/// Deletes the oldest builds beyond what is kept.
fn forget_old(builds: &Path) -> std::io::Result<()> {
    let mut folders = Vec::new();
    let entries = std::fs::read_dir(builds)?.collect::<std::io::Result<Vec<_>>>()?;
    if entries.len() <= KEPT {
        return Ok(());
    }
    for entry in entries {
        folders.push((entry.metadata()?.modified()?, entry.path()));
    }
    folders.sort();
    let surplus = folders.len().saturating_sub(KEPT);
    for (_, folder) in &folders[..surplus] {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

impl Engine {
    fn builds_dir(&self) -> PathBuf {
        self.inner.config.data_root.join("builds")
    }

    /// Past and running builds, the newest first.
    pub fn build_history(&self) -> Result<Vec<BuildRecord>> {
        self.inner.builds.tails.wait();
        let dir = self.builds_dir();
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::Io { doing: format!("read {}", dir.display()), source }),
        };
        let read = |path: PathBuf| serde_json::from_slice::<BuildRecord>(&std::fs::read(path.join("record.json")).ok()?).ok();
        let mut records: Vec<BuildRecord> = entries.filter_map(|entry| read(entry.ok()?.path())).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.started));
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
        let path = self.builds_dir().join(record.id.to_string()).join("events.jsonl");
        let file = File::open(&path).map_err(Error::io(format!("open {}", path.display())))?;
        // A line torn by a crash ends the log.
        let lines = BufReader::new(file).lines().map_while(std::result::Result::ok);
        Ok(lines.map_while(|line| serde_json::from_str(&line).ok()).collect())
    }
}
