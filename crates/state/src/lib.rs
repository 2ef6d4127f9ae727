//! One crash-safe database: typed tables, one transaction across them, and notes of half-done work.
//!
//! **Lives here**: opening and migrating the SQLite file, the writer thread with group commit, the pool of readers, typed tables, intents.
//! **Never here**: what a record means. No row of this crate's own making except the schema version and intents.
//! **Nouns**: `Db`, `ReadTxn`, `WriteTxn`, `Table`, `Intent`.
//! **Invariants**: `Db::write` returns only after the bytes are on the disk; a closure that fails or panics leaves nothing behind;
//! after the disk has lied once (an I/O error while committing) nothing is written again until the file is reopened;
//! a file written by a newer version is refused before a byte of it changes.
//! **Start reading at**: `db.rs`, then `table.rs`.

mod db;
mod error;
mod intent;
mod migrate;
mod reserve;
mod table;
mod txn;
mod writer;

pub use db::{Db, DbOptions};
pub use error::Error;
pub use intent::{Intent, IntentId, IntentLog};
pub use migrate::{CURRENT_VERSION, Migration};
pub use table::{Codec, Key, Table};
pub use txn::{ReadTxn, Rows, WriteTxn};

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
