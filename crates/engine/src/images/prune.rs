//! `image prune`: removes images that nobody names (or, with `dangling=false`, nobody uses).

use super::ImageRemoved;
use super::list::parse_until;
use crate::{Engine, Filters, Result, blocking};

impl Engine {
    /// Removes unused images, and the beginnings that broken pulls left; tells what went and how many bytes came back.
    pub async fn prune_images(&self, filters: &Filters) -> Result<(Vec<ImageRemoved>, u64)> {
        filters.check_known(&["dangling", "label", "label!", "until"])?;
        let only_dangling = filters.flag("dangling")?.unwrap_or(true);
        let until = filters.values("until").iter().map(|text| parse_until(text)).collect::<Result<Vec<_>>>()?;
        let mut removed = Vec::new();
        for image in self.inner.store.images().list() {
            let view = self.view_image(&image.id)?;
            let created = image.config.created.unwrap_or_default();
            let kept = view.containers > 0
                || (only_dangling && !view.tags.is_empty())
                || !until.iter().all(|limit| created < *limit)
                || !filters.match_labels(&image.config.config.labels);
            if kept {
                continue;
            }
            let names = view.tags.iter().chain(&view.digests).cloned().collect();
            removed.extend(self.apply(image.id, names, true).await?);
        }
        let store = self.inner.store.clone();
        let bytes = blocking::files(move || Ok(store.collect()?.bytes + store.forget_broken_downloads()?)).await?;
        self.inner.events.publish_prune(crate::Subject::Image, bytes);
        Ok((removed, bytes))
    }
}
