//! Rows: what is written is read back, in order, after a reopen, and nothing of a failed closure.
use serde::{Deserialize, Serialize};
use shipway_state::{Codec, Db, Error, Table};

use crate::scratch;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Fruit {
    colour: String,
    grams: u32,
}

const FRUITS: Table<String, Fruit> = Table::new("fruits");
const RAW: Table<u8, Vec<u8>> = Table::with_codec("raw", Codec { encode: |v| Ok(v.clone()), decode: |b| Ok(b.to_vec()) });

fn fruit(colour: &str) -> Fruit {
    Fruit { colour: colour.to_owned(), grams: 7 }
}

fn put(db: &Db, name: &str, colour: &str) {
    let (name, fruit) = (name.to_owned(), fruit(colour));
    db.write::<_, Error>(move |txn| txn.put(&FRUITS, &name, &fruit)).unwrap();
}

#[test]
fn rows_come_back_in_order_after_a_reopen() {
    let (folder, db) = scratch();
    assert_eq!(db.read(|txn| txn.scan(&FRUITS)).unwrap(), vec![], "a table nobody wrote is an empty one");
    for name in ["pear", "apple", "plum", "apricot"] {
        put(&db, name, "green");
    }
    put(&db, "apple", "red");
    drop(db);
    let db = Db::open(&folder.path().join("state.db")).unwrap();
    let names: Vec<String> = db.read(|txn| txn.scan(&FRUITS)).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["apple", "apricot", "pear", "plum"]);
    assert_eq!(db.read(|txn| txn.get(&FRUITS, &"apple".to_owned())).unwrap(), Some(fruit("red")));
    let prefixed = db.read(|txn| txn.scan_prefix(&FRUITS, "ap")).unwrap();
    assert_eq!(prefixed.len(), 2);
    assert_eq!(db.read(|txn| txn.count(&FRUITS)).unwrap(), 4);
}

#[test]
fn a_failed_closure_leaves_nothing_and_runs_no_callback() {
    let (_folder, db) = scratch();
    let (sender, receiver) = std::sync::mpsc::channel();
    let failed = db.write(move |txn| {
        txn.put(&FRUITS, &"kiwi".to_owned(), &fruit("brown"))?;
        txn.on_commit(move || sender.send(()).unwrap());
        Err::<(), _>(Error::Closed)
    });
    assert!(matches!(failed, Err(Error::Closed)));
    assert!(receiver.recv().is_err(), "the callback was dropped unrun");
    assert_eq!(db.read(|txn| txn.count(&FRUITS)).unwrap(), 0);
    // The table was made by what was rolled back; every kind of access must cope with statements prepared when it existed.
    let again = db.write::<_, Error>(|txn| {
        assert_eq!(txn.get(&FRUITS, &"kiwi".to_owned())?, None);
        assert_eq!(txn.scan(&FRUITS)?, vec![]);
        assert!(!txn.remove(&FRUITS, &"kiwi".to_owned())?);
        txn.put(&FRUITS, &"kiwi".to_owned(), &fruit("green"))
    });
    again.unwrap();
}

#[test]
fn a_panic_in_a_closure_rolls_back_and_reaches_the_caller() {
    let (_folder, db) = scratch();
    let in_thread = db.clone();
    let panicked = std::thread::spawn(move || {
        in_thread.write::<(), Error>(|txn| {
            txn.put(&FRUITS, &"kiwi".to_owned(), &fruit("brown"))?;
            panic!("in the middle");
        })
    })
    .join();
    assert!(panicked.is_err());
    assert_eq!(db.read(|txn| txn.count(&FRUITS)).unwrap(), 0);
    put(&db, "kiwi", "green");
    assert_eq!(db.read(|txn| txn.count(&FRUITS)).unwrap(), 1);
}

