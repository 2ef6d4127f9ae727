//! Volumes.
use std::collections::BTreeMap;

use std::os::unix::fs::MetadataExt as _;

use shipway_model::{LayerId, VolumeName};
use shipway_store::{AtTarget, CommitOptions, Error, LayerOrigin, PrepareOptions, Seed, Store, VolumeWish};

use crate::made::{assert_sound, layer, made, when};

fn name(text: &str) -> VolumeName {
    text.parse().unwrap()
}

#[test]
fn a_volume_outlives_everything_but_its_removal() {
    let made = made();
    let labels = BTreeMap::from([("who".to_owned(), "me".to_owned())]);
    let volume = made.store.volumes().create(&name("data"), "", BTreeMap::new(), labels.clone()).unwrap();
    assert_eq!((volume.driver.as_str(), &volume.labels), ("local", &labels));
    std::fs::write(made.store.volumes().path(&name("data")).join("file"), "bytes").unwrap();
    let again = made.store.volumes().create(&name("data"), "local", BTreeMap::new(), BTreeMap::new()).unwrap();
    assert_eq!(again, volume, "creating it again answers with the first");
    made.store.collect().unwrap();
    let made = made.reopen();
    assert_eq!(made.store.volumes().list(), [volume]);
    let (bytes, inodes) = made.store.volumes().usage(&name("data")).unwrap();
    assert!(bytes > 0 && inodes == 1);
    assert!(made.store.volumes().remove(&name("data")).unwrap());
    assert!(!made.store.volumes().remove(&name("data")).unwrap());
    made.store.wait_for_trash();
    assert_eq!(std::fs::read_dir(made.path().join("volumes")).unwrap().count(), 0);
    let made = made.reopen();
    assert!(made.store.volumes().list().is_empty());
    assert_sound(&made.store);
}

#[test]
fn other_options_and_other_drivers_are_refused() {
    let made = made();
    let options = BTreeMap::from([("type", "tmpfs"), ("device", "tmpfs")].map(|(key, value)| (key.to_owned(), value.to_owned())));
    made.store.volumes().create(&name("data"), "", BTreeMap::new(), BTreeMap::new()).unwrap();
    let other = made.store.volumes().create(&name("data"), "", options, BTreeMap::new());
    assert!(matches!(other, Err(Error::Conflict { .. })));
    let driver = made.store.volumes().create(&name("other"), "nfs", BTreeMap::new(), BTreeMap::new());
    assert!(matches!(driver, Err(Error::NotFound { .. })));
}

fn wish(text: &str, seed: Option<Seed>) -> VolumeWish {
    VolumeWish { name: name(text), driver: String::new(), options: BTreeMap::new(), labels: BTreeMap::new(), seed }
}

fn use_volume(store: &Store, wish: VolumeWish) {
    let prepared = store.volumes().prepare(vec![wish]).unwrap();
    let rows = prepared.clone();
    store.publish(move |txn| rows.record(txn)).unwrap();
    store.volumes().finish(&prepared).unwrap();
}

fn seed_at(store: &Store, layers: &[LayerId], target: &str) -> Option<Seed> {
    match Seed::at(&store.tree(layers).unwrap(), target).unwrap() {
        AtTarget::Folder(seed) => Some(seed),
        _ => None,
    }
}

#[test]
fn an_empty_volume_gets_what_the_image_has_and_a_used_one_nothing() {
    let made = made();
    let first = layer(&made.store, &[], &[("seed/deep/file", "below"), ("seed/gone", "x"), ("other", "y")]);
    let snapshot = made.store.prepare(&[first.id], PrepareOptions::default()).unwrap();
    let top = snapshot.upper.join("seed");
    std::fs::create_dir(&top).unwrap();
    std::fs::write(top.join("one"), "one").unwrap();
    std::fs::hard_link(top.join("one"), top.join("two")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", top.join("link")).unwrap();
    std::os::unix::fs::symlink("../seed", snapshot.upper.join("way")).unwrap();
    let sparse = std::fs::File::create(top.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    shipway_sys::xattr::set(&sparse, b"user.colour", b"blue").unwrap();
    shipway_sys::path::set_owner(&sparse, 7, 8).unwrap();
    shipway_sys::path::set_mode(&sparse, 0o4750).unwrap();
    shipway_archive::whiteout::make_overlay_whiteout(
        &shipway_sys::path::Root::open(&top).unwrap().top().unwrap(),
        std::ffi::OsStr::new("gone"),
    )
    .unwrap();
    std::fs::set_permissions(&top, std::os::unix::fs::PermissionsExt::from_mode(0o2711)).unwrap();
    let second = snapshot.commit(CommitOptions { created: when(1), origin: LayerOrigin::Built, newest: None }).unwrap();
    let layers = [first.id, second.id];
    assert!(seed_at(&made.store, &layers, "/other").is_none() && seed_at(&made.store, &layers, "/nosuch").is_none());

    // Through a link of the image, as Docker does.
    use_volume(&made.store, wish("data", seed_at(&made.store, &layers, "/way")));
    let data = made.store.volumes().path(&name("data"));
    let mut names: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["deep", "link", "one", "sparse", "two"]);
    assert_eq!(std::fs::read_to_string(data.join("deep/file")).unwrap(), "below");
    assert_eq!(std::fs::read_link(data.join("link")).unwrap().to_str(), Some("/etc/shadow"));
    let look = |path: &str| std::fs::symlink_metadata(data.join(path)).unwrap();
    assert_eq!(look("one").ino(), look("two").ino());
    assert_eq!((look("sparse").uid(), look("sparse").gid(), look("sparse").mode() & 0o7777), (7, 8, 0o4750));
    assert!(look("sparse").blocks() * 512 < 1 << 20, "a hole stays a hole");
    let copied = std::fs::File::open(data.join("sparse")).unwrap();
    assert_eq!(shipway_sys::xattr::get(&copied, b"user.colour").unwrap().as_deref(), Some(&b"blue"[..]));
    assert_eq!(look("").mode() & 0o7777, 0o2711, "the folder itself looks like the image's");

    // The second use finds something there.
    std::fs::remove_file(data.join("one")).unwrap();
    use_volume(&made.store, wish("data", seed_at(&made.store, &layers, "/seed")));
    assert!(!data.join("one").exists());
    let made = made.reopen();
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 4);
    assert_sound(&made.store);
}

#[test]
fn what_is_prepared_and_not_recorded_is_gone() {
    let made = made();
    let layers = [layer(&made.store, &[], &[("seed/file", "x")]).id];
    made.store.volumes().create(&name("old"), "", BTreeMap::new(), BTreeMap::new()).unwrap();
    let seed = seed_at(&made.store, &layers, "/seed");
    drop(made.store.volumes().prepare(vec![wish("new", seed.clone()), wish("old", seed)]).unwrap());
    made.store.wait_for_trash();
    assert!(made.store.volumes().get(&name("new")).is_none() && !made.path().join("volumes/new").exists());
    assert_eq!(std::fs::read_dir(made.path().join("volumes/old")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(made.store.volumes().path(&name("old"))).unwrap().count(), 0);
    assert_sound(&made.store);
}
