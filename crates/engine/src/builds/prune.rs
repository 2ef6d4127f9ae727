//! `builder prune`: frees build cache.

use shipway_store::PruneOptions;

use crate::system::Pruned;
use crate::{Engine, Filters, Result, blocking};

/// What to keep.
#[derive(Debug, Clone, Default)]
pub struct BuildPruneOptions {
    /// Also results that images use.
    pub all: bool,
    pub filters: Filters,
    /// Bytes of cache that may stay.
    pub keep_bytes: Option<u64>,
}

impl Engine {
    /// Forgets cached results, the longest unused first, and frees what nothing else needs.
    pub async fn prune_build_cache(&self, options: BuildPruneOptions) -> Result<Pruned> {
        options.filters.check_known(&["until", "id", "type", "inuse", "description", "unused-for"])?;
        let until = options
            .filters
            .values("until")
            .iter()
            .chain(options.filters.values("unused-for"))
            .map(|text| crate::images::parse_until(text))
            .collect::<Result<Vec<_>>>()?;
        let store = self.inner.store.clone();
        let pruned = blocking::files(move || {
            let options = PruneOptions {
                all: options.all,
                until: until.into_iter().min(),
                keep_storage: options.keep_bytes,
                ..PruneOptions::default()
            };
            let pruned = store.cache().prune(&options)?;
            Ok(Pruned { ids: pruned.keys.iter().map(ToString::to_string).collect(), bytes: pruned.reclaimed })
        })
        .await?;
        self.inner.events.publish_prune(crate::Subject::Builder, pruned.bytes);
        Ok(pruned)
    }
}
