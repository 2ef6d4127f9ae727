//! Images, names, and finding them.
use shipway_model::{Descriptor, Digest, ImageId, MediaType};
use shipway_store::{Error, Referrer, ResolveError};

use crate::made::{assert_sound, image, layer, made, name, new_image, try_image};

#[test]
fn names_move_and_the_former_image_is_told() {
    let made = made();
    let base = layer(&made.store, &[], &[("a", "1")]);
    let first = image(&made.store, &[base.id], "app:1");
    let (worker, new) = (made.store.clone(), new_image(&made.store, &[base.id], "second"));
    let (second, former) = made
        .store
        .publish(move |txn| {
            let id = worker.images().put(txn, new)?;
            Ok((id, worker.images().tag(txn, &name("app:1"), id)?))
        })
        .unwrap();
    assert_eq!(former, Some(first));
    assert_eq!(made.store.images().names(&second), [name("app:1")]);
    assert_eq!(made.store.images().names(&first), []);
    assert!(made.store.images().last_tagged(&second).is_some());
    let made = made.reopen();
    assert_eq!(made.store.images().tagged(&name("app:1")), Some(second));
    assert_eq!(made.store.images().list().len(), 2, "an image without a name stays");
    assert_eq!(made.store.images().get(&first).unwrap().layers, [base.id]);
    assert_sound(&made.store);
}

#[test]
fn removing_an_image_takes_its_names_and_untagging_does_not_take_the_image() {
    let made = made();
    let base = layer(&made.store, &[], &[("a", "1")]);
    let id = image(&made.store, &[base.id], "app");
    let worker = made.store.clone();
    assert!(made.store.publish(move |txn| worker.images().untag(txn, &name("app"))).unwrap());
    assert!(made.store.images().get(&id).is_some());
    let id = image(&made.store, &[base.id], "app");
    let worker = made.store.clone();
    assert!(made.store.publish(move |txn| worker.images().remove(txn, &id)).unwrap());
    assert!(made.store.images().get(&id).is_none());
    assert_eq!(made.store.images().all_tags(), []);
    let made = made.reopen();
    assert!(made.store.images().list().is_empty());
    assert_sound(&made.store);
}

