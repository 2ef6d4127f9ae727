//! Recipes: the tars of others come back byte for byte, or are known not to.
use std::io::Cursor;
use std::process::Command;

use shipway_archive::tar::{Entry, EntryKind, TarWriter};
use shipway_model::ImageId;
use shipway_store::{Error, TarSource};

use crate::made::{assert_sound, made, random_tree};
use crate::portable::import_options;

#[test]
fn tars_of_other_programs_come_back_byte_for_byte() {
    let source = tempfile::tempdir_in("/dev/shm").unwrap();
    random_tree(source.path(), 65_537, 120);
    std::fs::write(source.path().join("sparse"), vec![b'x'; 10]).unwrap();
    std::fs::File::options().write(true).open(source.path().join("sparse")).unwrap().set_len(3 << 20).unwrap();
    for format in ["gnu", "pax", "ustar", "v7"] {
        for sparse in [false, true] {
            if sparse && matches!(format, "ustar" | "v7") {
                continue;
            }
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(source.path()).arg(format!("--format={format}")).args(["--numeric-owner", "-c", "-f", "-"]);
            if sparse {
                tar.arg("--sparse");
            }
            if format == "v7" {
                // The oldest form has no room for long names and large ids.
                tar.args(["--exclude=long-name-*", "--owner=0", "--group=0"]);
            }
            if format == "ustar" {
                tar.args(["--owner=0", "--group=0"]);
            }
            let bytes = tar.arg(".").output().unwrap().stdout;
            assert!(bytes.len() > 10_000);
            let to = made();
            let id = to.store.import(Cursor::new(bytes.clone()), import_options()).unwrap();
            let image = to.store.images().get(&id).unwrap();
            let mut again = Vec::new();
            to.store.write_layer(&image.layers[0], &mut again).unwrap();
            assert!(again == bytes, "{format} sparse={sparse}: {} bytes instead of {}", again.len(), bytes.len());
            assert_sound(&to.store);
        }
    }
}

#[test]
fn many_headers_come_back_byte_for_byte_and_too_much_that_is_no_file_is_not_kept() {
    // More notes than are kept uncompressed, with long names wherever a piece of them may end.
    let mut tar = TarWriter::new(Vec::new());
    for number in 0..900_u32 {
        let name = format!("folder-{}/{}-{number}", number % 7, "long".repeat(number as usize % 60));
        let mut entry = Entry::new(name.as_bytes(), EntryKind::Regular);
        let body = vec![b'b'; number as usize % 700];
        entry.size = body.len() as u64;
        tar.append(&entry, body.as_slice()).unwrap();
    }
    let bytes = tar.finish().unwrap().0;
    let to = made();
    let write = |id: &ImageId| {
        let mut again = Vec::new();
        let layer = to.store.images().get(id).unwrap().layers[0];
        to.store.write_layer(&layer, &mut again).map(|()| again)
    };
    let id = to.store.import(Cursor::new(bytes.clone()), import_options()).unwrap();
    assert!(write(&id).unwrap() == bytes);
    // Behind its end an archive may have anything; 30 MiB of noise are a layer that can be used, but not written again.
    let mut state = 1_u32;
    let noise = (0..30 << 20).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    let padded: Vec<u8> = bytes.into_iter().chain(noise).collect();
    let id = to.store.import(Cursor::new(padded), import_options()).unwrap();
    assert!(matches!(write(&id), Err(Error::Unsupported { .. })));
    assert_sound(&to.store);
}

/// A path, and what stands there: a file with its body, or a symlink with its text.
type Told = (&'static str, EntryKind, &'static str);

/// A tar of these entries.
fn tar_of(entries: &[Told]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for (path, kind, text) in entries {
        let mut entry = Entry::new(*path, *kind);
        match kind {
            EntryKind::Symlink => {
                entry.link = text.as_bytes().to_vec();
                tar.append(&entry, &[]).unwrap();
            }
            _ => drop(tar.append(&entry, text.as_bytes())),
        }
    }
    tar.finish().unwrap().0
}

#[test]
fn bodies_no_longer_under_their_path_are_taken_from_equal_files() {
    use EntryKind::{Regular, Symlink};
    let cases: [(&[Told], TarSource); 6] = [
        (&[("a", Regular, "one"), ("b", Regular, "one"), ("a", Regular, "two")], TarSource::Recipe),
        (&[("a", Regular, "one"), ("b", Regular, "one"), ("a", Symlink, "b"), ("c", Regular, "three")], TarSource::Recipe),
        (&[("a", Regular, "one"), ("a", Regular, "one")], TarSource::Recipe),
        (
            &[("usr/", EntryKind::Directory, ""), ("lib", Symlink, "usr"), ("lib/a", Regular, "one"), ("lib/b", Regular, "two")],
            TarSource::Recipe,
        ),
        (&[("a", Regular, "one"), ("b", Regular, "two"), ("a", Regular, "two")], TarSource::Lost),
        (&[("a", Regular, "one"), ("a", Symlink, "elsewhere")], TarSource::Lost),
    ];
    for (number, (entries, expected)) in cases.into_iter().enumerate() {
        let to = made();
        let bytes = tar_of(entries);
        let id = to.store.import(Cursor::new(bytes.clone()), import_options()).unwrap();
        let layer = to.store.layer(&to.store.images().get(&id).unwrap().layers[0]).unwrap();
        assert_eq!(layer.tar, expected, "case {number}");
        let mut again = Vec::new();
        let written = to.store.write_layer(&layer.id, &mut again);
        match expected {
            TarSource::Lost => assert!(matches!(written, Err(Error::Unsupported { .. })), "case {number}"),
            _ => assert!(written.is_ok() && again == bytes, "case {number}"),
        }
        assert_eq!(to.path().join(format!("layers/{}/recipe", layer.id)).exists(), expected == TarSource::Recipe);
        assert_sound(&to.store);
    }
}
