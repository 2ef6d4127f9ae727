//! The database through its public face.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod groups;
mod intents;
mod migrations;
mod tables;

use shipway_state::Db;

/// A database in a folder that goes with the test.
fn scratch() -> (tempfile::TempDir, Db) {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let db = Db::open(&folder.path().join("state.db")).unwrap();
    (folder, db)
}
