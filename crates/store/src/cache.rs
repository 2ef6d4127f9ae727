//! Cache records of build steps: from a key made of everything a step depends on, to the layer it gave.
//!
//! Lookups are answered from memory; `rows.rs` is how records stand on the disk.

mod rows;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use shipway_model::{LayerId, Timestamp};

use crate::clock;
use crate::layers::{hex, unhex};
use crate::memory::{PendingItem, Shared};
use crate::open::Store;
use crate::{Error, Result};

use rows::CacheEntry;
pub(crate) use rows::{CACHE, CACHE_PARTS, put_row, put_touches};

/// Digest of everything a step's result depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey(pub [u8; 32]);

impl fmt::Display for CacheKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex(&self.0))
    }
}

impl FromStr for CacheKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        unhex(text).map(Self).ok_or_else(|| Error::invalid(format!("cache key \"{text}\""), "it is not 64 hex digits"))
    }
}

/// The result of a step and how it is used.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheRecord {
    /// What the result was made from.
    pub key: CacheKey,
    /// The layer, or `None` for a step that only changed the config.
    pub result: Option<LayerId>,
    /// The key without the contents of files, by which the last run of the same step is found.
    pub weak_key: Option<[u8; 32]>,
    /// The parts of the key, for explaining. `Null` in records from [`Cache::lookup`], which does not read them.
    pub parts: serde_json::Value,
    /// The step in words. Empty in records from [`Cache::lookup`].
    pub description: String,
    /// When the step ran.
    pub created: Timestamp,
    /// When it was last a hit.
    pub last_used: Timestamp,
    /// How often it was a hit.
    pub uses: u64,
    /// Bytes of the result layer's files.
    pub size: u64,
    /// True when it came from another store.
    pub imported: bool,
}

/// Which records to prune.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Also records whose layer an image or a container uses. Their bytes stay as long as those.
    pub all: bool,
    /// Only records last used before this time.
    pub until: Option<Timestamp>,
    /// Keep the most recently used records up to so many bytes.
    pub keep_storage: Option<u64>,
    /// Only these, when not empty.
    pub keys: Vec<CacheKey>,
}

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The records removed.
    pub keys: Vec<CacheKey>,
    /// Bytes of layers freed.
    pub reclaimed: u64,
}

/// Records by key, and the newest by weak key.
#[derive(Debug, Default)]
pub(crate) struct CacheMemory {
    entries: HashMap<CacheKey, CacheEntry>,
    newest: HashMap<[u8; 32], CacheKey>,
    touched: HashSet<CacheKey>,
}

impl CacheMemory {
    pub(crate) fn add(&mut self, key: CacheKey, entry: CacheEntry) {
        if let Some(weak) = entry.weak_key {
            let newest = self.newest.entry(weak).or_insert(key);
            if self.entries.get(newest).is_none_or(|former| former.created <= entry.created) {
                *newest = key;
            }
        }
        self.entries.insert(key, entry);
    }

    pub(crate) fn remove(&mut self, key: &CacheKey) {
        self.touched.remove(key);
        let Some(gone) = self.entries.remove(key) else { return };
        let Some(weak) = gone.weak_key else { return };
        if self.newest.get(&weak) != Some(key) {
            return;
        }
        // Rare (prune only), so the next newest is searched instead of kept.
        let next = self.entries.iter().filter(|(_, entry)| entry.weak_key == Some(weak)).max_by_key(|(_, entry)| entry.created);
        match next.map(|(key, _)| *key) {
            Some(next) => drop(self.newest.insert(weak, next)),
            None => drop(self.newest.remove(&weak)),
        }
    }

    pub(crate) fn results(&self) -> impl Iterator<Item = LayerId> + '_ {
        self.entries.values().filter_map(|entry| entry.result)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&CacheKey, Option<LayerId>)> {
        self.entries.iter().map(|(key, entry)| (key, entry.result))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The cache records of a store.
#[derive(Clone, Copy)]
pub struct Cache<'a> {
    store: &'a Store,
}

impl Store {
    /// The cache records of this store.
    pub fn cache(&self) -> Cache<'_> {
        Cache { store: self }
    }
}

