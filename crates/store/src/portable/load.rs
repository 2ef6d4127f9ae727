//! Reading images from a stream, in one pass: layers are unpacked as they come by, before anything says whose they are.
//!
//! What must stay true: names inside the archive are only ever keys of a map, never paths of ours; nothing is visible until every digest has been
//! checked and all images and names go into one transaction; documents of more than a few megabytes are not read into memory.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use shipway_archive::tar::header::Header;
use shipway_archive::tar::{BLOCK, Entry, EntryKind, TarReader};
use shipway_archive::{Limits, compress};
use shipway_model::{DiffId, Digest, ImageConfig, ImageId, LayerId, Platform, Reference, Sha256Hasher};

use super::load_meaning;
use crate::error::Doing as _;
use crate::images::NewImage;
use crate::layers::{Layer, LayerOrigin};
use crate::leases::Lease;
use crate::open::Store;
use crate::unpack::UnpackRequest;
use crate::{Error, Result, clock};

/// Largest JSON document of an archive: a config may have 8 MiB, see `model::config`.
const DOCUMENT_LIMIT: u64 = 8 << 20;
/// All documents of one archive together.
const DOCUMENTS_LIMIT: usize = 256 << 20;
/// Bytes by which the kind of a member is told.
const SNIFF: usize = BLOCK;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: ImageId,
    /// The names it got.
    pub references: Vec<Reference>,
    /// Images that had one of these names before and lost it.
    pub replaced: Vec<(Reference, ImageId)>,
}

/// How far a load is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadProgress {
    /// A layer starts; its name in the archive and its size there.
    Layer {
        /// Name in the archive.
        name: String,
        /// Bytes in the archive.
        size: u64,
    },
    /// A layer is unpacked.
    LayerDone {
        /// Name in the archive.
        name: String,
    },
}

/// What was in the archive, by cleaned name.
pub(super) struct Contents {
    pub(super) documents: HashMap<String, Vec<u8>>,
    pub(super) layers: HashMap<String, Result<LayerMember>>,
    links: HashMap<String, String>,
    /// Members that are neither documents nor archives, with the reason why they were passed over.
    passed_over: HashMap<String, &'static str>,
    document_bytes: usize,
}

/// A member that was a layer.
pub(super) struct LayerMember {
    pub(super) layer: Arc<Layer>,
    pub(super) stored: Digest,
    pub(super) stored_size: u64,
}

/// What the store has of what an archive leaves out.
pub(super) struct Here<'a> {
    store: &'a Store,
    lease: &'a Lease,
}

impl Here<'_> {
    /// The layer with this diff id, if it is here; the load keeps it then.
    pub(super) fn layer(&self, diff_id: &DiffId) -> Option<LayerId> {
        self.store.layer_by_diff_id(diff_id).filter(|id| self.lease.add_layer(id))
    }
}

/// An image as the archive describes it, its layers found and checked.
pub(super) struct Described {
    pub(super) image: NewImage,
    pub(super) references: Vec<Reference>,
}

impl Store {
    /// Loads every image of an archive.
    ///
    /// # Errors
    /// `Invalid` when the archive is of no known form or names things that are not in it; `Corrupt`, naming the layer, when a digest does not fit.
    /// No image and no name has changed then; layers already unpacked go with the next collect.
    ///
    /// # Cost
    /// One pass over the stream, which needs no seeking; each layer is written to the disk once.
    pub fn load(&self, stream: impl Read + Send, progress: &mut dyn FnMut(LoadProgress)) -> Result<Vec<Loaded>> {
        self.load_for(None, stream, progress)
    }

