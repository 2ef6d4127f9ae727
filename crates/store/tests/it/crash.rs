//! Killed at every fault point: the store reopens, is sound, and everything acknowledged is there.
//!
//! The child is this test binary again, running only `child_that_works` with a fault armed; it prints a line after each thing it was told is durable.
use std::collections::BTreeSet;
use std::io::{Cursor, Read as _};
use std::path::Path;
use std::process::{Command, Output};

use shipway_model::{ContainerDefaults, Digest, LayerId, MediaType, Platform};
use shipway_store::{
    AtTarget, CommitOptions, ImportOptions, LayerOrigin, PrepareOptions, Representation, SaveItem, Seed, Store, VolumeWish,
};

use crate::cache::{key, record};
use crate::made::{assert_sound, image, name, open, random_tree, when};

/// Every fault point a store passes; a test compares this list with the source.
const POINTS: &[&str] = &[
    "store.blob.renamed",
    "store.blob.written",
    "store.collect.committed",
    "store.collect.layer",
    "store.commit.renamed",
    "store.commit.scanned",
    "store.download.appended",
    "store.download.complete",
    "store.download.renamed",
    "store.publish.begin",
    "store.publish.committed",
    "store.publish.synced",
    "store.unpack.unpacked",
    "store.volume.created",
    "store.volume.moved",
    "store.volume.removed",
    "store.volume.staged",
];

fn acknowledge(what: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    writeln!(out, "\nACK {what}").unwrap();
    out.flush().unwrap();
}

fn build(store: &Store, seed: u64) -> Vec<LayerId> {
    let mut stack = Vec::new();
    for step in 0..2 {
        let snapshot = store.prepare(&stack, PrepareOptions::default()).unwrap();
        random_tree(&snapshot.upper, seed * 31 + step, 12);
        stack.push(snapshot.commit(CommitOptions { created: when(1), origin: LayerOrigin::Built, newest: None }).unwrap().id);
    }
    stack
}

/// A volume that gets everything the layers have.
fn fill(store: &Store, layers: &[LayerId], name: &str) {
    let AtTarget::Folder(seed) = Seed::at(&store.tree(layers).unwrap(), "/").unwrap() else { panic!("the root is a folder") };
    let name = name.parse().unwrap();
    let wish = VolumeWish { name, driver: String::new(), options: Default::default(), labels: Default::default(), seed: Some(seed) };
    let prepared = store.volumes().prepare(vec![wish]).unwrap();
    let rows = prepared.clone();
    store.publish(move |txn| rows.record(txn)).unwrap();
    store.volumes().finish(&prepared).unwrap();
}

/// How many names the root of what `fill` was given has.
fn seeded() -> usize {
    static COUNT: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| {
        let made = crate::made::made();
        let layers = build(&made.store, 11);
        made.store.tree(&layers).unwrap().children(b"").unwrap().count()
    });
    *COUNT
}

/// The stored form of a layer, as a pull brings it, or goes on bringing it.
fn download(store: &Store, layer: LayerId) {
    let (form, lease) = (b"compressed somewhere else", store.lease());
    let digest = Digest::sha256_of(form);
    let download = store.download(&digest, form.len() as u64).unwrap();
    for piece in form[usize::try_from(download.received()).unwrap()..].chunks(10) {
        download.append(piece).unwrap();
    }
    let mut came = Vec::new();
    download.reader().read_to_end(&mut came).unwrap();
    assert_eq!(came, form);
    download.commit(&lease, &digest).unwrap();
    let (worker, diff_id) = (store.clone(), store.layer(&layer).unwrap().diff_id);
    let form =
        Representation { media_type: MediaType::OciLayerTarGzip, digest, size: form.len() as u64, origins: vec!["r.test/x".to_owned()] };
    store.publish(move |txn| worker.remember_representation(txn, diff_id, form)).unwrap();
}

fn import_options() -> ImportOptions {
    ImportOptions { config: ContainerDefaults::default(), comment: String::new(), platform: Platform::host(), created: when(5) }
}

