//! Notes of half-done work.
use serde_json::json;
use shipway_state::{Db, Error, IntentLog};

use crate::scratch;

#[test]
fn an_open_intent_is_found_after_a_reopen_and_numbers_are_never_used_twice() {
    let (folder, db) = scratch();
    let first = db.write::<_, Error>(|txn| IntentLog::open(txn, "starting", "web", json!({"port": 80}))).unwrap();
    let second = db.write::<_, Error>(|txn| IntentLog::open(txn, "removing", "db", json!(null))).unwrap();
    assert!(db.write::<_, Error>(move |txn| IntentLog::close(txn, second)).unwrap());
    assert!(!db.write::<_, Error>(move |txn| IntentLog::close(txn, second)).unwrap());
    drop(db);
    let db = Db::open(&folder.path().join("state.db")).unwrap();
    let pending = db.read(IntentLog::pending).unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!((pending[0].id, pending[0].kind.as_str(), pending[0].subject.as_str()), (first, "starting", "web"));
    assert_eq!(pending[0].payload, json!({"port": 80}));
    let third = db.write::<_, Error>(|txn| IntentLog::open(txn, "starting", "web", json!(null))).unwrap();
    assert!(third > second);
}
