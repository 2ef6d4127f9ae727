//! The format of the file as a whole: one number, raised when rows change meaning, and the steps from one number to the next.
//!
//! The number stands in `schema_version` (one row: version, program). Adding a table or an optional field needs no new number. A file with a greater
//! number than we know is refused on a read-only handle, so that going back to the newer program finds it as it was.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use crate::txn::WriteTxn;
use crate::{Error, Result};

/// Format written by this version.
pub const CURRENT_VERSION: u32 = 1;

/// A step from format `to - 1` to format `to`; runs inside the transaction that raises the number.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The format after this step.
    pub to: u32,
    /// What changes the rows.
    pub run: fn(&mut WriteTxn<'_>) -> Result<()>,
}

/// Every step this version knows, in order.
pub(crate) const MIGRATIONS: &[Migration] = &[];

/// Refuses a file of a newer format, through a handle that cannot write.
pub(crate) fn refuse_newer(path: &Path, known: u32) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let open = || -> rusqlite::Result<Option<u32>> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        read_version(&connection)
    };
    let found = open().map_err(|source| match Error::from(source) {
        Error::Sql { source } => Error::Open { path: path.to_owned(), source },
        other => other,
    })?;
    match found {
        Some(found) if found > known => Err(Error::NewerVersion { path: path.to_owned(), found, known }),
        _ => Ok(()),
    }
}

/// Brings the file to `target`, step by step, each in its own transaction; a file without a number is new and gets `target` at once.
pub(crate) fn migrate(connection: &Connection, path: &Path, target: u32, steps: &[Migration]) -> Result<()> {
    let Some(mut version) = read_version(connection)? else {
        connection.execute_batch("BEGIN IMMEDIATE; CREATE TABLE schema_version(version INTEGER NOT NULL, program TEXT NOT NULL)")?;
        write_version(connection, target)?;
        return Ok(connection.execute_batch("COMMIT")?);
    };
    if version < target {
        keep_copy(connection, path, version)?;
    }
    while version < target {
        let next = version + 1;
        let step =
            steps.iter().find(|step| step.to == next).ok_or_else(|| Error::Corrupt { what: format!("no step leads to format {next}") })?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = (step.run)(&mut WriteTxn::new(connection)).and_then(|()| write_version(connection, next));
        if let Err(error) = done {
            connection.execute_batch("ROLLBACK")?;
            return Err(error);
        }
        connection.execute_batch("COMMIT")?;
        version = next;
    }
    Ok(())
}

/// Leaves a copy of the old format beside the file: `state.db.v1`. An older program can be given it back.
fn keep_copy(connection: &Connection, path: &Path, version: u32) -> Result<()> {
    let mut copy = path.as_os_str().to_owned();
    copy.push(format!(".v{version}"));
    if Path::new(&copy).exists() {
        return Ok(());
    }
    let text = copy
        .to_str()
        .ok_or_else(|| Error::Open { path: path.to_owned(), source: Arc::new(rusqlite::Error::InvalidPath(path.to_owned())) })?;
    connection.execute("VACUUM INTO ?1", params![text])?;
    Ok(())
}

fn read_version(connection: &Connection) -> rusqlite::Result<Option<u32>> {
    let known: bool =
        connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version'", [], |row| row.get(0))?;
    if !known {
        return Ok(None);
    }
    connection.query_row("SELECT max(version) FROM schema_version", [], |row| row.get::<_, Option<u32>>(0)).optional().map(Option::flatten)
}

fn write_version(connection: &Connection, version: u32) -> Result<()> {
    connection.execute("DELETE FROM schema_version", [])?;
    connection.execute("INSERT INTO schema_version(version, program) VALUES (?1, ?2)", params![version, env!("CARGO_PKG_VERSION")])?;
    Ok(())
}
