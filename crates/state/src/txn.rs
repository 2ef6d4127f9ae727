//! What a closure can do inside a transaction: read rows, and for writers put and remove them.
//!
//! A reader sees one moment of the database whatever happens meanwhile. A writer sees its own changes and those of the writers before it in
//! the same group; if the group cannot be committed all of them fail together. A table nobody has written yet is an empty table.

use std::ops::Deref;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::table::{Key, Table};
use crate::{Error, Result};

/// Rows in key order.
pub type Rows<K, V> = Vec<(K, V)>;

/// The reading half of a transaction.
#[derive(Debug)]
pub struct ReadTxn<'a> {
    pub(crate) connection: &'a Connection,
}

/// A transaction that may write. Dereferences to [`ReadTxn`].
pub struct WriteTxn<'a> {
    read: ReadTxn<'a>,
    after_commit: Vec<Box<dyn FnOnce() + Send>>,
}

impl std::fmt::Debug for WriteTxn<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("WriteTxn").field("after_commit", &self.after_commit.len()).finish_non_exhaustive()
    }
}

impl ReadTxn<'_> {
    /// The value under `key`.
    pub fn get<K: Key, V>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>> {
        let key = key.to_text();
        match self.get_bytes(table.name, &key)? {
            Some(bytes) => table.decode(&key, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// True when a row stands under `key`; its value is not read.
    pub fn contains<K: Key, V>(&self, table: &Table<K, V>, key: &K) -> Result<bool> {
        self.get_bytes(table.name, &key.to_text()).map(|found| found.is_some())
    }

    /// Every row in key order.
    ///
    /// # Errors
    /// `Unreadable` names the first row that is not what the table promises; use [`ReadTxn::scan_lenient`] where one bad row must not hide the others.
    pub fn scan<K: Key, V>(&self, table: &Table<K, V>) -> Result<Vec<(K, V)>> {
        self.scan_prefix(table, "")
    }

    /// Every row whose key text starts with `prefix`, in key order.
    pub fn scan_prefix<K: Key, V>(&self, table: &Table<K, V>, prefix: &str) -> Result<Vec<(K, V)>> {
        let mut rows = Vec::new();
        self.walk(table, prefix, &mut |row| {
            rows.push(row?);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Every readable row in key order, and beside them the errors of the others.
    pub fn scan_lenient<K: Key, V>(&self, table: &Table<K, V>) -> Result<(Rows<K, V>, Vec<Error>)> {
        let (mut rows, mut errors) = (Vec::new(), Vec::new());
        self.walk(table, "", &mut |row| {
            match row {
                Ok(row) => rows.push(row),
                Err(error) => errors.push(error),
            }
            Ok(())
        })?;
        Ok((rows, errors))
    }

    /// Number of rows.
    pub fn count<K: Key, V>(&self, table: &Table<K, V>) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM \"{}\"", table.name);
        let count = absent_is_none(self.connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).optional())?;
        Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
    }

    fn walk<K: Key, V>(&self, table: &Table<K, V>, prefix: &str, each: &mut dyn FnMut(Result<(K, V)>) -> Result<()>) -> Result<()> {
        let sql = format!("SELECT key, value FROM \"{}\" WHERE key >= ?1 ORDER BY key", table.name);
        let Some(mut statement) = absent_is_none(self.connection.prepare_cached(&sql).map(Some))? else { return Ok(()) };
        let mut rows = statement.query(params![prefix])?;
        while let Some(row) = absent_is_none(rows.next())? {
            let key =
                row.get_ref(0)?.as_str().map_err(|_| Error::Corrupt { what: format!("a key of table \"{}\" is not text", table.name) })?;
            if !key.starts_with(prefix) {
                break;
            }
            let bytes = row
                .get_ref(1)?
                .as_bytes()
                .map_err(|_| Error::Corrupt { what: format!("a value of table \"{}\" is not bytes", table.name) })?;
            each(table.decode_key(key).and_then(|typed| Ok((typed, table.decode(key, bytes)?))))?;
        }
        Ok(())
    }

    fn get_bytes(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>> {
        let sql = format!("SELECT value FROM \"{table}\" WHERE key = ?1");
        let select = || self.connection.prepare_cached(&sql)?.query_row(params![key], |row| row.get(0)).optional();
        absent_is_none(select())
    }
}

impl<'a> WriteTxn<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Self {
        Self { read: ReadTxn { connection }, after_commit: Vec::new() }
    }

    /// Writes `value` under `key`, replacing what stood there.
    pub fn put<K: Key, V>(&mut self, table: &Table<K, V>, key: &K, value: &V) -> Result<()> {
        let bytes = table.encode(key, value)?;
        let key = key.to_text();
        let sql =
            format!("INSERT INTO \"{}\"(key, value) VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value", table.name);
        let insert = || self.connection.prepare_cached(&sql)?.execute(params![key, bytes]).map(Some);
        if absent_is_none(insert())?.is_none() {
            self.create_table(table.name)?;
            insert()?;
        }
        Ok(())
    }

    /// Removes the row under `key`; false when there was none.
    pub fn remove<K: Key, V>(&mut self, table: &Table<K, V>, key: &K) -> Result<bool> {
        self.remove_text(table.name, &key.to_text())
    }

    /// Removes a row by the text of its key, also one whose key cannot be read as the table's type; for repairs.
    pub fn remove_text(&mut self, table: &str, key: &str) -> Result<bool> {
        let sql = format!("DELETE FROM \"{table}\" WHERE key = ?1");
        let delete = || self.connection.prepare_cached(&sql)?.execute(params![key]).map(Some);
        Ok(absent_is_none(delete())?.unwrap_or(0) > 0)
    }

    /// Runs `f` on the writer thread once this transaction has been committed, in commit order and before `Db::write` returns; never if it is
    /// rolled back. This is how a copy in memory follows the rows. `f` must be short and must not write.
    pub fn on_commit(&mut self, f: impl FnOnce() + Send + 'static) {
        self.after_commit.push(Box::new(f));
    }

    pub(crate) fn take_after_commit(&mut self) -> Vec<Box<dyn FnOnce() + Send>> {
        std::mem::take(&mut self.after_commit)
    }

    fn create_table(&self, name: &str) -> Result<()> {
        let sql = format!("CREATE TABLE IF NOT EXISTS \"{name}\"(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID");
        Ok(self.connection.execute_batch(&sql)?)
    }
}

impl<'a> Deref for WriteTxn<'a> {
    type Target = ReadTxn<'a>;

    fn deref(&self) -> &Self::Target {
        &self.read
    }
}

/// Turns "no such table" into `None`: the table was never written, or its creation was rolled back (a cached statement then says so only when it
/// runs). SQLite has no code of its own for it, only this text, which its documentation has kept for twenty years.
fn absent_is_none<T>(answer: rusqlite::Result<Option<T>>) -> Result<Option<T>> {
    match answer {
        Err(error) if error.to_string().starts_with("no such table") => Ok(None),
        other => Ok(other?),
    }
}
