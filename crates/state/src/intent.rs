//! Notes of half-finished work, written before the work and closed after it, read at boot.
//!
//! An intent is opened in the transaction that makes the wish visible and closed in the one that makes the result visible; whatever is still open
//! at start was interrupted and must be finished or undone by whoever opened it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::table::Table;
use crate::txn::{ReadTxn, WriteTxn};

const INTENTS: Table<IntentId, IntentRecord> = Table::new("intents");
const COUNTERS: Table<String, u64> = Table::new("counters");
const COUNTER: &str = "intent";

/// Number of an intent; later ones are greater and numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IntentId(u64);

impl fmt::Display for IntentId {
    /// Sixteen hex digits, so that the order of the text is the order of the numbers.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl FromStr for IntentId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// One open intent.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    /// Its number.
    pub id: IntentId,
    /// What was being done, e.g. `starting`.
    pub kind: String,
    /// To what, e.g. a container id.
    pub subject: String,
    /// What the finisher needs to know.
    pub payload: serde_json::Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct IntentRecord {
    kind: String,
    subject: String,
    payload: serde_json::Value,
}

/// The list of open intents.
#[derive(Debug)]
pub struct IntentLog;

impl IntentLog {
    /// Notes that `kind` is about to be done to `subject`.
    pub fn open(txn: &mut WriteTxn<'_>, kind: &str, subject: &str, payload: serde_json::Value) -> Result<IntentId> {
        let last = txn.get(&COUNTERS, &COUNTER.to_owned())?.unwrap_or(0);
        let id = IntentId(last + 1);
        txn.put(&COUNTERS, &COUNTER.to_owned(), &id.0)?;
        txn.put(&INTENTS, &id, &IntentRecord { kind: kind.to_owned(), subject: subject.to_owned(), payload })?;
        Ok(id)
    }

    /// Strikes the note out; false when it was closed before.
    pub fn close(txn: &mut WriteTxn<'_>, id: IntentId) -> Result<bool> {
        txn.remove(&INTENTS, &id)
    }

    /// Every open intent, oldest first.
    pub fn pending(txn: &ReadTxn<'_>) -> Result<Vec<Intent>> {
        let rows = txn.scan(&INTENTS)?;
        Ok(rows
            .into_iter()
            .map(|(id, record)| Intent { id, kind: record.kind, subject: record.subject, payload: record.payload })
            .collect())
    }
}
