//! Volumes.
use std::collections::BTreeMap;

use shipway_model::VolumeName;
use shipway_store::Error;

use crate::made::{assert_sound, made};

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
    let options = BTreeMap::from([("size".to_owned(), "1g".to_owned())]);
    made.store.volumes().create(&name("data"), "", BTreeMap::new(), BTreeMap::new()).unwrap();
    let other = made.store.volumes().create(&name("data"), "", options, BTreeMap::new());
    assert!(matches!(other, Err(Error::Conflict { .. })));
    let driver = made.store.volumes().create(&name("other"), "nfs", BTreeMap::new(), BTreeMap::new());
    assert!(matches!(driver, Err(Error::NotFound { .. })));
}
