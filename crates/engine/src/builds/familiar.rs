//! Which instructions that only change settings a build has come by before: the classic display says "Using cache" of those and of no others.
//!
//! Such an instruction costs nothing and is worked out anew every time, so nothing of the cache knows it. dockerd keeps an image per
//! instruction and tells by it; we keep that image's id only. What must stay true: this is for showing. Losing it changes no result, so it
//! is written without a sync, and a build that came by nothing new writes nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use shipway_build::{Flavour, ProgressEvent, ProgressSink};
use shipway_model::ImageId;
use shipway_state::Table;
use shipway_store::Store;

use crate::{Result, blocking};

/// One row per image after an instruction.
const FAMILIAR: Table<ImageId, bool> = Table::new("build_steps");
/// Rows kept; beyond it all are forgotten and learnt again.
const MOST: usize = 20_000;

/// What one build comes by.
pub(super) struct Familiar {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    known: HashSet<ImageId>,
    new: Vec<ImageId>,
    /// By step: it only changes settings.
    plain: Vec<bool>,
}

impl Familiar {
    /// Reads what is known, when the display needs it.
    pub(super) async fn of(store: &Store, flavour: Flavour) -> Result<Self> {
        let mut state = State::default();
        if flavour == Flavour::Classic {
            let store = store.clone();
            let rows = blocking::files(move || Ok(store.db().read(|txn| txn.scan_lenient(&FAMILIAR))?.0)).await?;
            state.known = rows.into_iter().map(|(id, _)| id).collect();
        }
        Ok(Self { state: Arc::new(Mutex::new(state)) })
    }

    /// A sink that corrects what is said to be cached and passes everything on.
    pub(super) fn sink(&self, onward: ProgressSink) -> ProgressSink {
        let state = Arc::clone(&self.state);
        Arc::new(move |mut event: ProgressEvent| {
            match &mut event {
                ProgressEvent::Plan { steps } => {
                    state.lock().unwrap_or_else(PoisonError::into_inner).plain =
                        steps.iter().map(|step| step.vertex.is_none() && !step.display.starts_with("FROM ")).collect();
                }
                ProgressEvent::StepImage { step, image, cached } => {
                    state.lock().unwrap_or_else(PoisonError::into_inner).judge(*step, *image, cached)
                }
                _ => {}
            }
            onward(event);
        })
    }

    /// Keeps what was new.
    pub(super) fn keep(&self, store: &Store) {
        let (new, known) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut state.new), state.known.len())
        };
        if new.is_empty() {
            return;
        }
        let written = store.db().write_lazy(move |txn| -> Result<()> {
            if known > MOST {
                for (id, _) in txn.scan_lenient(&FAMILIAR)?.0 {
                    txn.remove(&FAMILIAR, &id)?;
                }
            }
            for id in &new {
                txn.put(&FAMILIAR, id, &true)?;
            }
            Ok(())
        });
        if let Err(error) = written {
            tracing::debug!(%error, "cannot remember the steps of a build; they will be shown as new once more");
        }
    }
}

impl State {
    fn judge(&mut self, step: usize, image: ImageId, cached: &mut bool) {
        let is_plain = step.checked_sub(1).and_then(|index| self.plain.get(index)).copied().unwrap_or(false);
        if !is_plain {
            return;
        }
        let is_new = self.known.insert(image);
        if is_new {
            self.new.push(image);
        }
        *cached = !is_new;
    }
}