/// A day in the life of a store, in small.
pub(crate) fn work(store: &Store) {
    let first = build(store, 11);
    image(store, &first, "first:1");
    acknowledge("+first:1");
    store.cache().record(record(1, Some(first[0])));
    let cached = build(store, 12);
    store.cache().record(record(2, Some(cached[1])));
    store.flush().unwrap();
    acknowledge("+cache");
    store.volumes().create(&"data".parse().unwrap(), "", Default::default(), Default::default()).unwrap();
    acknowledge("+volume");
    fill(store, &first, "seeded");
    acknowledge("+seeded");
    let lease = store.lease();
    let blob = store.blobs().put(b"a blob that is published").unwrap();
    assert!(lease.add_blob(&blob));
    let second = build(store, 13);
    let second_id = image(store, &second, "second:1");
    acknowledge("+second:1");
    download(store, second[0]);
    acknowledge("+form");
    let mut archive = Vec::new();
    store.save(&[SaveItem { id: second_id, references: vec![name("loaded:1")] }], None, &mut archive).unwrap();
    store.load(Cursor::new(archive), &mut |_| {}).unwrap();
    acknowledge("+loaded:1");
    let mut tar = shipway_archive::tar::TarWriter::new(Vec::new());
    tar.append(&shipway_archive::tar::Entry::new("a/b", shipway_archive::tar::EntryKind::Regular), b"imported").unwrap();
    let imported = store.import(Cursor::new(tar.finish().unwrap().0), import_options()).unwrap();
    acknowledge(&format!("={imported}"));
    let snapshot = store.prepare(&first, PrepareOptions { name: Some("container".to_owned()), lease: None }).unwrap();
    std::fs::write(snapshot.upper.join("state"), "of the container").unwrap();
    snapshot.keep();
    let (worker, layers) = (store.clone(), first.clone());
    store.publish(move |txn| worker.hold(txn, "container:1", &layers, None)).unwrap();
    acknowledge("+container");
    let worker = store.clone();
    let first_id = store.images().resolve("first:1").unwrap();
    store.publish(move |txn| worker.images().remove(txn, &first_id)).unwrap();
    acknowledge("-first:1");
    store.volumes().remove(&"data".parse().unwrap()).unwrap();
    acknowledge("-volume");
    store.remove_active("container").unwrap();
    let worker = store.clone();
    store.publish(move |txn| worker.release(txn, "container:1")).unwrap();
    acknowledge("-container");
    store.cache().remove(&[key(1), key(2)]).unwrap();
    acknowledge("-cache");
    drop(lease);
    store.collect().unwrap();
    acknowledge("collected");
}

