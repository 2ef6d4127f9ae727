//! What keeps a layer alive, and that nothing else does.
use std::sync::atomic::{AtomicBool, Ordering};

use shipway_store::{CommitOptions, Error, LayerOrigin, PrepareOptions};

use crate::cache::{key, record};
use crate::made::{assert_sound, image, layer, made, name, try_image, when};

#[test]
fn each_reason_keeps_a_layer_and_the_last_one_gone_frees_it() {
    let made = made();
    let store = &made.store;
    let base = layer(store, &[], &[("a", "some content")]);
    store.flush().unwrap();

    let lease = store.lease();
    assert!(lease.add_layer(&base.id));
    assert_eq!(store.collect().unwrap().layers, [], "a lease keeps it");

    let snapshot = store.prepare(&[base.id], PrepareOptions::default()).unwrap();
    drop(lease);
    assert_eq!(store.collect().unwrap().layers, [], "an open snapshot keeps it");

    let (worker, id) = (store.clone(), base.id);
    store.publish(move |txn| worker.hold(txn, "container:1", &[id], None)).unwrap();
    drop(snapshot);
    assert_eq!(store.collect().unwrap().layers, [], "a hold keeps it");

    store.cache().record(record(1, Some(base.id)));
    let worker = store.clone();
    assert!(store.publish(move |txn| worker.release(txn, "container:1")).unwrap());
    assert_eq!(store.collect().unwrap().layers, [], "a cache record keeps it");

    let app = image(store, &[base.id], "app");
    store.cache().remove(&[key(1)]).unwrap();
    assert_eq!(store.collect().unwrap().layers, [], "an image keeps it");

    let worker = store.clone();
    store.publish(move |txn| worker.images().remove(txn, &app)).unwrap();
    let collected = store.collect().unwrap();
    assert_eq!(collected.layers, [base.id]);
    assert_eq!(collected.bytes, base.content_size);
    store.wait_for_trash();
    assert_eq!(std::fs::read_dir(made.path().join("layers")).unwrap().count(), 0);
    assert_eq!(store.collect().unwrap(), Default::default());
    assert_sound(store);
    assert_sound(&made.reopen().store);
}

/// The registry beside the engine links blobs: what it still has gives no disk back.
#[test]
fn bytes_that_another_name_keeps_are_not_counted_as_freed() {
    let made = made();
    let store = &made.store;
    let (linked, alone) = (store.blobs().put(b"linked").unwrap(), store.blobs().put(b"alone").unwrap());
    store.flush().unwrap();
    std::fs::hard_link(made.path().join("blobs/sha256").join(linked.hex()), made.path().join("elsewhere")).unwrap();
    let collected = store.collect().unwrap();
    assert_eq!((collected.blobs.len(), collected.bytes), (2, 5), "{alone} is the one that goes");
    assert_eq!(std::fs::read(made.path().join("elsewhere")).unwrap(), b"linked");
}

#[test]
fn a_patch_keeps_its_base_and_falls_with_it() {
    let made = made();
    let store = &made.store;
    let base = layer(store, &[], &[("a", "1"), ("b", "2")]);
    let lease = store.lease();
    assert!(lease.add_layer(&base.id));
    let snapshot = store.prepare(&[], PrepareOptions::default()).unwrap();
    std::fs::write(snapshot.upper.join("b"), "edited").unwrap();
    let patch = snapshot.commit_over(Some(base.id), CommitOptions { created: when(2), origin: LayerOrigin::Built, newest: None }).unwrap();
    assert_eq!((patch.base, patch.content_size), (Some(base.id), 7));
    let app = image(store, &[patch.id], "app");
    drop(lease);
    assert_eq!(store.collect().unwrap().layers, [], "the patch needs its base");
    let mut tar = Vec::new();
    store.write_layer(&patch.id, &mut tar).unwrap();
    assert_eq!(
        store.tree(&[patch.id]).unwrap().layer_path(std::path::Path::new("a")).unwrap().unwrap().1,
        made.path().join(format!("layers/{}/diff/a", base.id))
    );
    assert_sound(store);
    let again = made.reopen();
    assert_sound(&again.store);
    // Without its base a patch is nothing: the repair takes it away, and the image with it.
    std::fs::remove_dir_all(again.path().join(format!("layers/{}", base.id))).unwrap();
    let torn = again.reopen();
    let options = shipway_store::FsckOptions { repair: true, ..Default::default() };
    let findings = torn.store.fsck(options).unwrap().findings;
    assert!(findings.iter().any(|finding| finding.place == patch.id.to_string()), "{findings:?}");
    assert!(torn.store.images().get(&app).is_none() && torn.store.layer(&patch.id).is_none());
    assert_sound(&torn.store);
}

