//! fsck: a sound store has no findings; every kind of damage is named and repaired as far as that is possible.
use std::path::Path;

use shipway_store::{FindingKind, FsckOptions, FsckReport, Store};

use crate::cache::{key, record};
use crate::made::{Made, assert_sound, image, layer, made, open};

const FAST: FsckOptions = FsckOptions { strict: false, repair: false };
const STRICT: FsckOptions = FsckOptions { strict: true, repair: false };
const REPAIR: FsckOptions = FsckOptions { strict: true, repair: true };

fn kinds(report: &FsckReport) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

/// A store with an image, a cache record and a hold on the same layer, closed; what `damage` does to it; and what is found then.
fn damaged(damage: impl FnOnce(&Path, &str)) -> (Made, FsckReport) {
    let made = made();
    let base = layer(&made.store, &[], &[("etc/file", "content"), ("etc/other", "more")]);
    image(&made.store, &[base.id], "app");
    made.store.cache().record(record(1, Some(base.id)));
    made.store.flush().unwrap();
    let sound = layer(&made.store, &[], &[("x", "untouched")]);
    image(&made.store, &[sound.id], "sound");
    let Made { folder, store } = made;
    drop(store);
    damage(folder.path(), &base.id.to_string());
    let store = open(folder.path());
    let report = store.fsck(STRICT).unwrap();
    (Made { folder, store }, report)
}

fn repaired(store: &Store) {
    let report = store.fsck(REPAIR).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_sound(store);
    assert_eq!(store.images().names(&store.images().resolve("sound").unwrap()).len(), 1, "what is sound is not touched");
}

#[test]
fn a_byte_changed_in_a_layer_is_found_by_name_and_its_image_goes_with_it() {
    let (made, report) = damaged(|root, layer| {
        let file = root.join("layers").join(layer).join("diff/etc/file");
        std::fs::write(&file, "contenT").unwrap();
    });
    assert_eq!(kinds(&report), [FindingKind::Layer]);
    assert!(report.findings[0].what.contains("etc/file"), "{}", report.findings[0].what);
    assert_eq!(made.store.fsck(FAST).unwrap().findings, [], "only reading the bytes can show it");
    repaired(&made.store);
    assert!(made.store.images().resolve("app").is_err());
    assert!(made.store.cache().lookup(&key(1)).is_none());
    assert_sound(&made.reopen().store);
}

#[test]
fn a_missing_layer_is_found_by_the_fast_check() {
    let (made, report) = damaged(|root, layer| std::fs::remove_dir_all(root.join("layers").join(layer)).unwrap());
    assert_eq!(kinds(&report), [FindingKind::Layer, FindingKind::Image, FindingKind::Cache]);
    assert_eq!(made.store.fsck(FAST).unwrap().findings.len(), 3);
    repaired(&made.store);
}