    /// Loads the images of an archive that are for `platform`; every one when none is wanted.
    ///
    /// # Errors
    /// As [`Store::load`]; `NoPlatform` when there is no image for it.
    pub fn load_for(
        &self,
        platform: Option<&Platform>,
        stream: impl Read + Send,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Vec<Loaded>> {
        let lease = self.lease();
        let contents = self.read_archive(stream, &lease, progress)?;
        let mut images = load_meaning::describe(&contents, &Here { store: self, lease: &lease })?;
        if let Some(wanted) = platform {
            images = for_platform(images, wanted)?;
        }
        let store = self.clone();
        let loaded = self.publish(move |txn| {
            let mut loaded = Vec::new();
            for Described { image, references } in images {
                let id = store.images().put(txn, image)?;
                let mut replaced = Vec::new();
                for reference in &references {
                    let former = store.images().tag(txn, reference, id)?;
                    replaced.extend(former.filter(|former| *former != id).map(|former| (reference.clone(), former)));
                }
                loaded.push(Loaded { id, references, replaced });
            }
            Ok(loaded)
        });
        drop(lease);
        loaded
    }

    fn read_archive(&self, stream: impl Read + Send, lease: &Lease, progress: &mut dyn FnMut(LoadProgress)) -> Result<Contents> {
        let mut tar = TarReader::new(compress::decoder(stream, &Limits::default())?.1, Limits::default());
        let mut contents = Contents::new();
        while let Some(entry) = tar.next()? {
            let name = clean(&entry.path)?;
            match entry.kind {
                EntryKind::Directory => {}
                EntryKind::Regular => {
                    contents.refuse_twice(&name)?;
                    self.read_member(&name, &entry, &mut tar, &mut contents, lease, progress)?;
                }
                EntryKind::Symlink | EntryKind::Hardlink => {
                    contents.refuse_twice(&name)?;
                    let target = link_target(&name, &entry)?;
                    contents.links.insert(name, target);
                }
                EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                    return Err(Error::invalid("image archive", format!("\"{name}\" is a device or a pipe")));
                }
            }
        }
        Ok(contents)
    }

    fn read_member(
        &self,
        name: &str,
        entry: &Entry,
        body: &mut (impl Read + Send),
        contents: &mut Contents,
        lease: &Lease,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<()> {
        let mut start = Vec::new();
        body.take(SNIFF as u64).read_to_end(&mut start).doing(|| format!("read \"{name}\" of the archive"))?;
        if looks_like_layer(&start) {
            progress(LoadProgress::Layer { name: name.to_owned(), size: entry.size });
            let member = self.read_layer(name, Cursor::new(start).chain(body), lease);
            progress(LoadProgress::LayerDone { name: name.to_owned() });
            // A full disk ends the load; a member that is no layer after all only matters if an image names it.
            if let Err(error @ (Error::NoSpace { .. } | Error::Degraded { .. })) = member {
                return Err(error);
            }
            contents.layers.insert(name.to_owned(), member);
        } else if entry.size <= DOCUMENT_LIMIT {
            contents.document_bytes += usize::try_from(entry.size).unwrap_or(usize::MAX);
            if contents.document_bytes > DOCUMENTS_LIMIT {
                return Err(Error::invalid("image archive", format!("its documents have more than {DOCUMENTS_LIMIT} bytes")));
            }
            body.read_to_end(&mut start).doing(|| format!("read \"{name}\" of the archive"))?;
            contents.documents.insert(name.to_owned(), start);
        } else {
            contents.passed_over.insert(name.to_owned(), "it is too large for a document and is no layer");
        }
        Ok(())
    }

    fn read_layer(&self, name: &str, body: impl Read + Send, lease: &Lease) -> Result<LayerMember> {
        // Docker names uncompressed blobs by what is their diff id too: a layer that is here already is only hashed.
        if let Some(hex) = name.strip_prefix("blobs/sha256/")
            && let Ok(digest) = format!("sha256:{hex}").parse::<Digest>()
            && let Some(id) = self.layer_by_diff_id(&DiffId(digest))
            && lease.add_layer(&id)
            && let Some(layer) = self.layer(&id)
        {
            let (stored, stored_size) = hash(body)?;
            return Ok(LayerMember { layer, stored, stored_size });
        }
        let request = UnpackRequest {
            expected: None,
            origin: LayerOrigin::Loaded,
            created: clock::now(),
            lower: Vec::new(),
            lease: Some(lease.clone()),
        };
        let unpacked = self.unpack_layer(body, &request)?;
        Ok(LayerMember { layer: unpacked.layer, stored: unpacked.stored, stored_size: unpacked.stored_size })
    }
}

impl Contents {
    fn new() -> Self {
        Self { documents: HashMap::new(), layers: HashMap::new(), links: HashMap::new(), passed_over: HashMap::new(), document_bytes: 0 }
    }

