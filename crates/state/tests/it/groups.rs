//! Group commit: many writers, one transaction; lazy writes; the lone writer; what survives a kill.
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shipway_state::{Db, Error, Table};

use crate::scratch;

const ROWS: Table<String, u32> = Table::new("rows");

#[test]
fn writers_that_come_together_all_commit_and_a_failing_one_takes_nobody_along() {
    let (_folder, db) = scratch();
    let failed = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..16_u32 {
            let (db, failed) = (&db, Arc::clone(&failed));
            scope.spawn(move || {
                for number in 0..20_u32 {
                    let answer = db.write(move |txn| {
                        txn.put(&ROWS, &format!("{thread}-{number}"), &number)?;
                        if number % 5 == 4 { Err(Error::Closed) } else { Ok(()) }
                    });
                    if answer.is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(failed.load(Ordering::Relaxed), 16 * 4);
    assert_eq!(db.read(|txn| txn.count(&ROWS)).unwrap(), 16 * 16);
}

#[test]
fn a_lazy_write_is_visible_at_once() {
    let (_folder, db) = scratch();
    db.write_lazy::<_, Error>(|txn| txn.put(&ROWS, &"a".to_owned(), &1)).unwrap();
    assert_eq!(db.read(|txn| txn.get(&ROWS, &"a".to_owned())).unwrap(), Some(1));
}

#[test]
fn callbacks_run_in_commit_order_before_the_writer_hears() {
    let (_folder, db) = scratch();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    for number in 0..10_u32 {
        let log = Arc::clone(&seen);
        db.write::<_, Error>(move |txn| {
            txn.put(&ROWS, &number.to_string(), &number)?;
            txn.on_commit(move || log.lock().unwrap().push(number));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.lock().unwrap().last(), Some(&number));
    }
}

#[test]
fn inside_a_lone_write_every_earlier_callback_has_run() {
    let (_folder, db) = scratch();
    let memory = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8_u32 {
            let (db, memory) = (&db, Arc::clone(&memory));
            scope.spawn(move || {
                for number in 0..30_u32 {
                    let follow = Arc::clone(&memory);
                    db.write::<_, Error>(move |txn| {
                        txn.put(&ROWS, &format!("{thread}-{number}"), &number)?;
                        txn.on_commit(move || {
                            follow.fetch_add(1, Ordering::SeqCst);
                        });
                        Ok(())
                    })
                    .unwrap();
                    if number % 10 == 0 {
                        let copy = Arc::clone(&memory);
                        db.write_alone::<_, Error>(move |txn| {
                            assert_eq!(txn.count(&ROWS)? as usize, copy.load(Ordering::SeqCst));
                            Ok(())
                        })
                        .unwrap();
                    }
                }
            });
        }
    });
}

/// The child of the next test: writes rows and prints each number after its write returned, until it dies.
#[test]
fn child_that_writes() {
    let Ok(path) = std::env::var("SHIPWAY_STATE_CHILD") else { return };
    let db = Db::open(path.as_ref()).unwrap();
    for number in 0..200_u32 {
        db.write::<_, Error>(move |txn| txn.put(&ROWS, &format!("{number:04}"), &number)).unwrap();
        eprintln!("acknowledged {number}");
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_at_any_point() {
    for point in ["state.commit.before", "state.commit.after"] {
        for pass in [1, 2, 7] {
            let folder = tempfile::tempdir_in("/dev/shm").unwrap();
            let path = folder.path().join("state.db");
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "groups::child_that_writes", "--nocapture", "--test-threads=1"])
                .env("SHIPWAY_STATE_CHILD", &path)
                .env("SHIPWAY_FAULT", format!("{point}:{pass}"))
                .output()
                .unwrap();
            assert!(!child.status.success(), "the child was to die at {point}:{pass}");
            let acknowledged = String::from_utf8_lossy(&child.stderr).lines().filter(|line| line.starts_with("acknowledged")).count();
            let db = Db::open(&path).unwrap();
            let rows = db.read(|txn| txn.count(&ROWS)).unwrap() as usize;
            assert!(rows == acknowledged || rows == acknowledged + 1, "{rows} rows, {acknowledged} acknowledged at {point}:{pass}");
            assert_eq!(db.check_integrity().unwrap(), Vec::<String>::new());
        }
    }
}