#[test]
fn what_is_not_published_yet_is_never_collected() {
    let made = made();
    let base = layer(&made.store, &[], &[("a", "1")]);
    let blob = made.store.blobs().put(b"fresh").unwrap();
    assert_eq!(made.store.collect().unwrap(), Default::default());
    assert!(try_image(&made.store, &[base.id], "app").is_ok());
    assert_eq!(made.store.collect().unwrap().blobs, [blob]);
    assert!(made.store.layer(&base.id).is_some());
}

#[test]
fn nothing_can_refer_to_what_was_collected() {
    let made = made();
    let base = layer(&made.store, &[], &[("a", "1")]);
    let new = crate::made::new_image(&made.store, &[base.id], "late");
    made.store.flush().unwrap();
    assert_eq!(made.store.collect().unwrap().layers, [base.id]);
    let (worker, id) = (made.store.clone(), base.id);
    assert!(matches!(made.store.publish(move |txn| worker.hold(txn, "late", &[id], None)), Err(Error::NotFound { .. })));
    let worker = made.store.clone();
    assert!(matches!(made.store.publish(move |txn| worker.images().put(txn, new)), Err(Error::NotFound { .. })));
    assert!(!made.store.lease().add_layer(&base.id));
    assert!(made.store.prepare(&[base.id], PrepareOptions::default()).is_err());
}

#[test]
fn collecting_in_a_loop_never_takes_what_builds_need() {
    let made = made();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (store, done) = (&made.store, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                store.collect().unwrap();
            }
        });
        let builders: Vec<_> = (0..4)
            .map(|builder| {
                scope.spawn(move || {
                    for round in 0..15 {
                        let lease = store.lease();
                        let mut stack = Vec::new();
                        for step in 0..3 {
                            let options = PrepareOptions { name: None, lease: Some(lease.clone()) };
                            let snapshot = store.prepare(&stack, options).unwrap();
                            // Every other round repeats the content of another builder, so that layers are reused and collected in turns.
                            let who = if round % 2 == 0 { builder } else { 9 };
                            let file = snapshot.upper.join("file");
                            std::fs::write(&file, format!("{who} {round} {step}")).unwrap();
                            let times = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
                            std::fs::File::open(&file).unwrap().set_times(times).unwrap();
                            std::fs::File::open(&snapshot.upper).unwrap().set_times(times).unwrap();
                            let commit = CommitOptions { created: when(1), origin: LayerOrigin::Built, newest: None };
                            stack.push(snapshot.commit(commit).unwrap().id);
                        }
                        let text = format!("app{builder}:r{round}");
                        let id = try_image(store, &stack, &text).unwrap();
                        drop(lease);
                        if round % 3 == 0 {
                            let worker = store.clone();
                            store.publish(move |txn| worker.images().remove(txn, &id)).unwrap();
                        } else {
                            assert_eq!(store.images().tagged(&name(&text)), Some(id));
                        }
                    }
                })
            })
            .collect();
        builders.into_iter().for_each(|builder| builder.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    made.store.collect().unwrap();
    assert_sound(&made.store);
    let expected: std::collections::HashSet<_> = made.store.images().list().iter().flat_map(|image| image.layers.clone()).collect();
    assert_eq!(made.store.layers().len(), expected.len());
    assert_sound(&made.reopen().store);
}

#[test]
fn usage_counts_each_layer_once() {
    let made = made();
    let base = layer(&made.store, &[], &[("a", &"x".repeat(1000))]);
    let top = layer(&made.store, &[base.id], &[("b", &"y".repeat(500))]);
    let other = layer(&made.store, &[base.id], &[("c", &"z".repeat(300))]);
    let app = image(&made.store, &[base.id, top.id], "app");
    let tool = image(&made.store, &[base.id, other.id], "tool");
    let only_cached = layer(&made.store, &[], &[("d", &"w".repeat(40))]);
    made.store.cache().record(record(1, Some(only_cached.id)));
    made.store.cache().record(record(2, Some(base.id)));
    let (worker, id) = (made.store.clone(), base.id);
    made.store.publish(move |txn| worker.hold(txn, "container:1", &[id, top.id], Some(app))).unwrap();
    let usage = made.store.usage().unwrap();
    assert_eq!((usage.images.total, usage.images.active, usage.images.size, usage.images.reclaimable), (2, 1, 1800, 300));
    let mut each = vec![(app, 500, 1000), (tool, 300, 1000)];
    each.sort();
    assert_eq!(usage.images.each, each);
    assert_eq!((usage.cache.records, usage.cache.size, usage.cache.reclaimable), (2, 1040, 40));
    assert_eq!(usage.layers_total, 1840);
}
