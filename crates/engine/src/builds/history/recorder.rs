//! Writing down one build as it goes: in memory until it does work, from then on to disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use shipway_build::{ProgressEvent, ProgressSink};
use shipway_dockerfile::SourceText;
use shipway_model::{BuildId, ImageId, Reference};

use super::disk::{self, Note};
use super::{BuildRecord, BuildStatus, Kept, Tail, UNCHANGED_KEPT};
use crate::{Engine, clock};

/// Events held in memory at most; a build that tells more goes to disk whatever it does.
const HELD_MOST: usize = 4096;

/// Writes down one build as it goes.
pub(in crate::builds) struct Recorder {
    engine: Engine,
    id: BuildId,
    /// Where to send what is to be written; none as long as nothing is. Locked before the history, never after.
    writer: Arc<Mutex<Option<mpsc::Sender<Note>>>>,
}

/// How a build ended.
pub(in crate::builds) struct Ending {
    pub(in crate::builds) status: BuildStatus,
    pub(in crate::builds) image: Option<ImageId>,
    pub(in crate::builds) cached_steps: usize,
    pub(in crate::builds) total_steps: usize,
    /// Everything was done already: nothing was run, stored or named.
    pub(in crate::builds) unchanged: bool,
}

impl Recorder {
    /// Begins to write down build `id`.
    pub(in crate::builds) fn start(engine: &Engine, id: BuildId, tags: &[Reference]) -> Self {
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
        engine.inner.builds.history.state().running.insert(id, Kept { record, events: Vec::new() });
        Self { engine: engine.clone(), id, writer: Arc::default() }
    }

    /// A sink that writes down every event and passes it on.
    pub(in crate::builds) fn sink(&self, onward: ProgressSink) -> ProgressSink {
        let (engine, id, writer) = (self.engine.clone(), self.id, Arc::clone(&self.writer));
        Arc::new(move |event: ProgressEvent| {
            note(&engine, id, &mut lock(&writer), event.clone());
            onward(event);
        })
    }

    /// A build without a name is known by its Dockerfile.
    pub(in crate::builds) fn dockerfile(&self, source: &SourceText) {
        if let Some(kept) = self.engine.inner.builds.history.state().running.get_mut(&self.id)
            && kept.record.name == "Dockerfile"
        {
            kept.record.name.clone_from(&source.name);
        }
    }

    /// Writes down how it ended.
    pub(in crate::builds) fn finish(&self, ending: Ending) {
        let history = &self.engine.inner.builds.history;
        let mut writer = lock(&self.writer);
        let whole = {
            let mut state = history.state();
            let Some(mut kept) = state.running.remove(&self.id) else { return };
            kept.record.status = ending.status;
            kept.record.image = ending.image;
            kept.record.cached_steps = ending.cached_steps;
            kept.record.total_steps = ending.total_steps;
            kept.record.finished = Some(clock::now());
            if writer.is_none() && ending.unchanged {
                if state.unchanged.len() >= UNCHANGED_KEPT {
                    state.unchanged.pop_front();
                }
                state.unchanged.push_back(kept);
                return;
            }
            kept
        };
        let tail = Tail::open(&history.tails);
        let notes = writer.take().unwrap_or_else(|| begin_writing(&self.engine, &whole));
        // The writing thread may have given up; the build is over all the same.
        let _ = notes.send(Note::Record(Box::new(whole.record), tail));
    }
}

impl Drop for Recorder {
    /// A build whose future was dropped was cancelled. Otherwise its end is known and nothing happens here.
    fn drop(&mut self) {
        self.finish(Ending { status: BuildStatus::Cancelled, image: None, cached_steps: 0, total_steps: 0, unchanged: false });
    }
}

/// Takes one event: to disk, or into memory as long as the build does nothing.
fn note(engine: &Engine, id: BuildId, writer: &mut Option<mpsc::Sender<Note>>, event: ProgressEvent) {
    if let Some(writer) = writer {
        // The writing thread may have given up; the build goes on.
        let _ = writer.send(Note::Event(Box::new(event)));
        return;
    }
    let mut state = engine.inner.builds.history.state();
    let Some(kept) = state.running.get_mut(&id) else { return };
    let is_work = matches!(event, ProgressEvent::Log { .. } | ProgressEvent::StepRunning { .. });
    kept.events.push(event);
    if is_work || kept.events.len() > HELD_MOST {
        *writer = Some(begin_writing(engine, kept));
        kept.events = Vec::new();
    }
}

/// Starts the writing thread and gives it all that was held back.
fn begin_writing(engine: &Engine, kept: &Kept) -> mpsc::Sender<Note> {
    let notes = disk::begin(engine.builds_dir().join(kept.record.id.to_string()), kept.record.clone());
    for event in &kept.events {
        let _ = notes.send(Note::Event(Box::new(event.clone())));
    }
    notes
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
