//! Snapshots and layers.
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use shipway_store::{CommitOptions, Error, LayerOrigin, PrepareOptions};

use crate::made::{assert_sound, layer, made, random_tree, when};

const BUILT: LayerOrigin = LayerOrigin::Built;

#[test]
fn equal_content_is_stored_once_and_keeps_its_first_time() {
    let made = made();
    let build = |created| {
        let snapshot = made.store.prepare(&[], PrepareOptions::default()).unwrap();
        let file = snapshot.upper.join("greeting");
        std::fs::write(&file, "hello").unwrap();
        let time = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        std::fs::File::open(&file).unwrap().set_times(time).unwrap();
        std::fs::File::open(&snapshot.upper).unwrap().set_times(time).unwrap();
        snapshot.commit(CommitOptions { created: when(created), origin: BUILT, newest: None }).unwrap()
    };
    let (first, second) = (build(100), build(200));
    assert_eq!(first, second);
    assert_eq!(second.created, when(100));
    made.store.flush().unwrap();
    made.store.wait_for_trash();
    assert_eq!(std::fs::read_dir(made.path().join("layers")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(made.path().join("active")).unwrap().count(), 0);
    assert_eq!(made.store.layer_by_diff_id(&first.diff_id), Some(first.id));
}

/// Three steps that change nothing are one layer three times; overlayfs refuses a folder that it is given twice.
#[test]
fn a_layer_that_a_stack_has_several_times_is_mounted_once() {
    let made = made();
    let empty = made.store.empty_layer(None).unwrap().id;
    let snapshot = made.store.prepare(&[], PrepareOptions::default()).unwrap();
    std::fs::write(snapshot.upper.join("greeting"), "hello").unwrap();
    let other = snapshot.commit(CommitOptions { created: when(100), origin: BUILT, newest: None }).unwrap().id;
    let folder = |layer| made.store.folders_of(layer).remove(0);
    assert_eq!(made.store.mount_of(&[empty, other, empty, empty]), [folder(&empty), folder(&other)]);
}

#[test]
fn there_is_one_empty_layer() {
    let made = made();
    let first = made.store.empty_layer(None).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(made.store.empty_layer(None).unwrap().id, first.id);
    assert_eq!(first.content_size, 0);
}

#[test]
fn a_dropped_snapshot_leaves_nothing_and_a_kept_one_survives_a_restart() {
    let made = made();
    let base = layer(&made.store, &[], &[("a", "1")]);
    drop(made.store.prepare(&[base.id], PrepareOptions::default()).unwrap());
    let options = PrepareOptions { name: Some("c0ffee".to_owned()), lease: None };
    let snapshot = made.store.prepare(&[base.id], options.clone()).unwrap();
    assert!(matches!(made.store.prepare(&[], options), Err(Error::Conflict { .. })));
    std::fs::write(snapshot.upper.join("mine"), "x").unwrap();
    snapshot.keep();
    let lost = made.store.prepare(&[base.id], PrepareOptions { name: Some("abandoned".to_owned()), lease: None }).unwrap();
    made.store.flush().unwrap();
    std::mem::forget(lost);
    let made = {
        // The forgotten snapshot keeps a part of the old store alive, as a killed process would leave its folder behind.
        let copy = tempfile::tempdir_in("/dev/shm").unwrap();
        assert!(std::process::Command::new("cp").arg("-a").arg(made.path()).arg(copy.path().join("root")).status().unwrap().success());
        let store = crate::made::open(&copy.path().join("root"));
        crate::made::Made { folder: copy, store }
    };
    made.store.wait_for_trash();
    assert!(!made.store.root().join("active/abandoned").exists());
    let again = made.store.open_active("c0ffee").unwrap();
    assert_eq!(again.parents, [base.id]);
    assert_eq!(std::fs::read_to_string(again.upper.join("mine")).unwrap(), "x");
    drop(again);
    assert!(made.store.root().join("active/c0ffee/upper").is_dir(), "closing a kept snapshot does not discard it");
    assert_eq!(made.store.list_active().len(), 1);
    assert!(made.store.remove_active("c0ffee").unwrap());
    assert!(!made.store.remove_active("c0ffee").unwrap());
    made.store.wait_for_trash();
    assert_eq!(std::fs::read_dir(made.store.root().join("active")).unwrap().count(), 0);
    assert_sound(&made.store);
}

#[test]
fn names_of_snapshots_cannot_leave_their_folder() {
    let made = made();
    for bad in ["", "..", "a/b", "../x", "a b", &"x".repeat(200)] {
        let refused = made.store.prepare(&[], PrepareOptions { name: Some((*bad).to_owned()), lease: None });
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{bad:?}");
    }
}

#[test]
fn the_top_folder_of_a_snapshot_is_open_to_everyone_whatever_the_layers_say() {
    let made = made();
    let snapshot = made.store.prepare(&[], PrepareOptions::default()).unwrap();
    // As in an archive made of a fresh temporary folder.
    std::fs::set_permissions(&snapshot.upper, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&snapshot.upper, Some(12), Some(34)).unwrap();
    let base = snapshot.commit(CommitOptions { created: when(1), origin: BUILT, newest: None }).unwrap();
    let next = made.store.prepare(&[base.id], PrepareOptions::default()).unwrap();
    let top = std::fs::metadata(&next.upper).unwrap();
    assert_eq!((top.mode() & 0o7777, top.uid(), top.gid()), (0o755, 0, 0));
}

#[test]
fn random_layers_give_the_same_tar_again_and_pass_the_strict_check() {
    let made = made();
    let mut parents = Vec::new();
    for seed in 1..=6 {
        let snapshot = made.store.prepare(&parents, PrepareOptions::default()).unwrap();
        random_tree(&snapshot.upper, seed * 7919, 60);
        let layer = snapshot.commit(CommitOptions { created: when(1), origin: BUILT, newest: None }).unwrap();
        let mut tar = Vec::new();
        made.store.write_layer(&layer.id, &mut tar).unwrap();
        assert_eq!(tar.len() as u64, layer.tar_size);
        parents.push(layer.id);
    }
    made.store.flush().unwrap();
    assert_sound(&made.store);
    let made = made.reopen();
    assert_sound(&made.store);
    assert_eq!(made.store.mount_of(&parents).first(), made.store.folders_of(parents.last().unwrap()).first());
}

#[test]
fn a_tree_shows_the_uppermost_file_and_opens_it() {
    use std::io::Read as _;
    let made = made();
    let base = layer(&made.store, &[], &[("etc/name", "old"), ("etc/other", "same")]);
    let top = layer(&made.store, &[base.id], &[("etc/name", "new")]);
    let tree = made.store.tree(&[base.id, top.id]).unwrap();
    let read = |path: &str| {
        let mut text = String::new();
        tree.open(path.as_ref()).unwrap().read_to_string(&mut text).unwrap();
        text
    };
    assert_eq!((read("etc/name"), read("/etc/other")), ("new".to_owned(), "same".to_owned()));
    assert!(matches!(tree.open("etc/nothing".as_ref()), Err(Error::NotFound { .. })));
    let (owner, path) = tree.layer_path("etc/other".as_ref()).unwrap().unwrap();
    assert_eq!(owner, base.id);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "same");
}
