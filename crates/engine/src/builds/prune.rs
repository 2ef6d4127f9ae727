//! `builder prune`: frees build cache.

use shipway_model::Timestamp;
use shipway_store::{CacheRecord, PruneOptions};

use super::ContextIndexUsage;
use crate::system::Pruned;
use crate::{Engine, Error, Filters, Result, blocking};

/// What to keep.
#[derive(Debug, Clone, Default)]
pub struct BuildPruneOptions {
    /// Also results that images use.
    pub all: bool,
    pub filters: Filters,
    /// Bytes of cache that may stay.
    pub keep_bytes: Option<u64>,
}

/// What the API calls the result of a step.
const STEP: &str = "regular";

impl Engine {
    /// Forgets cached results, the longest unused first, and what is remembered of build contexts; frees what nothing else needs.
    ///
    /// # Errors
    /// `Invalid` for a filter that is none.
    pub async fn prune_build_cache(&self, options: BuildPruneOptions) -> Result<Pruned> {
        let choice = Choice::of(&options.filters)?;
        let engine = self.clone();
        let pruned = blocking::files(move || {
            let mut pruned = Pruned::default();
            if choice.kind(STEP) {
                let keys = engine.chosen_records(&choice)?;
                let asked = PruneOptions { all: options.all, until: choice.until, keep_storage: options.keep_bytes, keys };
                // No key means every record to the store; here it means that none was chosen.
                if !(choice.is_narrow() && asked.keys.is_empty()) {
                    let freed = engine.inner.store.cache().prune(&asked)?;
                    pruned.ids.extend(freed.keys.iter().map(ToString::to_string));
                    pruned.bytes += freed.reclaimed;
                }
            }
            // They are small and of use to every next build: a budget that they fit in keeps them.
            if choice.kind(ContextIndexUsage::KIND) && options.keep_bytes.is_none() {
                let (names, bytes) = engine.forget_context_indexes(|index| {
                    choice.until.is_none_or(|until| index.last_used < until) && choice.matches(&index.name, ContextIndexUsage::DESCRIPTION)
                })?;
                pruned.ids.extend(names);
                pruned.bytes += bytes;
            }
            Ok(pruned)
        })
        .await?;
        self.inner.events.publish_prune(crate::Subject::Builder, pruned.bytes);
        Ok(pruned)
    }

    /// The keys of the records that were chosen by name; none when all are meant.
    fn chosen_records(&self, choice: &Choice) -> Result<Vec<shipway_store::CacheKey>> {
        if !choice.is_narrow() {
            return Ok(Vec::new());
        }
        let chosen = |record: &CacheRecord| choice.matches(&record.key.to_string(), &record.description);
        Ok(self.inner.store.cache().list()?.into_iter().filter(chosen).map(|record| record.key).collect())
    }
}

/// The filters, understood.
struct Choice {
    until: Option<Timestamp>,
    ids: Vec<String>,
    kinds: Vec<String>,
    descriptions: Vec<String>,
    /// Only what has a certain label, which no result of a step has. `system prune` hands its filters to every kind of thing.
    is_labelled: bool,
}

impl Choice {
    fn of(filters: &Filters) -> Result<Self> {
        filters.check_known(&["until", "unused-for", "id", "type", "description", "inuse", "label", "label!"])?;
        if filters.flag("inuse")? == Some(true) {
            return Err(Error::InvalidWithHint {
                reason: "invalid filter 'inuse=true'".to_owned(),
                hint: "what an image uses goes with the image; -a forgets its records".to_owned(),
            });
        }
        let times = filters.values("until").iter().chain(filters.values("unused-for"));
        let until = times.map(|text| crate::images::parse_until(text)).collect::<Result<Vec<_>>>()?.into_iter().min();
        let words = |key: &str| filters.values(key).to_vec();
        Ok(Self { until, ids: words("id"), kinds: words("type"), descriptions: words("description"), is_labelled: filters.has("label") })
    }

    fn kind(&self, kind: &str) -> bool {
        !self.is_labelled && (self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind))
    }

    fn is_narrow(&self) -> bool {
        !(self.ids.is_empty() && self.descriptions.is_empty())
    }

    fn matches(&self, id: &str, description: &str) -> bool {
        (self.ids.is_empty() || self.ids.iter().any(|wanted| !wanted.is_empty() && id.starts_with(wanted.as_str())))
            && (self.descriptions.is_empty() || self.descriptions.iter().any(|wanted| description.contains(wanted.as_str())))
    }
}