impl Cache<'_> {
    /// The record under `key`, published or not, if its layer is here and sound. From memory: the parts and the description are left out.
    pub fn lookup(&self, key: &CacheKey) -> Option<CacheRecord> {
        let memory = self.shared().read();
        let entry = memory.cache.entries.get(key)?;
        if entry.result.is_some_and(|layer| !memory.layers.contains_key(&layer) || memory.damaged.contains_key(&layer)) {
            return None;
        }
        Some(entry.to_record(*key))
    }

    /// The record under `key` with its parts and description.
    pub fn explain(&self, key: &CacheKey) -> Result<Option<CacheRecord>> {
        let Some(record) = self.lookup(key) else { return Ok(None) };
        self.with_parts(record).map(Some)
    }

    /// The newest record of the same step on other contents, with its parts.
    pub fn latest_by_weak_key(&self, weak_key: &[u8; 32]) -> Option<CacheRecord> {
        let key = *self.shared().read().cache.newest.get(weak_key)?;
        let record = self.lookup(&key)?;
        // Explaining is a courtesy: a record whose parts cannot be read is still a record.
        self.with_parts(record.clone()).ok().or(Some(record))
    }

    /// Adds a record; visible at once, durable with the next publish.
    pub fn record(&self, record: CacheRecord) {
        let mut memory = self.shared().write();
        memory.cache.add(record.key, CacheEntry::of(&record));
        memory.pending.push(PendingItem::Cache(Arc::new(record)));
    }

    /// Notes a hit, in memory; it is written down along with the next thing that is published.
    pub fn touch(&self, key: &CacheKey) {
        let now = clock::now();
        let mut memory = self.shared().write();
        if let Some(entry) = memory.cache.entries.get_mut(key) {
            entry.last_used = now;
            entry.uses += 1;
            memory.cache.touched.insert(*key);
        }
    }

    /// Every record with its description, least recently used first.
    pub fn list(&self) -> Result<Vec<CacheRecord>> {
        let mut records: Vec<CacheRecord> = {
            let memory = self.shared().read();
            let mut records: HashMap<CacheKey, CacheRecord> =
                memory.cache.entries.iter().map(|(key, entry)| (*key, entry.to_record(*key))).collect();
            for item in memory.pending.items.values() {
                if let PendingItem::Cache(pending) = item
                    && let Some(record) = records.get_mut(&pending.key)
                {
                    record.parts = pending.parts.clone();
                    record.description.clone_from(&pending.description);
                }
            }
            records.into_values().collect()
        };
        self.store.db().read(|txn| -> Result<()> {
            for record in records.iter_mut().filter(|record| record.description.is_empty()) {
                if let Some(found) = txn.get(&CACHE_PARTS, &record.key)? {
                    record.description = found.description;
                    record.parts = found.parts;
                }
            }
            Ok(())
        })?;
        records.sort_by(|one, other| one.last_used.cmp(&other.last_used).then_with(|| one.key.cmp(&other.key)));
        Ok(records)
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.shared().read().cache.len()
    }

    /// True when there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes records, durably; their layers go with the next collect.
    pub fn remove(&self, keys: &[CacheKey]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let (shared, keys) = (Arc::clone(self.shared()), keys.to_vec());
        self.store.db().write(move |txn| {
            for key in &keys {
                txn.remove(&CACHE, key)?;
                txn.remove(&CACHE_PARTS, key)?;
            }
            let mut memory = shared.write();
            for key in &keys {
                memory.pending.forget_cache(key);
                memory.cache.remove(key);
            }
            Ok(())
        })
    }

    /// Removes the records that `options` name, then collects.
    pub fn prune(&self, options: &PruneOptions) -> Result<Pruned> {
        let keys = self.select(options);
        self.remove(&keys)?;
        let collected = self.store.collect()?;
        Ok(Pruned { keys, reclaimed: collected.bytes })
    }

    fn select(&self, options: &PruneOptions) -> Vec<CacheKey> {
        let memory = self.shared().read();
        let in_use: HashSet<LayerId> = if options.all { HashSet::new() } else { memory.layers_of_images_and_holds() };
        let mut candidates: Vec<(CacheKey, &CacheEntry)> = memory
            .cache
            .entries
            .iter()
            .filter(|(key, entry)| {
                entry.result.is_none_or(|layer| !in_use.contains(&layer))
                    && options.until.is_none_or(|until| entry.last_used < until)
                    && (options.keys.is_empty() || options.keys.contains(key))
            })
            .map(|(key, entry)| (*key, entry))
            .collect();
        let Some(keep) = options.keep_storage else { return candidates.into_iter().map(|(key, _)| key).collect() };
        // Newest first; each layer counts once, with the newest record that leads to it.
        candidates.sort_by(|one, other| other.1.last_used.cmp(&one.1.last_used).then_with(|| one.0.cmp(&other.0)));
        let (mut kept, mut bytes) = (HashSet::new(), 0_u64);
        candidates.retain(|(_, entry)| {
            let fresh = entry.result.is_some_and(|layer| kept.insert(layer));
            bytes = bytes.saturating_add(if fresh { entry.size } else { 0 });
            bytes > keep
        });
        candidates.into_iter().map(|(key, _)| key).collect()
    }

    fn with_parts(&self, mut record: CacheRecord) -> Result<CacheRecord> {
        let pending = {
            let memory = self.shared().read();
            memory.pending.items.values().rev().find_map(|item| match item {
                PendingItem::Cache(pending) if pending.key == record.key => Some(Arc::clone(pending)),
                _ => None,
            })
        };
        if let Some(pending) = pending {
            record.parts = pending.parts.clone();
            record.description.clone_from(&pending.description);
        } else if let Some(found) = self.store.db().read(|txn| txn.get(&CACHE_PARTS, &record.key))? {
            record.parts = found.parts;
            record.description = found.description;
        }
        Ok(record)
    }

    fn shared(&self) -> &Arc<Shared> {
        self.store.shared()
    }
}

impl fmt::Debug for Cache<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Cache")
    }
}
