//! Formats of the file: newer ones are refused untouched, older ones brought forward with a copy kept.
use shipway_state::{CURRENT_VERSION, Db, DbOptions, Error, Migration, Table, WriteTxn};

const WORDS: Table<String, String> = Table::new("words");

const fn at(version: u32, migrations: &'static [Migration]) -> DbOptions {
    DbOptions { version, migrations }
}

fn shout(txn: &mut WriteTxn<'_>) -> Result<(), Error> {
    for (key, word) in txn.scan(&WORDS)? {
        txn.put(&WORDS, &key, &word.to_uppercase())?;
    }
    Ok(())
}

fn fail(_: &mut WriteTxn<'_>) -> Result<(), Error> {
    Err(Error::Closed)
}

const TO_TWO: &[Migration] = &[Migration { to: CURRENT_VERSION + 1, run: shout }];
const TO_THREE_BROKEN: &[Migration] =
    &[Migration { to: CURRENT_VERSION + 1, run: shout }, Migration { to: CURRENT_VERSION + 2, run: fail }];

#[test]
fn a_newer_file_is_refused_and_not_a_byte_changes() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("state.db");
    drop(Db::open_with(&path, at(CURRENT_VERSION + 1, TO_TWO)).unwrap());
    let before = std::fs::read(&path).unwrap();
    let refused = Db::open(&path).unwrap_err();
    assert!(
        matches!(refused, Error::NewerVersion { found, known, .. } if (found, known) == (CURRENT_VERSION + 1, CURRENT_VERSION)),
        "{refused}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn an_older_file_is_brought_forward_and_a_copy_stays() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("state.db");
    let db = Db::open(&path).unwrap();
    db.write::<_, Error>(|txn| txn.put(&WORDS, &"a".to_owned(), &"word".to_owned())).unwrap();
    drop(db);
    let db = Db::open_with(&path, at(CURRENT_VERSION + 1, TO_TWO)).unwrap();
    assert_eq!(db.read(|txn| txn.get(&WORDS, &"a".to_owned())).unwrap().as_deref(), Some("WORD"));
    drop(db);
    let old = Db::open(&folder.path().join(format!("state.db.v{CURRENT_VERSION}"))).unwrap();
    assert_eq!(old.read(|txn| txn.get(&WORDS, &"a".to_owned())).unwrap().as_deref(), Some("word"));
}

#[test]
fn a_step_that_fails_leaves_the_file_at_the_step_before() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("state.db");
    let db = Db::open(&path).unwrap();
    db.write::<_, Error>(|txn| txn.put(&WORDS, &"a".to_owned(), &"word".to_owned())).unwrap();
    drop(db);
    assert!(Db::open_with(&path, at(CURRENT_VERSION + 2, TO_THREE_BROKEN)).is_err());
    let db = Db::open_with(&path, at(CURRENT_VERSION + 1, TO_TWO)).unwrap();
    assert_eq!(db.read(|txn| txn.get(&WORDS, &"a".to_owned())).unwrap().as_deref(), Some("WORD"));
}

#[test]
fn a_file_that_is_no_database_is_refused_with_its_name() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("state.db");
    std::fs::write(&path, "this is a shopping list and no database at all, whatever its name says").unwrap();
    let refused = Db::open(&path).unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. } | Error::Open { .. }), "{refused}");
}
