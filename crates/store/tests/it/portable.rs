//! save, load, import: everything comes back byte for byte, from our archives and from those of others.
use std::io::{Cursor, Write as _};
use std::process::Command;

use shipway_archive::tar::{Entry, EntryKind, TarReader, TarWriter};
use shipway_archive::{Limits, compress};
use shipway_model::{ContainerDefaults, Digest, ImageConfig, ImageId, Platform, RootFs};
use shipway_store::{CommitOptions, Error, ImportOptions, LayerOrigin, Loaded, PrepareOptions, SaveBase, SaveItem, Store};

use crate::made::{Made, assert_sound, made, name, random_tree, try_image, when};

fn load(store: &Store, bytes: &[u8]) -> Result<Vec<Loaded>, Error> {
    store.load(Cursor::new(bytes.to_vec()), &mut |_| {})
}

fn save(store: &Store, id: ImageId, names: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    store.save(&[SaveItem { id, references: names.iter().map(|text| name(text)).collect() }], None, &mut out).unwrap();
    out
}

/// A store with an image of three random layers, the last of them with whiteouts.
fn with_image() -> (Made, ImageId) {
    let made = made();
    let mut stack = Vec::new();
    for seed in 1..=3 {
        let snapshot = made.store.prepare(&stack, PrepareOptions::default()).unwrap();
        random_tree(&snapshot.upper, seed * 104_729, 40);
        if seed == 3 {
            let gone = std::ffi::CString::new(snapshot.upper.join("gone").to_str().unwrap()).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, &gone, rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty(), 0).unwrap();
        }
        let options = CommitOptions { created: when(1), origin: LayerOrigin::Built, newest: None };
        stack.push(snapshot.commit(options).unwrap().id);
    }
    let id = try_image(&made.store, &stack, "app:v1").unwrap();
    (made, id)
}

/// Members of an archive by name.
fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut tar = TarReader::new(archive, Limits::default());
    let mut all = Vec::new();
    while let Some(entry) = tar.next().unwrap() {
        let mut body = Vec::new();
        std::io::Read::read_to_end(&mut tar, &mut body).unwrap();
        all.push((String::from_utf8(entry.path).unwrap(), body));
    }
    all
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for (name, body) in members {
        tar.append(&Entry::new(*name, EntryKind::Regular), body).unwrap();
    }
    tar.finish().unwrap().0
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    filter("gzip", bytes)
}

/// Runs a compression program of the machine, so that what we read was not written by ourselves.
fn filter(program: &str, bytes: &[u8]) -> Vec<u8> {
    use std::process::Stdio;
    let mut child = Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let feeder = std::thread::spawn(move || input.write_all(&bytes).unwrap());
    let out = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(out.status.success());
    out.stdout
}

#[test]
fn what_is_saved_loads_elsewhere_with_the_same_ids_and_saves_to_the_same_bytes() {
    let (from, id) = with_image();
    let bytes = save(&from.store, id, &["app:v1", "localhost:5000/app:v2"]);
    assert_eq!(bytes, save(&from.store, id, &["app:v1", "localhost:5000/app:v2"]), "saving twice gives the same bytes");
    let to = made();
    let loaded = load(&to.store, &bytes).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!((loaded[0].id, loaded[0].references.len()), (id, 2));
    assert_eq!(to.store.images().resolve("app:v1"), Ok(id));
    assert_sound(&to.store);
    assert_eq!(save(&to.store, id, &["app:v1", "localhost:5000/app:v2"]), bytes);
    let to = to.reopen();
    assert_eq!(save(&to.store, id, &["app:v1", "localhost:5000/app:v2"]), bytes);
    // Loading it again changes nothing and stores nothing.
    load(&to.store, &bytes).unwrap();
    to.store.wait_for_trash();
    assert_eq!(to.store.layers().len(), 3);
    assert_eq!(std::fs::read_dir(to.path().join("layers")).unwrap().count(), 3);
    assert_eq!(std::fs::read_dir(to.path().join("tmp")).unwrap().count(), 0);
    assert_sound(&to.store);
}

#[test]
fn an_archive_may_be_compressed_in_any_way() {
    let (from, id) = with_image();
    let bytes = save(&from.store, id, &["app:v1"]);
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        if Command::new(program).arg("--version").output().is_err() {
            continue;
        }
        let to = made();
        assert_eq!(load(&to.store, &filter(program, &bytes)).unwrap()[0].id, id, "{program}");
    }
}

