//! Assembly of the image config: settings, layers, history with times. The image id is the digest of the config's bytes, so it is known at once and no
//! layer is packed or copied (decision D3).
//!
//! What must stay true: one history entry that is not empty for every layer, in order; an unchanged rebuild gives the same bytes, because the time of an
//! entry is the time its layer was made, however long ago; nothing of the base image's history changes.

use shipway_model::{DiffId, History, ImageConfig, ImageId, LayerId, Timestamp};
use shipway_store::Store;

use crate::errors::BuildError;
use crate::lower::StageState;
use crate::lower::history::Work;
use crate::solver::Output;

/// An image config and the layers it speaks of.
pub(crate) struct Assembled {
    pub(crate) id: ImageId,
    pub(crate) bytes: Vec<u8>,
    pub(crate) layers: Vec<LayerId>,
}

/// Puts the config of a stage together.
///
/// # Errors
/// `Internal` when a step of the stage has no layer.
pub(crate) fn assemble(
    store: &Store,
    stage: &StageState,
    outputs: &[Option<Output>],
    labels: &[(String, String)],
    epoch: Option<Timestamp>,
) -> Result<Assembled, BuildError> {
    let mut config = stage.full_config();
    config.config.labels.extend(labels.iter().cloned());
    let mut layers: Vec<LayerId> = stage.base.as_ref().map(|base| base.layers.clone()).unwrap_or_default();
    let mut diff_ids: Vec<DiffId> = stage.base.as_ref().map(|base| base.config.rootfs.diff_ids.clone()).unwrap_or_default();
    let base_layers = layers.len();
    let mut history: Vec<History> = Vec::with_capacity(stage.history.len());
    let mut own_start = 0;
    for entry in &stage.history {
        let mut told = entry.to_history();
        match &entry.work {
            Work::Base(_) => own_start = history.len() + 1,
            Work::Config => {}
            Work::Layer(vertex) => {
                let Some(Output::Tree(output)) = outputs.get(vertex.0).and_then(Option::as_ref) else {
                    return Err(BuildError::internal(format!("step {} of the image was not solved", vertex.0)));
                };
                let made = output.made.as_ref().ok_or_else(|| BuildError::internal("a step of the image made no layer"))?;
                let layer = store.layer(&made.layer).ok_or_else(|| BuildError::internal(format!("layer {} is gone", made.layer)))?;
                told.created = Some(layer.created);
                layers.push(layer.id);
                diff_ids.push(layer.diff_id);
            }
        }
        history.push(told);
    }
    complete_base_history(&mut history, &mut own_start, base_layers, &config);
    fill_times(&mut history);
    if let Some(epoch) = epoch {
        for entry in &mut history[own_start..] {
            entry.created = entry.created.map_or(Some(epoch), |created| Some(created.min(epoch)));
        }
    }
    config.created = epoch.or_else(|| history.iter().rev().find_map(|entry| entry.created));
    config.rootfs.diff_ids = diff_ids;
    config.history = history;
    let bytes = config.to_bytes();
    Ok(Assembled { id: ImageConfig::id(&bytes), bytes, layers })
}

/// Gives every layer of the base an entry: some tools write images with a short history or none.
fn complete_base_history(history: &mut Vec<History>, own_start: &mut usize, base_layers: usize, config: &ImageConfig) {
    let told = history[..*own_start].iter().filter(|entry| !entry.empty_layer).count();
    for _ in told..base_layers {
        let entry = History {
            created: config.created,
            created_by: "layer of the base image".to_owned(),
            comment: "buildkit.exporter.image.v0".to_owned(),
            ..History::default()
        };
        history.insert(*own_start, entry);
        *own_start += 1;
    }
    // More entries than layers would shift every later entry to a wrong layer: the surplus ones are told as empty.
    for entry in history[..*own_start].iter_mut().rev().filter(|entry| !entry.empty_layer).take(told.saturating_sub(base_layers)) {
        entry.empty_layer = true;
    }
}

/// Entries without a time take that of the first layer made in this build; without one, that of the entry before.
fn fill_times(history: &mut [History]) {
    let first_gap = history.iter().position(|entry| entry.created.is_none());
    let Some(first_gap) = first_gap else { return };
    let first_new = history[first_gap..].iter().find_map(|entry| entry.created);
    let mut current = first_new.or_else(|| history[..first_gap].iter().rev().find_map(|entry| entry.created));
    for entry in history[first_gap..].iter_mut() {
        match entry.created {
            Some(created) => current = Some(created),
            None => entry.created = current,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: Option<i64>, empty: bool) -> History {
        History { created: seconds.map(|seconds| Timestamp::from_unix(seconds, 0)), empty_layer: empty, ..History::default() }
    }

    fn check(times: &[Option<i64>], expected: &[Option<i64>]) {
        let mut history: Vec<History> = times.iter().map(|time| at(*time, true)).collect();
        fill_times(&mut history);
        let got: Vec<Option<i64>> = history.iter().map(|entry| entry.created.map(|time| time.nanoseconds() / 1_000_000_000)).collect();
        assert_eq!(got, expected, "{times:?}");
    }

    #[test]
    fn empty_entries_take_the_time_of_the_first_new_layer_or_of_the_base() {
        check(&[Some(1), None, Some(5), None, Some(7)], &[Some(1), Some(5), Some(5), Some(5), Some(7)]);
        check(&[Some(1), Some(2), None, None], &[Some(1), Some(2), Some(2), Some(2)]);
        check(&[None, None], &[None, None]);
        check(&[None, Some(3)], &[Some(3), Some(3)]);
    }

    #[test]
    fn every_base_layer_has_an_entry() {
        let config = ImageConfig::default();
        for (entries, layers, expected) in [(0, 2, 2), (1, 2, 2), (2, 2, 2), (3, 2, 3)] {
            let mut history: Vec<History> = (0..entries).map(|_| at(Some(1), false)).collect();
            let mut own_start = entries;
            history.push(at(None, true));
            complete_base_history(&mut history, &mut own_start, layers, &config);
            assert_eq!(history.len(), expected + 1);
            assert_eq!(history[..own_start].iter().filter(|entry| !entry.empty_layer).count(), layers);
        }
    }
}
