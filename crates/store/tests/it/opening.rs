//! Opening a root: the lock, what is swept, what is found damaged.
use shipway_model::{Classified as _, ErrorKind};
use shipway_store::{Error, Store, StoreConfig};

use crate::made::{assert_sound, image, layer, made, open};

#[test]
fn a_root_in_use_is_refused_with_the_pid_of_its_holder() {
    let made = made();
    let refused = Store::open(StoreConfig { root: made.path().to_owned() }).unwrap_err();
    assert!(matches!(&refused, Error::Locked { pid, .. } if *pid == std::process::id()), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    // A leftover lock file of a dead process is no obstacle.
    let made = made.reopen();
    assert_sound(&made.store);
}

#[test]
fn leftovers_are_swept_and_what_has_a_row_stays() {
    let made = made();
    let base = layer(&made.store, &[], &[("a", "1")]);
    image(&made.store, &[base.id], "app");
    let root = made.path().to_owned();
    let folder = made.folder;
    drop(made.store);
    for name in ["layers/0123456789abcdef0123", "layers/nonsense", "active/dead", "tmp/half", "volumes/empty/_data", "blobs/sha256/abc"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
        std::fs::write(root.join(name).parent().unwrap().join(".keep"), "").ok();
    }
    std::fs::create_dir_all(root.join("volumes/precious/_data")).unwrap();
    std::fs::write(root.join("volumes/precious/_data/photos"), "x").unwrap();
    for name in ["layers", "active", "tmp", "blobs/sha256", "volumes"] {
        std::fs::remove_file(root.join(name).join(".keep")).ok();
    }
    std::fs::remove_file(root.join("volumes/empty/.keep")).ok();
    let store = open(&root);
    store.wait_for_trash();
    assert_eq!(std::fs::read_dir(root.join("layers")).unwrap().count(), 1);
    for name in ["active", "tmp", "trash", "blobs/sha256"] {
        assert_eq!(std::fs::read_dir(root.join(name)).unwrap().count(), 0, "{name}");
    }
    assert!(!root.join("volumes/empty").exists());
    assert!(root.join("volumes/precious/_data/photos").exists(), "a volume's bytes are the user's, row or not");
    assert!(store.layer(&base.id).is_some());
    drop(folder);
}

#[test]
fn a_blob_that_came_whole_waits_for_the_next_pull() {
    let made = made();
    let root = made.path().to_owned();
    let folder = made.folder;
    drop(made.store);
    let digest = shipway_model::Digest::sha256_of(b"fetched with patience");
    std::fs::write(root.join("blobs/sha256").join(digest.hex()), "fetched with patience").unwrap();
    let store = open(&root);
    assert!(!store.blobs().has(&digest), "nobody was told of it");
    let download = store.download(&digest, 21).unwrap();
    assert_eq!(download.received(), 21);
    // Whoever had it before and leaves only now takes nothing from who goes on.
    drop(store.download(&digest, 21).unwrap());
    // A prune throws away what nobody is going on with, and only that.
    let other = shipway_model::Digest::sha256_of(b"nobody came back");
    std::fs::write(root.join("partial").join(other.hex()), "nobody").unwrap();
    assert_eq!(store.forget_broken_downloads().unwrap(), 6);
    assert!(!root.join("partial").join(other.hex()).exists());
    download.commit(&store.lease(), &digest).unwrap();
    assert!(store.blobs().has(&digest));
    assert_sound(&store);
    drop(folder);
}

#[test]
fn a_layer_without_its_folder_is_refused_where_it_is_used_and_its_image_is_still_listed() {
    let made = made();
    let base = layer(&made.store, &[], &[("a", "1")]);
    let id = image(&made.store, &[base.id], "app");
    let root = made.path().to_owned();
    let folder = made.folder;
    drop(made.store);
    std::fs::remove_dir_all(root.join(format!("layers/{}", base.id))).unwrap();
    let store = open(&root);
    assert!(store.images().get(&id).is_some());
    assert!(store.layer(&base.id).is_none());
    assert_eq!(store.layer_by_diff_id(&base.diff_id), None);
    assert!(!store.lease().add_layer(&base.id));
    assert!(matches!(store.prepare(&[base.id], Default::default()), Err(Error::Corrupt { .. })));
    // The same content made again is a layer of its own, since the old one cannot be used.
    let again = layer(&store, &[], &[("a", "1")]);
    assert_ne!(again.id, base.id);
    drop(folder);
}

#[test]
fn a_root_of_a_newer_version_is_refused() {
    let made = made();
    let root = made.path().to_owned();
    let folder = made.folder;
    drop(made.store);
    let options = shipway_state::DbOptions { version: 2, migrations: &[shipway_state::Migration { to: 2, run: |_| Ok(()) }] };
    drop(shipway_state::Db::open_with(&root.join("state.db"), options).unwrap());
    let refused = Store::open(StoreConfig { root }).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    drop(folder);
}
