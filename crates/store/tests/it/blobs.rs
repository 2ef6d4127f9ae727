//! Blobs.
use std::io::{Read as _, Write as _};

use shipway_model::Digest;
use shipway_store::Error;

use crate::made::{assert_sound, made};

#[test]
fn a_blob_is_its_digest_and_the_same_bytes_are_kept_once() {
    let made = made();
    let lease = made.store.lease();
    let digest = made.store.blobs().put(b"some bytes").unwrap();
    assert!(lease.add_blob(&digest));
    let mut ingest = made.store.blobs().ingest().unwrap();
    ingest.write_all(b"some ").unwrap();
    ingest.write_all(b"bytes").unwrap();
    assert_eq!(ingest.commit(Some(digest)).unwrap(), (digest, 10));
    made.store.flush().unwrap();
    assert_eq!(made.store.blobs().read(&digest, 10).unwrap(), b"some bytes");
    assert!(matches!(made.store.blobs().read(&digest, 9), Err(Error::Invalid { .. })));
    let mut text = String::new();
    made.store.blobs().open(&digest).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "some bytes");
    assert_eq!(std::fs::read_dir(made.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(made.path().join("blobs/sha256")).unwrap().count(), 1);
    assert_sound(&made.store);
    let made = made.reopen();
    assert_eq!(made.store.blobs().size(&digest), Some(10));
}

#[test]
fn what_is_here_is_kept_again_without_a_file() {
    let made = made();
    let digest = made.store.blobs().put(b"a manifest").unwrap();
    made.store.flush().unwrap();
    // Nothing can be written where new blobs begin.
    std::fs::remove_dir(made.path().join("tmp")).unwrap();
    let lease = made.store.lease();
    assert_eq!(made.store.blobs().put_kept(b"a manifest", None, &lease).unwrap(), digest);
    assert_eq!(made.store.blobs().put_kept(b"a manifest", Some(digest), &lease).unwrap(), digest);
    assert!(made.store.blobs().put_kept(b"another", None, &lease).is_err());
    std::fs::create_dir(made.path().join("tmp")).unwrap();
    let wrong = made.store.blobs().put_kept(b"a manifest", Some(Digest::sha256_of(b"x")), &lease);
    assert!(matches!(wrong, Err(Error::Corrupt { .. })), "{wrong:?}");
    assert_eq!(made.store.collect().unwrap().blobs, []);
    drop(lease);
    assert_eq!(made.store.collect().unwrap().blobs, [digest]);
}

#[test]
fn wrong_bytes_never_get_the_name() {
    let made = made();
    let promised = Digest::sha256_of(b"the real thing");
    let mut ingest = made.store.blobs().ingest().unwrap();
    ingest.write_all(b"something else").unwrap();
    assert!(matches!(ingest.commit(Some(promised)), Err(Error::Corrupt { .. })));
    assert!(!made.store.blobs().has(&promised));
    assert_eq!(std::fs::read_dir(made.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(made.path().join("blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn an_unpublished_blob_is_gone_after_a_restart() {
    let made = made();
    let digest = made.store.blobs().put(b"never promised").unwrap();
    let made = made.reopen();
    assert!(!made.store.blobs().has(&digest));
    made.store.wait_for_trash();
    assert_eq!(std::fs::read_dir(made.path().join("blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn many_threads_may_store_the_same_bytes() {
    let made = made();
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let store = &made.store;
            scope.spawn(move || {
                for number in 0..20_u8 {
                    store.blobs().put(&[number; 3000]).unwrap();
                    store.blobs().put(&[thread, number]).unwrap();
                    store.publish(|_| Ok(())).unwrap();
                }
            });
        }
    });
    assert_eq!(made.store.blobs().list().len(), 20 + 8 * 20);
    assert_sound(&made.store);
}