#[test]
fn an_image_is_found_by_name_id_and_beginning_of_id() {
    let made = made();
    let base = layer(&made.store, &[], &[("a", "1")]);
    let ids: Vec<_> = (0..40).map(|number| image(&made.store, &[base.id], &format!("repo{number}:v1"))).collect();
    let images = made.store.images();
    let id = ids[7];
    for text in ["repo7:v1", "docker.io/library/repo7:v1", &id.to_string(), &id.0.hex(), &id.0.hex()[..20], &id.to_string()[..25]] {
        assert_eq!(images.resolve(text), Ok(id), "{text}");
    }
    // Forty ids and sixteen first digits: some digit begins two of them.
    assert!("0123456789abcdef".chars().any(|digit| matches!(images.resolve(&digit.to_string()), Err(ResolveError::Ambiguous(_)))));
    match images.resolve("rep07:v1") {
        Err(ResolveError::NotFound { nearest, .. }) => assert!(nearest.iter().any(|name| name.contains("repo")), "{nearest:?}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(images.resolve("repo7"), Err(ResolveError::NotFound { .. })), "no tag means latest");
}

#[test]
fn an_image_whose_layers_are_not_those_of_its_config_is_refused() {
    let made = made();
    let one = layer(&made.store, &[], &[("a", "1")]);
    let other = layer(&made.store, &[], &[("a", "2")]);
    let mut new = new_image(&made.store, &[one.id], "wrong");
    new.layers = vec![other.id];
    let worker = made.store.clone();
    let refused = made.store.publish(move |txn| worker.images().put(txn, new));
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    let worker = made.store.clone();
    let dangling = made.store.publish(move |txn| worker.images().tag(txn, &name("x"), ImageId(Digest::sha256_of(b""))));
    assert!(matches!(dangling, Err(Error::NotFound { .. })));
    assert!(made.store.images().list().is_empty() && made.store.images().all_tags().is_empty());
}

#[test]
fn a_failed_publish_shows_nothing_and_what_was_pending_can_be_published_later() {
    let made = made();
    let base = layer(&made.store, &[], &[("a", "1")]);
    let (worker, new) = (made.store.clone(), new_image(&made.store, &[base.id], "x"));
    let failed = made.store.publish(move |txn| {
        let id = worker.images().put(txn, new)?;
        worker.images().tag(txn, &name("x"), id)?;
        Err::<(), _>(Error::NotFound { noun: "reason", name: "to go on".to_owned() })
    });
    assert!(failed.is_err());
    assert!(made.store.images().list().is_empty() && made.store.images().all_tags().is_empty());
    assert!(try_image(&made.store, &[base.id], "x").is_ok());
    assert_sound(&made.store);
}

#[test]
fn config_bytes_come_back_exactly() {
    let made = made();
    let base = layer(&made.store, &[], &[("a", "1")]);
    let mut new = new_image(&made.store, &[base.id], "odd");
    // Other writers order and space their JSON differently; the id is of the bytes, not of their meaning.
    let text = String::from_utf8(new.config_bytes).unwrap();
    new.config_bytes = format!("  {text}\n").into_bytes();
    let bytes = new.config_bytes.clone();
    let worker = made.store.clone();
    let id = made.store.publish(move |txn| worker.images().put(txn, new)).unwrap();
    let made = made.reopen();
    assert_eq!(made.store.images().config_bytes(&id).unwrap(), bytes);
    assert_eq!(made.store.images().get(&id).unwrap().config_size, bytes.len() as u64);
}

#[test]
fn referrers_are_held_with_the_image_and_go_with_it() {
    let made = made();
    let base = layer(&made.store, &[], &[("a", "1")]);
    let (manifest, payload) = (b"{\"manifest\":1}".as_slice(), b"signed".as_slice());
    let lease = made.store.lease();
    for bytes in [manifest, payload] {
        let mut ingest = made.store.blobs().ingest().unwrap().keep_in(&lease);
        std::io::Write::write_all(&mut ingest, bytes).unwrap();
        ingest.commit(None).unwrap();
    }
    let describe = |bytes: &[u8]| Descriptor::new(MediaType::OciManifest, Digest::sha256_of(bytes), bytes.len() as u64);
    let held = |tag: &str| Referrer {
        subject: Digest::sha256_of(b"subject"),
        manifest: describe(manifest),
        tag: Some(tag.to_owned()),
        blobs: vec![describe(payload)],
    };
    let mut new = new_image(&made.store, &[base.id], "signed");
    new.blobs = vec![describe(manifest).digest, describe(payload).digest];
    let (worker, first, second) = (made.store.clone(), held("one"), held("two"));
    let id = made
        .store
        .publish(move |txn| {
            let id = worker.images().put(txn, new)?;
            worker.images().tag(txn, &name("app"), id)?;
            worker.images().hold_referrers(txn, &id, vec![first])?;
            // The same manifest again: one is held, as it was told last.
            worker.images().hold_referrers(txn, &id, vec![second])?;
            Ok(id)
        })
        .unwrap();
    drop(lease);
    let made = made.reopen();
    made.store.collect().unwrap();
    assert_eq!(made.store.images().referrers(&id).unwrap(), [held("two")]);
    assert_eq!(made.store.blobs().read(&describe(payload).digest, 100).unwrap(), payload);
    assert_sound(&made.store);
    let worker = made.store.clone();
    assert!(made.store.publish(move |txn| worker.images().remove(txn, &id)).unwrap());
    made.store.collect().unwrap();
    assert!(made.store.images().referrers(&id).unwrap().is_empty());
    assert!(!made.store.blobs().has(&describe(payload).digest), "nothing needs it any more");
    assert_sound(&made.store);
}