#[test]
fn the_older_form_with_a_folder_for_each_layer_and_links_is_read() {
    let (from, id) = with_image();
    let image = from.store.images().get(&id).unwrap();
    let mut tar = TarWriter::new(Vec::new());
    let mut paths = Vec::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let mut bytes = Vec::new();
        from.store.write_layer(layer, &mut bytes).unwrap();
        let path = format!("layer{number}/layer.tar");
        if number == 1 {
            // Docker wrote a link where two images shared a layer.
            tar.append(&Entry::new("elsewhere/layer.tar", EntryKind::Regular), &bytes).unwrap();
            let mut link = Entry::new(path.clone(), EntryKind::Symlink);
            link.link = b"../elsewhere/layer.tar".to_vec();
            tar.append(&link, &[]).unwrap();
        } else {
            tar.append(&Entry::new(path.clone(), EntryKind::Regular), &bytes).unwrap();
        }
        paths.push(path);
    }
    let config = format!("{}.json", id.0.hex());
    tar.append(&Entry::new(config.clone(), EntryKind::Regular), &from.store.images().config_bytes(&id).unwrap()).unwrap();
    let manifest = serde_json::json!([{"Config": config, "RepoTags": ["old:form"], "Layers": paths}]);
    tar.append(&Entry::new("manifest.json", EntryKind::Regular), manifest.to_string().as_bytes()).unwrap();
    tar.append(&Entry::new("repositories", EntryKind::Regular), b"{}").unwrap();
    let bytes = tar.finish().unwrap().0;
    let to = made();
    assert_eq!(load(&to.store, &bytes).unwrap()[0].id, id);
    assert_eq!(to.store.images().resolve("old:form"), Ok(id));
    assert_sound(&to.store);
}

#[test]
fn a_plain_oci_layout_with_compressed_layers_is_read() {
    let (from, id) = with_image();
    let image = from.store.images().get(&id).unwrap();
    let config = from.store.images().config_bytes(&id).unwrap();
    let mut files: Vec<(String, Vec<u8>)> = vec![(format!("blobs/sha256/{}", id.0.hex()), config.clone())];
    let mut layers = Vec::new();
    for layer in &image.layers {
        let mut bytes = Vec::new();
        from.store.write_layer(layer, &mut bytes).unwrap();
        let bytes = gzip(&bytes);
        let digest = Digest::sha256_of(&bytes);
        layers.push(serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest.to_string(), "size": bytes.len()}));
        files.push((format!("blobs/sha256/{}", digest.hex()), bytes));
    }
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": id.to_string(), "size": config.len()},
    })
    .to_string()
    .into_bytes();
    let pointer = Digest::sha256_of(&manifest);
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": pointer.to_string(), "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": "example.com/layout:1"}}],
    });
    files.push((format!("blobs/sha256/{}", pointer.hex()), manifest));
    files.push(("index.json".to_owned(), index.to_string().into_bytes()));
    files.push(("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(name, body)| (name.as_str(), body.as_slice())).collect();
    let to = made();
    let loaded = load(&to.store, &archive(&borrowed)).unwrap();
    assert_eq!((loaded[0].id, loaded[0].references.clone()), (id, vec![name("example.com/layout:1")]));
    assert_sound(&to.store);
    // One byte of a layer changed: refused, and the layer named.
    let (_, layer) = &mut files[2];
    let last = layer.len() - 1;
    layer[last] ^= 1;
    let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(name, body)| (name.as_str(), body.as_slice())).collect();
    let to = made();
    assert!(load(&to.store, &archive(&borrowed)).is_err());
    assert!(to.store.images().list().is_empty());
}

pub(crate) fn import_options() -> ImportOptions {
    ImportOptions {
        config: ContainerDefaults::default(),
        comment: "Imported from -".to_owned(),
        platform: Platform::host(),
        created: when(5),
    }
}

#[test]
fn an_import_is_an_image_of_one_layer() {
    let tar = archive(&[("bin/tool", b"#!"), ("etc/x", b"y")]);
    let made = made();
    let mut options = import_options();
    options.config.cmd = Some(vec!["/bin/tool".to_owned()]);
    let id = made.store.import(Cursor::new(gzip(&tar)), options).unwrap();
    let image = made.store.images().get(&id).unwrap();
    assert_eq!(image.config.config.cmd.as_deref(), Some(["/bin/tool".to_owned()].as_slice()));
    assert_eq!(image.config.rootfs.diff_ids, [shipway_model::DiffId(Digest::sha256_of(&tar))]);
    assert_eq!(image.layers.len(), 1);
    assert_sound(&made.reopen().store);
}

