//! Cache records on the disk.
//!
//! Two tables: `cache` has what lookups need, in a byte form small enough to read a hundred thousand rows at start; `cache_parts` has the key's parts
//! and the description in JSON, read only when someone asks why. The byte form of a `cache` value, numbers little-endian:
//!
//! ```text
//! 0      version, 1
//! 1      flags: 1 has a result layer, 2 has a weak key, 4 imported
//! 2..10  created, ns since 1970        10..18 last used      18..26 uses      26..34 size
//! 34..   weak key, 32 bytes (if any); then the layer id as text (if any)
//! ```

use serde::{Deserialize, Serialize};
use shipway_model::{LayerId, Timestamp};
use shipway_state::{Codec, Table, WriteTxn};

use super::{CacheKey, CacheRecord};
use crate::Result;
use crate::memory::Shared;

pub(crate) const CACHE: Table<CacheKey, CacheEntry> =
    Table::with_codec("cache", Codec { encode: CacheEntry::encode, decode: CacheEntry::decode });
pub(crate) const CACHE_PARTS: Table<CacheKey, CacheParts> = Table::new("cache_parts");

const FORMAT: u8 = 1;
const HAS_RESULT: u8 = 1;
const HAS_WEAK_KEY: u8 = 2;
const IMPORTED: u8 = 4;
const FIXED: usize = 34;

/// What lookups need of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheEntry {
    pub(crate) result: Option<LayerId>,
    pub(crate) weak_key: Option<[u8; 32]>,
    pub(crate) created: Timestamp,
    pub(crate) last_used: Timestamp,
    pub(crate) uses: u64,
    pub(crate) size: u64,
    pub(crate) imported: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CacheParts {
    pub(crate) description: String,
    pub(crate) parts: serde_json::Value,
}

/// Writes down the hits noted since the last time. Should the commit fail they are lost, which costs nothing but a little order in a prune.
pub(crate) fn put_touches(shared: &Shared, txn: &mut WriteTxn<'_>) -> Result<()> {
    let touched: Vec<(CacheKey, CacheEntry)> = {
        let mut memory = shared.write();
        let keys = std::mem::take(&mut memory.cache.touched);
        keys.into_iter().filter_map(|key| memory.cache.entries.get(&key).map(|entry| (key, entry.clone()))).collect()
    };
    for (key, entry) in &touched {
        // A record still pending has no row yet, and one removed meanwhile must not come back.
        if txn.contains(&CACHE, key)? {
            txn.put(&CACHE, key, entry)?;
        }
    }
    Ok(())
}

/// Writes both rows of a record.
pub(crate) fn put_row(txn: &mut WriteTxn<'_>, record: &CacheRecord) -> Result<()> {
    txn.put(&CACHE, &record.key, &CacheEntry::of(record))?;
    let parts = CacheParts { description: record.description.clone(), parts: record.parts.clone() };
    Ok(txn.put(&CACHE_PARTS, &record.key, &parts)?)
}

impl CacheEntry {
    pub(crate) fn of(record: &CacheRecord) -> Self {
        Self {
            result: record.result,
            weak_key: record.weak_key,
            created: record.created,
            last_used: record.last_used,
            uses: record.uses,
            size: record.size,
            imported: record.imported,
        }
    }

    pub(crate) fn to_record(&self, key: CacheKey) -> CacheRecord {
        CacheRecord {
            key,
            result: self.result,
            weak_key: self.weak_key,
            parts: serde_json::Value::Null,
            description: String::new(),
            created: self.created,
            last_used: self.last_used,
            uses: self.uses,
            size: self.size,
            imported: self.imported,
        }
    }

    fn encode(&self) -> Result<Vec<u8>, String> {
        let mut flags = 0;
        flags |= if self.result.is_some() { HAS_RESULT } else { 0 };
        flags |= if self.weak_key.is_some() { HAS_WEAK_KEY } else { 0 };
        flags |= if self.imported { IMPORTED } else { 0 };
        let mut bytes = vec![FORMAT, flags];
        for number in [
            self.created.nanoseconds().to_le_bytes(),
            self.last_used.nanoseconds().to_le_bytes(),
            self.uses.to_le_bytes(),
            self.size.to_le_bytes(),
        ] {
            bytes.extend(number);
        }
        bytes.extend(self.weak_key.iter().flatten());
        if let Some(layer) = &self.result {
            bytes.extend(layer.to_string().bytes());
        }
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (fixed, mut rest) = bytes.split_at_checked(FIXED).ok_or("it is too short")?;
        if fixed[0] != FORMAT {
            return Err(format!("its format is {}", fixed[0]));
        }
        let flags = fixed[1];
        let number = |at: usize| <[u8; 8]>::try_from(&fixed[at..at + 8]).map_err(|_| "it is too short");
        let weak_key = if flags & HAS_WEAK_KEY == 0 {
            None
        } else {
            let (weak, after) = rest.split_at_checked(32).ok_or("it is too short")?;
            rest = after;
            <[u8; 32]>::try_from(weak).ok()
        };
        let result = if flags & HAS_RESULT == 0 {
            None
        } else {
            let text = std::str::from_utf8(rest).map_err(|_| "its layer id is not text")?;
            Some(text.parse().map_err(|_| "its layer id is not one")?)
        };
        Ok(Self {
            result,
            weak_key,
            created: Timestamp::from_nanoseconds(i64::from_le_bytes(number(2)?)),
            last_used: Timestamp::from_nanoseconds(i64::from_le_bytes(number(10)?)),
            uses: u64::from_le_bytes(number(18)?),
            size: u64::from_le_bytes(number(26)?),
            imported: flags & IMPORTED != 0,
        })
    }
}
