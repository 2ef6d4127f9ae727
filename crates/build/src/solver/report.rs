//! Telling what happens to a vertex, so that every start has exactly one end, also when the work is dropped half-way.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use shipway_model::ContainerId;

use crate::clock;
use crate::progress::{LogStream, ProgressEvent, ProgressSink, VertexId};

/// Sends events of one build.
#[derive(Clone)]
pub(crate) struct Reporter {
    sink: ProgressSink,
    state: std::sync::Arc<State>,
}

#[derive(Default)]
struct State {
    cached: AtomicUsize,
    /// Numbers of the steps whose work a vertex does, by vertex id.
    steps: Mutex<Vec<(VertexId, usize)>>,
}

impl Reporter {
    pub(crate) fn new(sink: ProgressSink) -> Self {
        Self { sink, state: std::sync::Arc::default() }
    }

    /// Sends one event.
    pub(crate) fn send(&self, event: ProgressEvent) {
        (self.sink)(event);
    }

    /// Remembers which step a vertex stands for.
    pub(crate) fn number_steps(&self, steps: Vec<(VertexId, usize)>) {
        *self.steps() = steps;
    }

    /// How many vertices were found in the cache.
    pub(crate) fn cached(&self) -> usize {
        self.state.cached.load(Ordering::Relaxed)
    }

    /// Says that a vertex' work, or the look for its result, begins.
    pub(crate) fn start(&self, id: VertexId) -> OpenVertex {
        self.send(ProgressEvent::Started { id, at: clock::now() });
        OpenVertex { reporter: self.clone(), id, is_open: true }
    }

    /// Says that the step of this vertex starts a process of its own.
    pub(crate) fn running(&self, id: VertexId) {
        let step = self.steps().iter().find(|(vertex, _)| *vertex == id).map(|(_, step)| *step);
        if let Some(step) = step {
            self.send(ProgressEvent::StepRunning { step, container: ContainerId::from_random(clock::random()) });
        }
    }

    /// Says why a result was, or was not, known.
    pub(crate) fn explained(&self, id: VertexId, why: String) {
        self.send(ProgressEvent::Explained { id, why });
    }

    /// Passes output on.
    pub(crate) fn log(&self, id: VertexId, stream: LogStream, bytes: &Bytes) {
        self.send(ProgressEvent::Log { id, stream, bytes: bytes.to_vec(), at: clock::now() });
    }

    fn steps(&self) -> std::sync::MutexGuard<'_, Vec<(VertexId, usize)>> {
        self.state.steps.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A vertex that was started and not completed yet. Dropping it completes it as cancelled.
pub(crate) struct OpenVertex {
    reporter: Reporter,
    id: VertexId,
    is_open: bool,
}

impl OpenVertex {
    /// A part of the work, done at once.
    pub(crate) fn status(&self, status: impl Into<String>, current: u64) {
        let now = clock::now();
        let status = ProgressEvent::Status { id: self.id, status: status.into(), current, total: None, started: now, completed: Some(now) };
        self.reporter.send(status);
    }

    /// The vertex is done.
    pub(crate) fn done(mut self, cached: bool) {
        self.is_open = false;
        if cached {
            self.reporter.state.cached.fetch_add(1, Ordering::Relaxed);
            self.reporter.send(ProgressEvent::Cached { id: self.id });
        }
        self.complete(cached, None);
    }

    /// The vertex failed.
    pub(crate) fn failed(mut self, error: &str) {
        self.is_open = false;
        self.complete(false, Some(error.to_owned()));
    }

    fn complete(&self, cached: bool, error: Option<String>) {
        self.reporter.send(ProgressEvent::Completed { id: self.id, at: clock::now(), cached, error });
    }
}

impl Drop for OpenVertex {
    fn drop(&mut self) {
        if self.is_open {
            self.complete(false, Some("context canceled".to_owned()));
        }
    }
}
