//! Repairing: one kind of finding after the other, so that removing a layer also finds the images and cache records that needed it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use shipway_model::{DiffId, Digest, ImageId, LayerId, VolumeName};

use super::{FindingKind, FsckReport, rows};
use crate::Result;
use crate::blobs::BLOBS;
use crate::cache::CacheKey;
use crate::images::TAGS;
use crate::layers::LAYERS;
use crate::layout::create_dir;
use crate::open::Store;
use crate::representations::REPRESENTATIONS;

pub(super) fn repair(store: &Store, report: &mut FsckReport) -> Result<()> {
    drop_layers(store, report)?;
    drop_blobs(store, report)?;
    // With those gone, look again: what pointed at them is now found too.
    let mut after = FsckReport::default();
    rows::check(store, &mut after)?;
    let known: HashSet<(FindingKind, String)> = report.findings.iter().map(|finding| (finding.kind, finding.place.clone())).collect();
    report.findings.extend(after.findings.into_iter().filter(|finding| !known.contains(&(finding.kind, finding.place.clone()))));
    for index in 0..report.findings.len() {
        let finding = &report.findings[index];
        if !finding.fixed {
            let fixed = repair_one(store, finding.kind, &finding.place.clone())?;
            report.findings[index].fixed = fixed;
        }
    }
    Ok(())
}

fn drop_layers(store: &Store, report: &mut FsckReport) -> Result<()> {
    let mut ids: Vec<LayerId> = report
        .findings
        .iter()
        .filter(|finding| finding.kind == FindingKind::Layer)
        .filter_map(|finding| finding.place.parse().ok())
        .collect();
    for layer in store.layers() {
        if let Some(base) = layer.base.filter(|base| ids.contains(base) && !ids.contains(&layer.id)) {
            report.add(FindingKind::Layer, layer.id, format!("layer {base}, from which it differs, is missing or damaged"));
            ids.push(layer.id);
        }
    }
    let (shared, rows) = (Arc::clone(store.shared()), ids.clone());
    store.db().write(move |txn| -> Result<()> {
        for id in &rows {
            txn.remove(&LAYERS, id)?;
        }
        txn.on_commit(move || {
            let mut memory = shared.write();
            for id in &rows {
                memory.remove_layer(id);
                memory.damaged.remove(id);
            }
        });
        Ok(())
    })?;
    for id in &ids {
        store.shared().indexes.forget(id);
        store.throw_away(&store.shared().layout.layer(id))?;
    }
    mark(report, FindingKind::Layer);
    Ok(())
}

fn drop_blobs(store: &Store, report: &mut FsckReport) -> Result<()> {
    let digests: Vec<Digest> = report
        .findings
        .iter()
        .filter(|finding| finding.kind == FindingKind::Blob)
        .filter_map(|finding| finding.place.parse().ok())
        .collect();
    let (shared, rows) = (Arc::clone(store.shared()), digests.clone());
    store.db().write(move |txn| -> Result<()> {
        for digest in &rows {
            txn.remove(&BLOBS, digest)?;
        }
        txn.on_commit(move || {
            let mut memory = shared.write();
            for digest in &rows {
                memory.blobs.remove(digest);
            }
        });
        Ok(())
    })?;
    for digest in &digests {
        store.throw_away(&store.shared().layout.blob(digest))?;
    }
    mark(report, FindingKind::Blob);
    Ok(())
}

fn mark(report: &mut FsckReport, kind: FindingKind) {
    report.findings.iter_mut().filter(|finding| finding.kind == kind).for_each(|finding| finding.fixed = true);
}

/// Repairs one finding; false for those that only their owner can end.
fn repair_one(store: &Store, kind: FindingKind, place: &str) -> Result<bool> {
    match kind {
        FindingKind::Record
        | FindingKind::Hold
        | FindingKind::Snapshot
        | FindingKind::Database
        | FindingKind::Layer
        | FindingKind::Blob => Ok(false),
        FindingKind::Image => match place.parse::<ImageId>() {
            Ok(id) => {
                let worker = store.clone();
                store.db().write(move |txn| worker.images().remove(txn, &id))?;
                Ok(true)
            }
            Err(_) => Ok(false),
        },
        FindingKind::Name => {
            let (shared, key) = (Arc::clone(store.shared()), place.to_owned());
            store.db().write(move |txn| -> Result<()> {
                txn.remove(&TAGS, &key)?;
                txn.on_commit(move || shared.write().remove_tag(&key));
                Ok(())
            })?;
            Ok(true)
        }
        FindingKind::Representation => match place.parse::<DiffId>() {
            Ok(diff_id) => {
                let shared = Arc::clone(store.shared());
                store.db().write(move |txn| -> Result<()> {
                    txn.remove(&REPRESENTATIONS, &diff_id)?;
                    txn.on_commit(move || shared.write().forget_representations(&diff_id));
                    Ok(())
                })?;
                Ok(true)
            }
            Err(_) => Ok(false),
        },
        FindingKind::Cache => match place.parse::<CacheKey>() {
            Ok(key) => store.cache().remove(&[key]).map(|()| true),
            Err(_) => Ok(false),
        },
        FindingKind::Volume => {
            create_dir(&store.shared().layout.volume(place).join("_data"), 0o755)?;
            store.mark_dirty();
            store.publish(|_| Ok(())).map(|()| true)
        }
        FindingKind::VolumeFolder => match place.trim_start_matches("volumes/").parse::<VolumeName>() {
            Ok(name) => store.volumes().create(&name, "", BTreeMap::new(), BTreeMap::new()).map(|_| true),
            Err(_) => Ok(false),
        },
        FindingKind::Orphan => store.throw_away(&store.root().join(place)).map(|()| true),
    }
}
