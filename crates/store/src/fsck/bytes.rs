//! The strict check: every byte is read and compared with what its row says.

use std::cmp::Ordering;
use std::fs::File;

use shipway_archive::diff::{ScanOptions, commit_scan};
use shipway_archive::index::{EntryRef, LayerIndex, compare_paths};
use shipway_model::Sha256Hasher;

use super::{FindingKind, FsckReport};
use crate::layers::{Layer, TarSource};
use crate::open::Store;
use crate::{Error, Result};

pub(super) fn check(store: &Store, report: &mut FsckReport) -> Result<()> {
    // Scanning needs what nobody deletes meanwhile.
    let lease = store.lease();
    let known: Vec<String> =
        report.findings.iter().filter(|finding| finding.kind == FindingKind::Layer).map(|finding| finding.place.clone()).collect();
    for layer in store.layers() {
        if known.contains(&layer.id.to_string()) || !lease.add_layer(&layer.id) {
            continue;
        }
        if let Err(error) = check_layer(store, &layer) {
            report.add(FindingKind::Layer, layer.id, error);
        }
    }
    for (digest, _) in store.blobs().list() {
        if !lease.add_blob(&digest) {
            continue;
        }
        let mut hasher = Sha256Hasher::new();
        let path = store.shared().layout.blob(&digest);
        // A missing file was found by the fast check.
        let Ok(mut file) = File::open(&path) else { continue };
        match std::io::copy(&mut file, &mut hasher) {
            Ok(_) => {
                let found = hasher.finish();
                if found != digest {
                    report.add(FindingKind::Blob, digest, format!("its bytes have the digest {found}"));
                }
            }
            Err(error) => report.add(FindingKind::Blob, digest, error),
        }
    }
    for image in store.images().list() {
        match store.images().config_bytes(&image.id) {
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => report.add(FindingKind::Image, image.id, error),
        }
    }
    for line in store.db().check_integrity()? {
        report.add(FindingKind::Database, store.db().path().display(), line);
    }
    Ok(())
}

fn check_layer(store: &Store, layer: &Layer) -> Result<()> {
    let scanned = commit_scan(&store.roots_of(&layer.id)?, &ScanOptions { newest: layer.newest })?;
    let index = store.shared().layer_index_from_disk(layer)?;
    index.verify().map_err(|error| Error::corrupt(format!("index of layer {}", layer.id), error.to_string()))?;
    if scanned.index.digest()? != layer.tree_digest {
        return Err(Error::corrupt(format!("layer {}", layer.id), first_difference(&index, &scanned.index)?));
    }
    match layer.tar {
        TarSource::Written if scanned.diff_id != layer.diff_id => {
            Err(Error::corrupt(format!("layer {}", layer.id), "a file has another time than when it was committed"))
        }
        TarSource::Recipe => store.write_layer(&layer.id, &mut std::io::sink()),
        TarSource::Written | TarSource::Lost => Ok(()),
    }
}

/// The first path that differs, in words.
fn first_difference(wanted: &LayerIndex, found: &LayerIndex) -> Result<String> {
    let (mut wanted, mut found) = (wanted.iter(), found.iter());
    let (mut one, mut other) = (wanted.next().transpose()?, found.next().transpose()?);
    loop {
        let order = match (&one, &other) {
            (Some(one), Some(other)) => compare_paths(&one.path, &other.path),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok("its tree digest is another one".to_owned()),
        };
        let said = |entry: &Option<EntryRef>, what: &str| {
            let path = entry.as_ref().map(|entry| entry.path.escape_ascii().to_string()).unwrap_or_default();
            Ok(format!("\"{path}\" {what}"))
        };
        match order {
            Ordering::Less => return said(&one, "is missing"),
            Ordering::Greater => return said(&other, "was added"),
            Ordering::Equal if one.as_deref() != other.as_deref() => return said(&one, "was changed"),
            Ordering::Equal => (one, other) = (wanted.next().transpose()?, found.next().transpose()?),
        }
    }
}