/// Checks a reopened store against what was acknowledged before it died.
pub(crate) fn check(store: &Store, acknowledged: &[String], what: &str) {
    assert_sound(store);
    let said = |line: &str| acknowledged.iter().any(|other| other == line);
    let present = |plus: &str| said(&format!("+{plus}")) && !said(&format!("-{plus}"));
    for tag in ["second:1", "loaded:1"] {
        if present(tag) {
            let id = store.images().resolve(tag).unwrap_or_else(|error| panic!("{what}: {tag} was acknowledged: {error}"));
            let mut archive = Vec::new();
            store.save(&[SaveItem { id, references: vec![] }], None, &mut archive).unwrap();
        }
    }
    // What was being removed when the process died may be there or not; what was not yet being removed must be.
    if said("+first:1") && !said("+container") {
        assert!(store.images().resolve("first:1").is_ok(), "{what}");
    }
    if said("-first:1") {
        assert!(store.images().resolve("first:1").is_err(), "{what}");
    }
    if said("+volume") && !said("-first:1") {
        assert!(store.volumes().get(&"data".parse().unwrap()).is_some(), "{what}");
    }
    // Half of what the image has is never in a volume, acknowledged or not.
    if let Some(volume) = store.volumes().get(&"seeded".parse().unwrap()) {
        let there = std::fs::read_dir(store.volumes().path(&volume.name)).unwrap().count();
        let stage = store.volumes().path(&volume.name).parent().unwrap().join("fill");
        let left = std::fs::read_dir(stage).map_or(0, Iterator::count);
        assert_eq!((there, left), (seeded(), 0), "{what}");
    } else {
        assert!(!said("+seeded"), "{what}");
    }
    if said("-volume") {
        assert!(store.volumes().get(&"data".parse().unwrap()).is_none() && !store.root().join("volumes/data").exists(), "{what}");
    }
    if said("+cache") && !said("-container") {
        assert!(store.cache().lookup(&key(1)).is_some() && store.cache().lookup(&key(2)).is_some(), "{what}");
    }
    if said("+container") && !said("-volume") {
        assert_eq!(
            std::fs::read_to_string(store.open_active("container").unwrap().upper.join("state")).unwrap(),
            "of the container",
            "{what}"
        );
        assert!(store.holds().iter().any(|(owner, _)| owner == "container:1"), "{what}");
    }
    for line in acknowledged.iter().filter_map(|line| line.strip_prefix('=')) {
        assert!(store.images().get(&line.parse().unwrap()).is_some(), "{what}");
    }
    if said("+form") {
        let digest = Digest::sha256_of(b"compressed somewhere else");
        assert!(store.blobs().has(&digest) && store.layer_by_stored(&digest).is_some(), "{what}");
    } else if said("+second:1") {
        // Whatever came of it before is gone on with.
        download(store, store.images().get(&store.images().resolve("second:1").unwrap()).unwrap().layers[0]);
    }
    // Nothing is left that nobody needs, and the store can be worked with.
    store.collect().unwrap();
    store.wait_for_trash();
    for folder in ["tmp", "trash"] {
        assert_eq!(std::fs::read_dir(store.root().join(folder)).unwrap().count(), 0, "{what}: {folder}");
    }
    let again = build(store, 99);
    image(store, &again, "after:1");
    assert_sound(store);
}

pub(crate) fn acknowledged(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.strip_prefix("ACK ")).map(ToOwned::to_owned).collect()
}

#[test]
fn child_that_works() {
    let Ok(root) = std::env::var("SHIPWAY_STORE_CHILD") else { return };
    work(&open(Path::new(&root)));
}

fn run_child(root: &Path, fault: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_works", "--nocapture", "--test-threads=1"])
        .env("SHIPWAY_STORE_CHILD", root)
        .env("SHIPWAY_FAULT", fault)
        .output()
        .unwrap()
}

/// Dies at `point` at its first, second, ... pass until the child no longer gets there.
fn sweep(point: &str) {
    for pass in 1..200 {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let what = format!("{point}:{pass}");
        let output = run_child(folder.path(), &what);
        if output.status.success() {
            assert!(pass > 1, "the work never passes {point}");
            return;
        }
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(output.status.signal(), Some(9), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        check(&open(folder.path()), &acknowledged(&output), &what);
    }
    panic!("{point} is passed without end");
}

#[test]
fn killed_while_committing_and_unpacking_layers() {
    POINTS.iter().filter(|point| point.contains(".commit.") || point.contains(".unpack.")).for_each(|point| sweep(point));
}

#[test]
fn killed_while_publishing() {
    POINTS.iter().filter(|point| point.contains(".publish.")).for_each(|point| sweep(point));
}

#[test]
fn killed_while_storing_blobs_volumes_and_collecting() {
    let rest = [".blob.", ".download.", ".volume.", ".collect."];
    POINTS.iter().filter(|point| rest.iter().any(|part| point.contains(part))).for_each(|point| sweep(point));
}

#[test]
fn killed_around_the_commit_of_the_database() {
    ["state.commit.before", "state.commit.after"].into_iter().for_each(sweep);
}

#[test]
fn the_list_of_points_is_that_of_the_source() {
    let mut found = BTreeSet::new();
    let mut waiting = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(text.split("fault::point(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), POINTS);
}