#[test]
fn a_layer_that_is_not_what_the_config_says_is_refused_and_named() {
    let (from, id) = with_image();
    let mut all = members(&save(&from.store, id, &["app:v1"]));
    let config = all.iter().position(|(name, _)| *name == format!("blobs/sha256/{}", id.0.hex())).unwrap();
    let mut changed = ImageConfig::parse(&all[config].1).unwrap();
    changed.rootfs = RootFs { diff_ids: changed.rootfs.diff_ids.into_iter().rev().collect(), ..changed.rootfs };
    all[config].1 = changed.to_bytes();
    let borrowed: Vec<(&str, &[u8])> =
        all.iter().filter(|(name, _)| !name.ends_with('/')).map(|(name, body)| (name.as_str(), body.as_slice())).collect();
    let to = made();
    let refused = load(&to.store, &archive(&borrowed)).unwrap_err();
    assert!(matches!(&refused, Error::Corrupt { what, .. } if what.contains("blobs/sha256/")), "{refused}");
    assert!(to.store.images().list().is_empty() && to.store.images().all_tags().is_empty());
    to.store.flush().unwrap();
    to.store.collect().unwrap();
    assert!(to.store.layers().is_empty(), "what was unpacked for nothing goes");
}

#[test]
fn compressed_bytes_are_detected_not_believed() {
    // A file called .gz that is none, and a compressed one without the name.
    let inner = archive(&[("f", b"x")]);
    assert_eq!(compress::detect(&gzip(&inner)), compress::Format::Gzip);
    let made = made();
    assert!(made.store.import(Cursor::new(inner), import_options()).is_ok());
    assert!(made.store.import(Cursor::new(b"no tar at all".to_vec()), import_options()).is_err());
    made.store.wait_for_trash();
    assert_eq!(std::fs::read_dir(made.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn an_archive_since_a_base_has_only_what_the_base_lacks() {
    let (from, base) = with_image();
    let mut stack = from.store.images().get(&base).unwrap().layers.clone();
    let snapshot = from.store.prepare(&stack, PrepareOptions::default()).unwrap();
    random_tree(&snapshot.upper, 7, 5);
    stack.push(snapshot.commit(CommitOptions { created: when(2), origin: LayerOrigin::Built, newest: None }).unwrap().id);
    let id = try_image(&from.store, &stack, "app:v2").unwrap();
    let item = SaveItem { id, references: vec![name("app:v2")] };
    let mut bytes = Vec::new();
    let since = SaveBase { id: base, name: "app:v1".to_owned() };
    from.store.save(std::slice::from_ref(&item), Some(&since), &mut bytes).unwrap();
    let top = from.store.layer(&stack[3]).unwrap().diff_id;
    let layers: Vec<String> = members(&bytes).into_iter().map(|(name, _)| name).filter(|name| name.starts_with("blobs/sha256/")).collect();
    // The folder, the config, the manifest, and one layer of four.
    assert_eq!(layers.len(), 4, "{layers:?}");
    assert!(layers.contains(&format!("blobs/sha256/{}", top.0.hex())), "{layers:?}");

    // Without the base: refused, in words that name it, and nothing is there.
    let to = made();
    let error = load(&to.store, &bytes).unwrap_err();
    assert!(matches!(&error, Error::MissingBase { base: name, id, .. } if name == "app:v1" && *id == base.to_string()), "{error}");
    assert!(error.to_string().contains("only what image \"app:v1\" lacks"), "{error}");
    assert!(to.store.images().list().is_empty());
    assert_sound(&to.store);
    // With it, as a whole image, which saves to what the whole one does.
    load(&to.store, &save(&from.store, base, &["app:v1"])).unwrap();
    assert_eq!(load(&to.store, &bytes).unwrap()[0].id, id);
    assert_eq!(save(&to.store, id, &["app:v2"]), save(&from.store, id, &["app:v2"]));
    assert_sound(&to.store);
    // An OCI layout without Docker's list says the same.
    let plain: Vec<(String, Vec<u8>)> =
        members(&bytes).into_iter().filter(|(name, _)| !name.ends_with('/') && name != "manifest.json" && name != "repositories").collect();
    let plain = archive(&plain.iter().map(|(name, body)| (name.as_str(), &body[..])).collect::<Vec<_>>());
    assert_eq!(load(&to.store, &plain).unwrap()[0].id, id);
    assert!(matches!(load(&made().store, &plain).unwrap_err(), Error::MissingBase { .. }));
    // What an archive says of its base is only repeated when it can be a name and an id.
    let spoilt: Vec<(String, Vec<u8>)> = members(&bytes)
        .into_iter()
        .filter(|(name, _)| !name.ends_with('/'))
        .map(|(name, body)| (name, String::from_utf8(body.clone()).map_or(body, |text| text.replace("app:v1", "\\u001b[2J").into_bytes())))
        .collect();
    let spoilt = archive(&spoilt.iter().map(|(name, body)| (name.as_str(), &body[..])).collect::<Vec<_>>());
    let error = load(&made().store, &spoilt).unwrap_err().to_string();
    assert!(error.contains("it is not in the archive") && !error.contains('\u{1b}'), "{error}");
}
