//! The fast check: every row has its bytes, all bytes have a row, every reference points at something.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use shipway_model::{DiffId, LayerId};

use super::{FindingKind, FsckReport};
use crate::Result;
use crate::layout::names_in;
use crate::memory::Memory;
use crate::open::Store;

/// How often folders are looked at while others make and delete them, and the pause before looking again.
const LOOKS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(2);

pub(super) fn check(store: &Store, report: &mut FsckReport) -> Result<()> {
    for complaint in &store.inner.complaints {
        report.add(FindingKind::Record, store.db().path().display(), complaint);
    }
    check_layers(store, report);
    check_blobs(store, report);
    {
        let memory = store.shared().read();
        let sound = |id: &LayerId| memory.layers.contains_key(id) && !memory.damaged.contains_key(id);
        check_images(&memory, &sound, report);
        check_references(&memory, &sound, report);
    }
    check_folders(store, report)
}

fn check_layers(store: &Store, report: &mut FsckReport) {
    let damaged: BTreeMap<LayerId, String> = store.shared().read().damaged.clone();
    let mut by_diff_id: HashMap<DiffId, LayerId> = HashMap::new();
    for layer in store.layers() {
        report.layers += 1;
        if let Some(other) = by_diff_id.insert(layer.diff_id, layer.id) {
            report.add(FindingKind::Layer, layer.id, format!("it has the same digest as layer {other}"));
        }
        if let Some(reason) = damaged.get(&layer.id) {
            report.add(FindingKind::Layer, layer.id, reason);
            continue;
        }
        if !store.folders_of(&layer.id).iter().all(|folder| folder.is_dir()) {
            report.add(FindingKind::Layer, layer.id, "its folder is missing");
        } else if let Some(base) = layer.base.filter(|base| store.need_layer(base).is_err()) {
            report.add(FindingKind::Layer, layer.id, format!("layer {base}, from which it differs, is missing or damaged"));
        } else if let Err(error) = store.shared().layer_index_from_disk(&layer) {
            report.add(FindingKind::Layer, layer.id, error);
        }
    }
}

fn check_blobs(store: &Store, report: &mut FsckReport) {
    for (digest, size) in store.blobs().list() {
        report.blobs += 1;
        match std::fs::metadata(store.shared().layout.blob(&digest)) {
            Ok(metadata) if metadata.len() == size => {}
            Ok(metadata) => report.add(FindingKind::Blob, digest, format!("it has {} bytes instead of {size}", metadata.len())),
            Err(_) => report.add(FindingKind::Blob, digest, "its file is missing"),
        }
    }
}

fn check_images(memory: &Memory, sound: &impl Fn(&LayerId) -> bool, report: &mut FsckReport) {
    for image in memory.images.values() {
        report.images += 1;
        let missing = image.layers.iter().find(|layer| !sound(layer));
        if let Some(missing) = missing {
            report.add(FindingKind::Image, image.id, format!("its layer {missing} is missing or damaged"));
            continue;
        }
        let diff_ids: Vec<DiffId> = image.layers.iter().filter_map(|layer| memory.layers.get(layer)).map(|layer| layer.diff_id).collect();
        if diff_ids != image.config.rootfs.diff_ids {
            report.add(FindingKind::Image, image.id, "the diff ids of its config are not those of its layers");
        }
        let blobs = image.manifest.iter().map(|manifest| &manifest.digest).chain(&image.blobs);
        if let Some(missing) = blobs.into_iter().find(|blob| !memory.blobs.contains_key(blob)) {
            report.add(FindingKind::Image, image.id, format!("its blob {missing} is missing"));
        }
    }
}

fn check_references(memory: &Memory, sound: &impl Fn(&LayerId) -> bool, report: &mut FsckReport) {
    for (name, tag) in &memory.tags {
        if !memory.images.contains_key(&tag.image) {
            report.add(FindingKind::Name, name, format!("it points at image {}, which is not here", tag.image));
        }
    }
    for diff_id in memory.representations.keys().filter(|diff_id| !memory.by_diff_id.contains_key(diff_id)) {
        report.add(FindingKind::Representation, diff_id, "a stored form of this layer is known, but the layer is not here");
    }
    for (key, result) in memory.cache.entries() {
        if let Some(layer) = result.filter(|layer| !sound(layer)) {
            report.add(FindingKind::Cache, key, format!("its layer {layer} is missing or damaged"));
        }
    }
    for (owner, hold) in &memory.holds {
        if let Some(layer) = hold.layers.iter().find(|layer| !sound(layer)) {
            report.add(FindingKind::Hold, owner, format!("its layer {layer} is missing or damaged"));
        }
    }
    for (id, kept) in &memory.kept {
        if let Some(layer) = kept.parents.iter().find(|layer| !sound(layer)) {
            report.add(FindingKind::Snapshot, id, format!("its layer {layer} is missing or damaged"));
        }
    }
}

/// Looks while nothing appears or goes; where that never happens, the last look counts.
fn check_folders(store: &Store, report: &mut FsckReport) -> Result<()> {
    let before = report.findings.len();
    for _ in 0..LOOKS {
        let settled = store.shared().settled();
        report.findings.truncate(before);
        look_at_folders(store, report)?;
        if settled.is_some() && settled == store.shared().settled() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn look_at_folders(store: &Store, report: &mut FsckReport) -> Result<()> {
    let layout = &store.shared().layout;
    let (layers, blobs, active, volumes) =
        (names_in(&layout.layers())?, names_in(&layout.blobs())?, names_in(&layout.actives())?, names_in(&layout.volumes())?);
    let memory = store.shared().read();
    let known: HashSet<String> = memory.layers.keys().map(ToString::to_string).collect();
    layers
        .iter()
        .filter(|name| !known.contains(*name))
        .for_each(|name| report.add(FindingKind::Orphan, format!("layers/{name}"), "no row speaks of it"));
    let known: HashSet<String> = memory.blobs.keys().map(|digest| digest.hex()).collect();
    blobs
        .iter()
        .filter(|name| !known.contains(*name))
        .for_each(|name| report.add(FindingKind::Orphan, format!("blobs/sha256/{name}"), "no row speaks of it"));
    for name in &active {
        if !memory.kept.contains_key(name) && !memory.open_snapshots.contains_key(name) {
            report.add(FindingKind::Orphan, format!("active/{name}"), "no row speaks of it");
        }
    }
    for (id, _) in memory.kept.iter().filter(|(id, _)| !layout.active(id).join("upper").is_dir()) {
        report.add(FindingKind::Snapshot, id, "its folder is missing");
    }
    for name in volumes.iter().filter(|name| !memory.volumes.contains_key(*name)) {
        report.add(FindingKind::VolumeFolder, format!("volumes/{name}"), "no record speaks of it");
    }
    for name in memory.volumes.keys().filter(|name| !layout.volume(name).join("_data").is_dir()) {
        report.add(FindingKind::Volume, name, "its folder is missing");
    }
    Ok(())
}
