//! What the members of an image archive mean: which images there are, of which layers, under which names.
//!
//! `manifest.json` (Docker's list) is believed first, then `index.json` (OCI). Every digest an OCI document states is checked against the bytes that came;
//! Docker's list states none, there the config's diff ids are checked. A layer that did not come is the store's with the diff id of the config.

use std::collections::HashMap;

use serde::Deserialize;
use shipway_model::{Descriptor, DiffId, Digest, ImageConfig, ManifestDocument, Reference};

use super::load::{Contents, Described, Here};
use super::{BASE_ID, BASE_NAME};
use crate::images::NewImage;
use crate::layers::LayerOrigin;
use crate::{Error, Result};

/// Indexes inside indexes are followed so deep.
const DEPTH: usize = 4;
/// Images in one archive at most.
const IMAGES: usize = 10_000;

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
struct DockerItem {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers", default)]
    layers: Option<Vec<String>>,
}

/// The images of an archive.
pub(super) fn describe(contents: &Contents, here: &Here<'_>) -> Result<Vec<Described>> {
    let images = if contents.documents.contains_key("manifest.json") {
        docker(contents, here)?
    } else if contents.documents.contains_key("index.json") {
        oci(contents, here)?
    } else if contents.documents.contains_key("repositories") {
        return Err(Error::Unsupported { what: "loading archives of Docker before 1.10 (without manifest.json)".to_owned() });
    } else {
        return Err(Error::invalid("image archive", "it has neither \"manifest.json\" nor \"index.json\""));
    };
    if images.is_empty() {
        return Err(Error::invalid("image archive", "there is no image in it"));
    }
    Ok(images)
}

fn docker(contents: &Contents, here: &Here<'_>) -> Result<Vec<Described>> {
    let items: Vec<DockerItem> = parse(contents.document("manifest.json")?, "manifest.json")?;
    too_many(items.len())?;
    let mut images = Vec::new();
    for item in items {
        let mut references = Vec::new();
        for name in item.repo_tags.unwrap_or_default() {
            let reference = Reference::parse(&name).map_err(|error| Error::invalid(format!("name \"{name}\" in the archive"), error))?;
            references.push(reference.with_default_tag());
        }
        let image = image(contents, here, contents.document(&item.config)?, &item.layers.unwrap_or_default())?;
        images.push(Described { image, references });
    }
    Ok(images)
}

fn oci(contents: &Contents, here: &Here<'_>) -> Result<Vec<Described>> {
    let mut images = Vec::new();
    let bytes = contents.document("index.json")?;
    let ManifestDocument::Index(index) =
        ManifestDocument::parse(bytes, None).map_err(|error| Error::invalid("index.json of the archive", error))?
    else {
        return Err(Error::invalid("image archive", "its index.json is no index"));
    };
    for descriptor in &index.manifests {
        follow(contents, here, descriptor, &names(descriptor), DEPTH, &mut images)?;
    }
    Ok(images)
}

/// Adds the image `descriptor` points at, or the images of the index it points at.
fn follow(
    contents: &Contents,
    here: &Here<'_>,
    descriptor: &Descriptor,
    references: &[Reference],
    depth: usize,
    images: &mut Vec<Described>,
) -> Result<()> {
    if depth == 0 {
        return Err(Error::invalid("image archive", "its indexes are nested too deep"));
    }
    let path = blob_path(&descriptor.digest);
    let bytes = checked(contents.document(&path)?, descriptor)?;
    let document =
        ManifestDocument::parse(bytes, Some(&descriptor.media_type)).map_err(|error| Error::invalid(format!("\"{path}\""), error))?;
    match document {
        ManifestDocument::Index(index) => {
            for inner in &index.manifests {
                // A layout may hold only some platforms of an index, and attestations are no images.
                let came = contents.documents.contains_key(&blob_path(&inner.digest));
                let image = inner.platform.as_ref().is_none_or(|platform| platform.os != "unknown");
                if came && image {
                    follow(contents, here, inner, references, depth - 1, images)?;
                }
            }
            Ok(())
        }
        ManifestDocument::Manifest(manifest) => {
            too_many(images.len() + 1)?;
            if manifest.layers.iter().any(|layer| !layer.media_type.is_layer()) {
                // An artifact that is no image: nothing to run, nothing to load.
                return Ok(());
            }
            let config = checked(contents.document(&blob_path(&manifest.config.digest))?, &manifest.config)?;
            let mut layers = Vec::new();
            for layer in &manifest.layers {
                let path = blob_path(&layer.digest);
                if let Some(member) = contents.layer(&path)?
                    && (member.stored != layer.digest || member.stored_size != layer.size)
                {
                    return Err(Error::corrupt(
                        format!("layer \"{path}\" of the archive"),
                        format!("its bytes have the digest {}", member.stored),
                    ));
                }
                layers.push(path);
            }
            images.push(Described { image: image(contents, here, config, &layers)?, references: references.to_vec() });
            Ok(())
        }
    }
}

