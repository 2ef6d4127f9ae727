//! Stored forms of layers and downloads that break off.

use std::io::Read as _;
use std::thread;

use shipway_model::{DiffId, Digest, LayerId, MediaType};
use shipway_store::{Representation, SharedBlobs, Store};

use crate::made::{Made, assert_sound, image, layer, made};

fn form(bytes: &[u8], origin: &str) -> Representation {
    let digest = Digest::sha256_of(bytes);
    Representation { media_type: MediaType::OciLayerTarGzip, digest, size: bytes.len() as u64, origins: vec![origin.to_owned()] }
}

/// An image of one layer whose stored form is the blob `bytes`.
fn with_blob(store: &Store, bytes: &'static [u8]) -> (LayerId, DiffId, Digest) {
    let layer = layer(store, &[], &[("a", "b")]);
    image(store, &[layer.id], "app");
    let lease = store.lease();
    let digest = Digest::sha256_of(bytes);
    let download = store.download(&digest, bytes.len() as u64).unwrap();
    download.append(bytes).unwrap();
    download.commit(&lease, &digest).unwrap();
    let (worker, diff_id) = (store.clone(), layer.diff_id);
    store.publish(move |txn| worker.remember_representation(txn, diff_id, form(bytes, "r.test/x"))).unwrap();
    (layer.id, diff_id, digest)
}

#[test]
fn the_stored_form_lives_as_long_as_its_layer() {
    let made = made();
    let (id, diff_id, digest) = with_blob(&made.store, b"compressed");
    made.store.collect().unwrap();
    assert!(made.store.blobs().has(&digest));
    assert_eq!(made.store.layer_by_stored(&digest), Some(diff_id));
    let made = made.reopen();
    assert_eq!(made.store.representations(&diff_id), [form(b"compressed", "r.test/x")]);
    assert_sound(&made.store);
    let (worker, image) = (made.store.clone(), made.store.images().resolve("app").unwrap());
    made.store.publish(move |txn| worker.images().remove(txn, &image)).unwrap();
    let collected = made.store.collect().unwrap();
    assert_eq!((collected.layers, collected.blobs), (vec![id], vec![digest]));
    assert_eq!((made.store.representations(&diff_id), made.store.layer_by_stored(&digest)), (vec![], None));
    assert_sound(&made.reopen().store);
}

#[test]
fn a_form_of_a_layer_that_is_not_here_is_not_noted() {
    let made = made();
    let diff_id = DiffId(Digest::sha256_of(b"no layer"));
    let worker = made.store.clone();
    made.store.publish(move |txn| worker.remember_representation(txn, diff_id, form(b"x", "r.test/x"))).unwrap();
    assert_eq!(made.store.representations(&diff_id), []);
    assert_sound(&made.store);
}

#[test]
fn a_download_is_read_while_it_arrives() {
    let made = made();
    let digest = Digest::sha256_of(b"abcdef");
    let download = made.store.download(&digest, 6).unwrap();
    let mut reader = download.reader();
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    for piece in [&b"abc"[..], b"d", b"ef"] {
        download.append(piece).unwrap();
    }
    assert_eq!(reading.join().unwrap().unwrap(), "abcdef");
    assert!(download.append(b"g").unwrap_err().to_string().contains("more than its 6 bytes"));
}

#[test]
fn what_came_before_a_break_is_there_afterwards() {
    let made = made();
    let digest = Digest::sha256_of(b"abcdef");
    let download = made.store.download(&digest, 6).unwrap();
    download.append(b"abc").unwrap();
    let mut reader = download.reader();
    let reading = thread::spawn(move || reader.read_to_end(&mut Vec::new()));
    drop(download);
    assert!(reading.join().unwrap().is_err());
    assert_sound(&made.store);
    let made = made.reopen();
    let again = made.store.download(&digest, 6).unwrap();
    assert_eq!(again.received(), 3);
    again.append(b"def").unwrap();
    let mut bytes = Vec::new();
    again.reader().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"abcdef");
    again.discard();
    assert_eq!(made.store.download(&digest, 6).unwrap().received(), 0);
}

#[test]
fn beginnings_nobody_came_back_for_go_after_a_week() {
    let made = made();
    for (name, days) in [("a", 1), ("b", 8)] {
        let path = made.path().join("partial").join(Digest::sha256_of(name.as_bytes()).hex());
        let file = std::fs::File::create(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(days * 24 * 3600)).unwrap();
    }
    std::fs::write(made.path().join("partial/not-ours"), "x").unwrap();
    let made = made.reopen();
    let left: Vec<_> = std::fs::read_dir(made.path().join("partial")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [Digest::sha256_of(b"a").hex().as_str()]);
}

/// A registry beside the store links what it has; not even a manifest that lies about a size may change those bytes.
#[test]
fn a_download_never_writes_into_a_file_that_somebody_else_linked() {
    let made = made();
    let digest = Digest::sha256_of(b"abcdef");
    for (size, piece) in [(4_u64, &b"wxyz"[..]), (9, b"ghi")] {
        let partial = made.path().join("partial").join(digest.hex());
        let linked = made.path().join(format!("linked-{size}"));
        std::fs::write(&partial, "abcdef").unwrap();
        std::fs::hard_link(&partial, &linked).unwrap();
        let download = made.store.download(&digest, size).unwrap();
        assert_eq!(download.received(), 0);
        download.append(piece).unwrap();
        assert_eq!(std::fs::read(&linked).unwrap(), b"abcdef");
        download.discard();
    }
    // Of the size that was announced it is what it was: whole.
    let (partial, linked) = (made.path().join("partial").join(digest.hex()), made.path().join("linked"));
    made.store.wait_for_trash();
    std::fs::write(&partial, "abcdef").unwrap();
    std::fs::hard_link(&partial, &linked).unwrap();
    assert_eq!(made.store.download(&digest, 6).unwrap().received(), 6);
}

#[test]
fn blobs_are_shared_only_beside_a_living_owner() {
    let made = made();
    let digest = made.store.blobs().put(b"content").unwrap();
    let shared = SharedBlobs::of(made.path()).unwrap();
    let mut text = String::new();
    shared.open(&digest).unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "content");
    assert!(shared.open(&Digest::sha256_of(b"other")).unwrap().is_none());
    assert!(shared.open(&Digest::of(shipway_model::Algorithm::Sha512, b"content")).unwrap().is_none());
    let Made { folder, store } = made;
    drop(store);
    let gone = SharedBlobs::of(folder.path()).unwrap_err();
    assert!(gone.to_string().contains("no such running daemon with the data root"), "{gone}");
    assert!(SharedBlobs::of(&folder.path().join("elsewhere")).is_err());
}
