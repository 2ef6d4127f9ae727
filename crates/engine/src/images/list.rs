//! `image ls`: which images are shown, in which order.

use shipway_archive::glob::Pattern;
use shipway_model::{Reference, Timestamp};

use super::ImageView;
use crate::{Engine, Error, Filters, Result, clock};

/// Filters that `image ls` accepts (features.md C-08).
const FILTERS: &[&str] = &["dangling", "label", "label!", "before", "since", "until", "reference"];

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ImageListOptions {
    /// Also images that only serve as parents. Shipway keeps none, so it changes nothing.
    pub all: bool,
    pub filters: Filters,
}

impl Engine {
    /// Images, the newest first.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter or value.
    ///
    /// # Cost
    /// Memory only, in the number of images.
    pub fn list_images(&self, options: &ImageListOptions) -> Result<Vec<ImageView>> {
        let filters = &options.filters;
        filters.check_known(FILTERS)?;
        let dangling = filters.flag("dangling")?;
        let before = self.time_of_each(filters, "before")?;
        let since = self.time_of_each(filters, "since")?;
        let until = filters.values("until").iter().map(|text| parse_until(text)).collect::<Result<Vec<_>>>()?;
        let patterns = filters.values("reference");
        if let Some(bad) = patterns.iter().find(|text| Pattern::parse(text.as_bytes()).is_err()) {
            return Err(Error::invalid(format!("invalid reference filter \"{bad}\": syntax error in pattern")));
        }
        let mut views = Vec::new();
        for image in self.inner.store.images().list() {
            let mut view = self.view_image(&image.id)?;
            let created = image.config.created.unwrap_or_default();
            let kept = dangling.is_none_or(|wanted| wanted == view.tags.is_empty())
                && before.iter().all(|limit| created < *limit)
                && since.iter().all(|limit| created > *limit)
                && until.iter().all(|limit| created < *limit)
                && filters.match_labels(&image.config.config.labels);
            if !kept {
                continue;
            }
            if !patterns.is_empty() {
                view.tags.retain(|name| matches_any(name, patterns));
                view.digests.retain(|name| matches_any(name, patterns));
                if view.tags.is_empty() && view.digests.is_empty() {
                    continue;
                }
            }
            views.push(view);
        }
        views.sort_by(|one, other| {
            let time = |view: &ImageView| view.image.config.created.unwrap_or_default();
            time(other).cmp(&time(one)).then_with(|| one.image.id.cmp(&other.image.id))
        });
        Ok(views)
    }

    /// Creation times of the images that the filter `key` names.
    fn time_of_each(&self, filters: &Filters, key: &str) -> Result<Vec<Timestamp>> {
        let images = self.inner.store.images();
        filters
            .values(key)
            .iter()
            .map(|name| {
                let id = self.resolve_image(name)?;
                Ok(images.get(&id).and_then(|image| image.config.created).unwrap_or_default())
            })
            .collect()
    }
}

/// A moment given as `24h`, a date or seconds since 1970.
pub(crate) fn parse_until(text: &str) -> Result<Timestamp> {
    shipway_model::time::parse_since(text, clock::now()).map_err(|error| Error::invalid(format!("invalid filter 'until={text}': {error}")))
}

/// Docker's rule: the pattern is matched against `repository`, `repository:tag` and each trailing part, in the familiar form.
fn matches_any(name: &Reference, patterns: &[String]) -> bool {
    let (familiar, repository) = (name.familiar(), name.familiar_repository());
    let matches = |pattern: &String, text: &str| Pattern::parse(pattern.as_bytes()).is_ok_and(|pattern| pattern.matches(text.as_bytes()));
    patterns.iter().any(|pattern| matches(pattern, &familiar) || matches(pattern, &repository))
}
