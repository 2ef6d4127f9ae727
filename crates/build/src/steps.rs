//! The step-by-step display: an image id after every instruction, told as soon as everything before it is done, in file order.
//!
//! What must stay true: ids are digests of real configs, computed in memory; a step is told once; nothing here costs anything for builds that show vertices.

use std::sync::{Mutex, PoisonError};

use shipway_model::Timestamp;
use shipway_store::Store;

use crate::export::image::assemble;
use crate::graph::VertexIndex;
use crate::lower::StepDraft;
use crate::lower::history::Work;
use crate::progress::ProgressEvent;
use crate::solver::{Output, Reporter};

/// Tells the image after each step.
pub(crate) struct StepTeller {
    steps: Vec<StepDraft>,
    epoch: Option<Timestamp>,
    state: Mutex<State>,
}

struct State {
    outputs: Vec<Option<Output>>,
    /// The first step not told yet.
    next: usize,
}

impl StepTeller {
    /// Tells about `steps` of a graph with `vertices` vertices.
    pub(crate) fn new(steps: Vec<StepDraft>, vertices: usize, epoch: Option<Timestamp>) -> Self {
        Self { steps, epoch, state: Mutex::new(State { outputs: vec![None; vertices], next: 0 }) }
    }

    /// Notes that a vertex is done and tells what can be told now.
    pub(crate) fn done(&self, vertex: Option<VertexIndex>, output: &Output, store: &Store, report: &Reporter) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vertex) = vertex {
            state.outputs[vertex.0] = Some(output.clone());
        }
        while let Some(step) = self.steps.get(state.next) {
            let Some(after) = &step.after else {
                state.next += 1;
                continue;
            };
            let layers = after.history.iter().filter_map(|entry| match entry.work {
                Work::Layer(vertex) => Some(&state.outputs[vertex.0]),
                _ => None,
            });
            let mut cached = true;
            for output in layers {
                match output {
                    Some(Output::Tree(tree)) => cached &= tree.cached,
                    _ => return,
                }
            }
            match assemble(store, after, &state.outputs, &[], self.epoch) {
                Ok(assembled) => report.send(ProgressEvent::StepImage { step: state.next + 1, image: assembled.id, cached }),
                // The build itself comes to the same conclusion and reports it.
                Err(error) => tracing::debug!(%error, "a step has no image id"),
            }
            state.next += 1;
        }
    }
}
