//! `image history`: the steps that made an image, the newest first, with the bytes each one added.

use shipway_model::{ImageId, Reference, Timestamp};

use crate::{Engine, Result};

/// One step of an image's history.
#[derive(Debug, Clone)]
pub struct HistoryLine {
    /// The image's id on its newest step; earlier steps have none of their own.
    pub id: Option<ImageId>,
    pub created: Option<Timestamp>,
    pub created_by: String,
    pub tags: Vec<Reference>,
    /// Bytes the step added; 0 for steps that only changed settings.
    pub size: u64,
    pub comment: String,
}

impl Engine {
    /// The history of the image that `name` means. A history shorter or longer than the layers is tolerated (S-212).
    pub fn image_history(&self, name: &str) -> Result<Vec<HistoryLine>> {
        let view = self.inspect_image(name)?;
        let mut layers = view.image.layers.iter();
        let mut lines: Vec<HistoryLine> = Vec::with_capacity(view.image.config.history.len());
        for step in &view.image.config.history {
            let layer = if step.empty_layer { None } else { layers.next() };
            let size = layer.and_then(|id| self.inner.store.layer(id)).map_or(0, |layer| layer.content_size);
            lines.push(HistoryLine {
                id: None,
                created: step.created,
                created_by: step.created_by.clone(),
                tags: Vec::new(),
                size,
                comment: step.comment.clone(),
            });
        }
        // Layers that no step speaks of still take space: they are told as steps without words.
        for layer in layers {
            let layer = self.inner.store.layer(layer);
            lines.push(HistoryLine {
                id: None,
                created: layer.as_ref().map(|layer| layer.created),
                created_by: String::new(),
                tags: Vec::new(),
                size: layer.map_or(0, |layer| layer.content_size),
                comment: String::new(),
            });
        }
        if let Some(newest) = lines.last_mut() {
            newest.id = Some(view.image.id);
            newest.tags = view.tags;
        }
        lines.reverse();
        Ok(lines)
    }
}
