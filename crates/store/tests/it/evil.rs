//! Archives made to hurt (security.md S-215, S-505, S-507): refused with a clear error, nothing of them kept, nothing written outside.
use std::io::Cursor;

use shipway_archive::tar::{Entry, EntryKind, TarWriter};
use shipway_store::Error;

use crate::made::made;

type Member<'a> = (&'a str, EntryKind, &'a [u8]);

fn refused(members: &[Member<'_>]) -> String {
    let mut tar = TarWriter::new(Vec::new());
    for (name, kind, body) in members {
        let mut entry = Entry::new(*name, *kind);
        if matches!(kind, EntryKind::Symlink | EntryKind::Hardlink) {
            entry.link = body.to_vec();
            tar.append(&entry, &[]).unwrap();
        } else {
            tar.append(&entry, body).unwrap();
        }
    }
    let bytes = tar.finish().unwrap().0;
    let made = made();
    let error = made.store.load(Cursor::new(bytes), &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. } | Error::Corrupt { .. } | Error::Archive(_) | Error::Unsupported { .. }), "{error}");
    assert!(made.store.images().list().is_empty());
    made.store.flush().unwrap();
    made.store.collect().unwrap();
    made.store.wait_for_trash();
    for folder in ["layers", "tmp", "blobs/sha256", "trash"] {
        assert_eq!(std::fs::read_dir(made.path().join(folder)).unwrap().count(), 0, "{folder}");
    }
    error.to_string()
}

const FILE: EntryKind = EntryKind::Regular;

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../manifest.json", "a/../../x", "blobs/../../../etc/passwd"] {
        assert!(refused(&[(name, FILE, b"[]")]).contains("leads out"), "{name}");
    }
    for target in ["../../etc/passwd", "/etc/passwd", "../../../x"] {
        let message = refused(&[("l/layer.tar", EntryKind::Symlink, target.as_bytes()), ("manifest.json", FILE, b"[]")]);
        assert!(message.contains("leads out"), "{target}: {message}");
    }
}

#[test]
fn documents_name_only_what_is_in_the_archive() {
    let config = br#"{"rootfs":{"type":"layers","diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}"#;
    let manifest = br#"[{"Config":"c.json","RepoTags":["x:1"],"Layers":["/etc/passwd"]}]"#;
    assert!(refused(&[("c.json", FILE, config), ("manifest.json", FILE, manifest)]).contains("not in the archive"));
    let manifest = br#"[{"Config":"../../../etc/shadow","Layers":[]}]"#;
    assert!(refused(&[("manifest.json", FILE, manifest)]).contains("leads out"));
    let circle = br#"[{"Config":"a","Layers":[]}]"#;
    let message = refused(&[("a", EntryKind::Symlink, b"b"), ("b", EntryKind::Symlink, b"a"), ("manifest.json", FILE, circle)]);
    assert!(message.contains("circle"), "{message}");
}

#[test]
fn a_name_twice_is_refused_whatever_its_spelling() {
    assert!(refused(&[("manifest.json", FILE, b"[]"), ("./manifest.json", FILE, b"[]")]).contains("twice"));
    assert!(refused(&[("a/b", FILE, b"1"), ("a//b", EntryKind::Symlink, b"c")]).contains("twice"));
}

#[test]
fn digests_are_strict() {
    for digest in ["sha256:../../x", "sha256:ABC", "md5:d41d8cd98f00b204e9800998ecf8427e", "", "sha256:", "sha256:0"] {
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":2}}]}}"#
        );
        refused(&[("index.json", FILE, index.as_bytes())]);
    }
}

#[test]
fn devices_empty_archives_and_other_things_are_refused() {
    refused(&[("dev", EntryKind::CharDevice, b"")]);
    refused(&[]);
    refused(&[("manifest.json", FILE, b"[]")]);
    refused(&[("manifest.json", FILE, b"{not json")]);
    refused(&[("index.json", FILE, br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#)]);
    assert!(refused(&[("repositories", FILE, b"{}")]).contains("not supported yet"));
}

#[test]
fn a_huge_document_is_passed_over_not_read_into_memory() {
    let huge = vec![b' '; 9 << 20];
    let message = refused(&[("manifest.json", FILE, &huge)]);
    assert!(message.contains("neither"), "{message}");
    let message = refused(&[("c.json", FILE, &huge), ("manifest.json", FILE, br#"[{"Config":"c.json","Layers":[]}]"#)]);
    assert!(message.contains("too large"), "{message}");
}