#[test]
fn a_write_inside_a_write_is_refused_instead_of_hanging() {
    let (_folder, db) = scratch();
    let inner = db.clone();
    let nested = db.write(move |_| inner.write(|_| Ok::<(), Error>(())));
    assert!(matches!(nested, Err(Error::Nested)));
}

#[test]
fn a_reader_sees_one_moment() {
    let (_folder, db) = scratch();
    put(&db, "apple", "red");
    db.read::<(), Error>(|txn| {
        assert_eq!(txn.count(&FRUITS)?, 1);
        put(&db, "pear", "green");
        assert_eq!(txn.count(&FRUITS)?, 1, "the pear came after this reader began");
        Ok(())
    })
    .unwrap();
    assert_eq!(db.read(|txn| txn.count(&FRUITS)).unwrap(), 2);
}

#[test]
fn an_unreadable_row_is_named_and_does_not_hide_the_others() {
    let (_folder, db) = scratch();
    const OTHER: Table<String, u32> = Table::new("fruits");
    put(&db, "apple", "red");
    db.write::<_, Error>(|txn| txn.put(&OTHER, &"stone".to_owned(), &5)).unwrap();
    let strict = db.read(|txn| txn.scan(&FRUITS)).unwrap_err();
    assert!(matches!(&strict, Error::Unreadable { table: "fruits", key, .. } if key == "stone"), "{strict}");
    let (rows, errors) = db.read(|txn| txn.scan_lenient(&FRUITS)).unwrap();
    assert_eq!((rows.len(), errors.len()), (1, 1));
    assert!(db.write::<_, Error>(|txn| txn.remove_text("fruits", "stone")).unwrap());
    assert_eq!(db.read(|txn| txn.scan(&FRUITS)).unwrap().len(), 1);
}

#[test]
fn own_codecs_store_bytes_as_they_are() {
    let (_folder, db) = scratch();
    db.write::<_, Error>(|txn| txn.put(&RAW, &9, &vec![0, 255, 7])).unwrap();
    assert_eq!(db.read(|txn| txn.get(&RAW, &9)).unwrap(), Some(vec![0, 255, 7]));
    assert!(db.write::<_, Error>(|txn| txn.remove(&RAW, &9)).unwrap());
    assert!(!db.write::<_, Error>(|txn| txn.remove(&RAW, &9)).unwrap());
}

#[test]
fn after_close_writes_are_refused_and_reads_go_on() {
    let (_folder, db) = scratch();
    put(&db, "apple", "red");
    db.close().unwrap();
    assert!(matches!(db.write(|_| Ok::<(), Error>(())), Err(Error::Closed)));
    assert_eq!(db.read(|txn| txn.count(&FRUITS)).unwrap(), 1);
}

#[test]
fn after_a_disk_failure_nothing_is_written_any_more() {
    let (_folder, db) = scratch();
    put(&db, "apple", "red");
    db.degrade("syncfs: input/output error".to_owned());
    let refused = db.write(|_| Ok::<(), Error>(()));
    assert!(matches!(refused, Err(Error::Degraded { .. })));
    assert_eq!(db.read(|txn| txn.count(&FRUITS)).unwrap(), 1);
    assert_eq!(db.degraded().as_deref(), Some("syncfs: input/output error"));
}

#[test]
fn a_sound_file_has_no_findings_and_a_torn_one_has() {
    let (folder, db) = scratch();
    for number in 0..2000 {
        put(&db, &format!("fruit {number:05}"), &"x".repeat(200));
        if number == 50 {
            assert_eq!(db.check_integrity().unwrap(), Vec::<String>::new());
            break;
        }
    }
    drop(db);
    let path = folder.path().join("state.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 2048].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    match Db::open(&path) {
        Ok(db) => match db.check_integrity() {
            Ok(findings) => assert!(!findings.is_empty()),
            Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{error}"),
        },
        Err(error) => assert!(matches!(error, Error::Corrupt { .. } | Error::Open { .. }), "{error}"),
    }
}
