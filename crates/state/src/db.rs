//! The handle: opening the file, reading from a pool of connections, handing writes to the one writer.
//!
//! SQLite runs in WAL mode. Checkpoints are made by the writer thread after durable commits only, so that neither a read nor a lazy write ever
//! waits for the disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::migrate::{self, CURRENT_VERSION, MIGRATIONS, Migration};
use crate::txn::{ReadTxn, WriteTxn};
use crate::writer::{self, Company, Durability, Writer};
use crate::{Error, Result};

/// Idle reading connections kept for reuse; more may exist while more threads read.
const IDLE_READERS: usize = 8;
/// How long a statement waits for a lock of another process, e.g. somebody's `sqlite3` shell.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// The database. Clones share one file, one writer and one pool of readers.
#[derive(Clone, Debug)]
pub struct Db {
    inner: Arc<Inner>,
}

/// Settings of [`Db::open_with`]; there for tests of migrations and for readers of other files.
#[derive(Debug, Clone, Copy)]
pub struct DbOptions {
    /// Format to bring the file to.
    pub version: u32,
    /// The steps known.
    pub migrations: &'static [Migration],
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    writer: Writer,
}

impl Db {
    /// Opens or makes the database at `path` and brings it to the current format.
    ///
    /// # Errors
    /// `NewerVersion` when a newer program wrote it (nothing is changed), `Corrupt` when SQLite cannot read it, `NoSpace`.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, DbOptions { version: CURRENT_VERSION, migrations: MIGRATIONS })
    }

    /// As [`Db::open`] with another idea of the formats.
    pub fn open_with(path: &Path, options: DbOptions) -> Result<Self> {
        migrate::refuse_newer(path, options.version)?;
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let set_up = || -> Result<()> {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", false)?;
            migrate::migrate(&connection, path, options.version, options.migrations)
        };
        set_up().map_err(|error| match error {
            Error::Sql { source } => Error::Open { path: path.to_owned(), source },
            other => other,
        })?;
        let writer = writer::start(connection, path)?;
        Ok(Self { inner: Arc::new(Inner { path: path.to_owned(), readers: Mutex::new(Vec::new()), writer }) })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Runs `f` on one moment of the database. Readers never wait for the writer nor for each other.
    pub fn read<T, E: From<Error>>(&self, f: impl FnOnce(&ReadTxn<'_>) -> Result<T, E>) -> Result<T, E> {
        let connection = self.take_reader()?;
        connection.execute_batch("BEGIN").map_err(Error::from)?;
        let answer = f(&ReadTxn { connection: &connection });
        // A reader whose transaction cannot be ended is dropped instead of going back into the pool.
        if connection.execute_batch("COMMIT").is_ok() {
            self.give_reader(connection);
        }
        answer
    }

    /// Runs `f` on the writer thread and returns after what it wrote is on the disk. Writers that come together share one transaction and one
    /// fsync; each has its own savepoint, so that one failing takes nothing from the others.
    ///
    /// # Errors
    /// The closure's own, after which nothing of it is kept; `NoSpace`, `Degraded`, `Closed`, `Nested`.
    ///
    /// # Cost
    /// One WAL append and fsync (0.3 ms on an SSD), shared. A closure that changes nothing costs no fsync.
    pub fn write<T, E>(&self, f: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.inner.writer.submit(f, Durability::Durable, Company::Grouped)
    }

    /// As [`Db::write`], but in a transaction of its own that starts after every earlier one was committed and its `on_commit` callbacks ran: inside
    /// `f` a copy in memory that follows the rows equals the rows.
    pub fn write_alone<T, E>(&self, f: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.inner.writer.submit(f, Durability::Durable, Company::Alone)
    }

    /// As [`Db::write`], but returns once the change is visible; it becomes durable with the next durable commit.
    ///
    /// # Cost
    /// No fsync, except for the first one after the log was begun anew (at start and after a checkpoint): SQLite then syncs the head of the log, without
    /// which frames of the old log could be taken for new ones after a power cut.
    pub fn write_lazy<T, E>(&self, f: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.inner.writer.submit(f, Durability::Lazy, Company::Grouped)
    }

    /// SQLite's own check of the whole file; the findings as it words them, empty when sound. Reads every page.
    pub fn check_integrity(&self) -> Result<Vec<String>> {
        let connection = self.take_reader()?;
        let findings: Vec<String> = {
            let mut statement = connection.prepare("PRAGMA integrity_check(100)").map_err(Error::from)?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(Error::from)?;
            rows.collect::<rusqlite::Result<_>>().map_err(Error::from)?
        };
        self.give_reader(connection);
        Ok(findings.into_iter().filter(|line| line != "ok").collect())
    }

    /// Why nothing is written any more, when a commit met an I/O error.
    pub fn degraded(&self) -> Option<String> {
        self.inner.writer.degraded()
    }

    /// Refuses every later write with `Degraded`; for an owner who learned elsewhere that the disk cannot be believed.
    pub fn degrade(&self, cause: String) {
        self.inner.writer.degrade(cause);
    }

    /// Commits what is queued, folds the log into the file and stops the writer. Later writes answer `Closed`; reads go on working.
    pub fn close(&self) -> Result<()> {
        self.inner.writer.stop();
        Ok(())
    }

    fn take_reader(&self) -> Result<Connection> {
        let pooled = self.inner.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match pooled {
            Some(connection) => Ok(connection),
            None => connect(&self.inner.path, OpenFlags::SQLITE_OPEN_READ_ONLY),
        }
    }

    fn give_reader(&self, connection: Connection) {
        let mut readers = self.inner.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS {
            readers.push(connection);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Readers first: the last connection to leave folds the log, and a reader in the pool would keep it from being truncated.
        self.readers.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        self.writer.stop();
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|source| match Error::from(source) {
        Error::Sql { source } => Error::Open { path: path.to_owned(), source },
        other => other,
    })
}