    /// Two members of one name would mean different things to different readers.
    fn refuse_twice(&self, name: &str) -> Result<()> {
        let known = self.documents.contains_key(name)
            || self.layers.contains_key(name)
            || self.links.contains_key(name)
            || self.passed_over.contains_key(name);
        if known { Err(Error::invalid("image archive", format!("it has \"{name}\" twice"))) } else { Ok(()) }
    }

    /// The document called `name` in the archive.
    pub(super) fn document(&self, name: &str) -> Result<&[u8]> {
        let name = self.follow(name)?;
        match self.documents.get(&name) {
            Some(bytes) => Ok(bytes),
            None => Err(self.absent(&name)),
        }
    }

    /// The layer called `name` in the archive; `None` when the archive does not have it.
    pub(super) fn layer(&self, name: &str) -> Result<Option<&LayerMember>> {
        let name = self.follow(name)?;
        match self.layers.get(&name) {
            Some(Ok(member)) => Ok(Some(member)),
            Some(Err(error)) => Err(Error::corrupt(format!("layer \"{name}\" of the archive"), error.to_string())),
            None if self.documents.contains_key(&name) || self.passed_over.contains_key(&name) => Err(self.absent(&name)),
            None => Ok(None),
        }
    }

    fn follow(&self, name: &str) -> Result<String> {
        let mut name = clean(name.as_bytes())?;
        // Docker wrote links from a layer's folder to another's; one step is all there ever was, a few are harmless.
        for _ in 0..8 {
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None => return Ok(name),
            }
        }
        Err(Error::invalid("image archive", format!("\"{name}\" is a link that leads in a circle")))
    }

    /// Why the member `name` cannot be had.
    pub(super) fn absent(&self, name: &str) -> Error {
        let reason = match self.passed_over.get(name) {
            Some(reason) => reason,
            None if self.documents.contains_key(name) => "it is no layer",
            None => "it is not in the archive",
        };
        Error::invalid("image archive", format!("\"{name}\" is named in it, but {reason}"))
    }
}

fn hash(mut body: impl Read) -> Result<(Digest, u64)> {
    let mut hasher = Sha256Hasher::new();
    let size = std::io::copy(&mut body, &mut hasher).doing(|| "read layer".to_owned())?;
    Ok((hasher.finish(), size))
}

/// A tar by its checksum, an empty one by its zeros, a compressed one by its magic.
fn looks_like_layer(start: &[u8]) -> bool {
    match compress::detect(start) {
        compress::Format::Plain => {
            <&[u8; BLOCK]>::try_from(start).is_ok_and(|block| block.iter().all(|byte| *byte == 0) || Header::new(block).is_ok())
        }
        _ => true,
    }
}

/// A name of the archive as a key: parts joined by single slashes.
pub(super) fn clean(path: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(path).map_err(|_| Error::invalid("image archive", "a name in it is not UTF-8"))?;
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(Error::invalid("image archive", format!("the name \"{text}\" leads out of it"))),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// Where a link points, as a key: a hard link from the top of the archive, a symlink from its own folder.
/// Those of `images` that are for `wanted`.
fn for_platform(images: Vec<Described>, wanted: &Platform) -> Result<Vec<Described>> {
    let mut available = Vec::new();
    let mut kept = Vec::new();
    for described in images {
        let config =
            ImageConfig::parse(&described.image.config_bytes).map_err(|error| Error::invalid("image config", error.to_string()))?;
        let platform = Platform::of_image(&config);
        if platform.matches(wanted) {
            kept.push(described);
        } else {
            available.push(platform.to_string());
        }
    }
    if kept.is_empty() { Err(Error::NoPlatform { wanted: wanted.to_string(), available }) } else { Ok(kept) }
}

fn link_target(name: &str, entry: &Entry) -> Result<String> {
    if entry.kind == EntryKind::Hardlink {
        return clean(&entry.link);
    }
    let text = std::str::from_utf8(&entry.link).map_err(|_| Error::invalid("image archive", "a link in it is not UTF-8"))?;
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    if text.starts_with('/') {
        return Err(Error::invalid("image archive", format!("the link \"{name}\" leads out of it")));
    }
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(Error::invalid("image archive", format!("the link \"{name}\" leads out of it")));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}