#[test]
fn a_torn_index_and_an_exchanged_one_are_found() {
    let (made, report) = damaged(|root, layer| {
        let index = root.join("layers").join(layer).join("index");
        let bytes = std::fs::read(&index).unwrap();
        std::fs::write(&index, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert_eq!(kinds(&report)[0], FindingKind::Layer);
    repaired(&made.store);
    let (made, report) = damaged(|root, layer| {
        let index = root.join("layers").join(layer).join("index");
        let mut bytes = std::fs::read(&index).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&index, &bytes).unwrap();
    });
    assert_eq!(kinds(&report), [FindingKind::Layer]);
    repaired(&made.store);
}

#[test]
fn a_changed_and_a_missing_blob_are_found() {
    let made = made();
    let sound = layer(&made.store, &[], &[("x", "untouched")]);
    image(&made.store, &[sound.id], "sound");
    let lease = made.store.lease();
    let digests = [made.store.blobs().put(b"one").unwrap(), made.store.blobs().put(b"two").unwrap()];
    digests.iter().for_each(|digest| assert!(lease.add_blob(digest)));
    made.store.flush().unwrap();
    let file = |number: usize| made.path().join("blobs/sha256").join(digests[number].hex());
    std::fs::write(file(0), "onE").unwrap();
    std::fs::remove_file(file(1)).unwrap();
    let mut places: Vec<_> = made.store.fsck(STRICT).unwrap().findings.into_iter().map(|finding| (finding.kind, finding.place)).collect();
    places.sort_by(|one, other| one.1.cmp(&other.1));
    let mut wanted: Vec<_> = digests.iter().map(|digest| (FindingKind::Blob, digest.to_string())).collect();
    wanted.sort_by(|one, other| one.1.cmp(&other.1));
    assert_eq!(places, wanted);
    assert!(made.store.blobs().read(&digests[0], 100).is_err(), "reading checks too");
    repaired(&made.store);
    assert!(!made.store.blobs().has(&digests[0]));
}

#[test]
fn bytes_without_a_row_and_volumes_without_a_record_are_found() {
    let made = made();
    let sound = layer(&made.store, &[], &[("x", "untouched")]);
    image(&made.store, &[sound.id], "sound");
    std::fs::create_dir_all(made.path().join("layers/0123456789abcdef0123/diff")).unwrap();
    std::fs::create_dir_all(made.path().join("active/lost")).unwrap();
    std::fs::create_dir_all(made.path().join("volumes/found/_data")).unwrap();
    std::fs::write(made.path().join("volumes/found/_data/bytes"), "mine").unwrap();
    let report = made.store.fsck(FAST).unwrap();
    assert_eq!(kinds(&report), [FindingKind::Orphan, FindingKind::Orphan, FindingKind::VolumeFolder]);
    repaired(&made.store);
    let found = "found".parse().unwrap();
    assert!(made.store.volumes().get(&found).is_some());
    assert_eq!(std::fs::read_to_string(made.store.volumes().path(&found).join("bytes")).unwrap(), "mine");
}

/// F-09: every file of a root is cut, emptied or has a byte flipped, one at a time.
#[test]
fn whatever_file_is_damaged_it_is_told_and_repair_leaves_a_sound_store() {
    let made = made();
    let base = layer(&made.store, &[], &[("etc/file", "content")]);
    image(&made.store, &[base.id], "app");
    let mut archive = Vec::new();
    let id = made.store.images().resolve("app").unwrap();
    made.store.save(&[shipway_store::SaveItem { id, references: vec![] }], None, &mut archive).unwrap();
    let other = layer(&made.store, &[], &[("b", "other content")]);
    image(&made.store, &[other.id], "other");
    let mut tar = shipway_archive::tar::TarWriter::new(Vec::new());
    tar.append(&shipway_archive::tar::Entry::new("f", shipway_archive::tar::EntryKind::Regular), b"imported content").unwrap();
    let options = shipway_store::ImportOptions {
        config: Default::default(),
        comment: String::new(),
        platform: shipway_model::Platform::host(),
        created: crate::made::when(1),
    };
    made.store.import(std::io::Cursor::new(tar.finish().unwrap().0), options).unwrap();
    let Made { folder, store } = made;
    drop(store);
    let files = files_below(folder.path());
    assert!(files.len() >= 9, "{files:?}");
    for file in &files {
        for damage in ["cut", "emptied", "flipped"] {
            let copy = tempfile::tempdir_in("/dev/shm").unwrap();
            let root = copy.path().join("root");
            assert!(std::process::Command::new("cp").arg("-a").arg(folder.path()).arg(&root).status().unwrap().success());
            let victim = root.join(file);
            let mut bytes = std::fs::read(&victim).unwrap();
            match damage {
                "cut" => bytes.truncate(bytes.len() / 2),
                "emptied" => bytes.clear(),
                _ => {
                    let middle = bytes.len() / 2;
                    bytes.get_mut(middle).into_iter().for_each(|byte| *byte ^= 0x41);
                }
            }
            std::fs::write(&victim, bytes).unwrap();
            let what = format!("{} {damage}", file.display());
            // A database that cannot be read is refused with its name; all else opens.
            let store = match Store::open(shipway_store::StoreConfig { root }) {
                Ok(store) => store,
                Err(error) => {
                    assert!(file.ends_with("state.db"), "{what}: {error}");
                    continue;
                }
            };
            if file.starts_with("layers") {
                assert!(!store.fsck(STRICT).unwrap().is_clean(), "{what} was not noticed");
            }
            if !file.ends_with("state.db") {
                assert!(store.fsck(REPAIR).unwrap().is_clean(), "{what}");
                assert_sound(&store);
            } else {
                assert_ne!(damage, "emptied", "an empty database must not make all layers leftovers");
                // A flipped byte may lie in a page that is not used; what matters is that checking answers.
                drop(store.fsck(STRICT));
            }
        }
    }
}

fn files_below(root: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                files.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}