/// The image of a config and the members that are its layers.
fn image(contents: &Contents, here: &Here<'_>, config_bytes: &[u8], layers: &[String]) -> Result<NewImage> {
    let config = ImageConfig::parse(config_bytes).map_err(|error| Error::invalid("image config in the archive", error))?;
    if config.rootfs.diff_ids.len() != layers.len() {
        let reason = format!("its config names {} layers, the archive {}", config.rootfs.diff_ids.len(), layers.len());
        return Err(Error::invalid("image in the archive", reason));
    }
    let mut ids = Vec::with_capacity(layers.len());
    for (name, diff_id) in layers.iter().zip(&config.rootfs.diff_ids) {
        let Some(member) = contents.layer(name)? else {
            ids.push(here.layer(diff_id).ok_or_else(|| missing(contents, name, diff_id))?);
            continue;
        };
        if member.layer.diff_id != *diff_id {
            return Err(Error::corrupt(
                format!("layer \"{name}\" of the archive"),
                format!("its digest is {} instead of {diff_id}", member.layer.diff_id),
            ));
        }
        ids.push(member.layer.id);
    }
    Ok(NewImage {
        config_bytes: config_bytes.to_vec(),
        layers: ids,
        manifest: None,
        blobs: Vec::new(),
        parent: None,
        origin: LayerOrigin::Loaded,
    })
}

/// Why a layer that did not come cannot be had from the store either.
fn missing(contents: &Contents, name: &str, diff_id: &DiffId) -> Error {
    #[derive(Deserialize)]
    struct Top {
        #[serde(default)]
        annotations: HashMap<String, String>,
    }
    let top = contents.documents.get("index.json").and_then(|bytes| serde_json::from_slice::<Top>(bytes).ok());
    let base = top.and_then(|mut top| Some((top.annotations.remove(BASE_NAME)?, top.annotations.remove(BASE_ID)?)));
    match base {
        // Words of the archive on their way to a terminal: only what a name and an id can be.
        Some((base, id)) if Reference::parse(&base).is_ok() && id.parse::<Digest>().is_ok() => {
            Error::MissingBase { base, id, layer: diff_id.to_string() }
        }
        _ => contents.absent(name),
    }
}

/// Names an OCI index gives to an image: containerd's full one, or the reference name where that is more than a tag.
fn names(descriptor: &Descriptor) -> Vec<Reference> {
    let full = descriptor.annotations.get("io.containerd.image.name");
    let short = descriptor.annotations.get("org.opencontainers.image.ref.name").filter(|name| name.contains([':', '/']));
    // A name of a layout that is no reference of ours is no reason to refuse the image; it is then loaded without one.
    full.or(short).and_then(|name| Reference::parse(name).ok()).map(Reference::with_default_tag).into_iter().collect()
}

fn checked<'a>(bytes: &'a [u8], descriptor: &Descriptor) -> Result<&'a [u8]> {
    let found = Digest::sha256_of(bytes);
    if found != descriptor.digest || bytes.len() as u64 != descriptor.size {
        let reason = format!("its {} bytes have the digest {found}", bytes.len());
        return Err(Error::corrupt(format!("\"{}\" of the archive", blob_path(&descriptor.digest)), reason));
    }
    Ok(bytes)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], name: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(format!("\"{name}\" of the archive"), error))
}

fn too_many(count: usize) -> Result<()> {
    if count > IMAGES { Err(Error::invalid("image archive", format!("it has more than {IMAGES} images"))) } else { Ok(()) }
}
