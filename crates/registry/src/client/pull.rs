//! Pulling an image: its manifest, its config, and its layers side by side, each unpacked while it arrives.
//!
//! What must stay true: nothing is named here, and nothing is visible under a name, before everything is verified: what comes out is for the caller to
//! publish in one step. A layer that is here is not fetched; what broke off is gone on with.

mod ask;
mod layer;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, try_join_all};
use shipway_model::{Descriptor, DiffId, Digest, ImageConfig, LayerId, Manifest, ManifestDocument, MediaType, Platform};
use shipway_store::{Lease, NewImage, Representation, Store};
use tokio::sync::Semaphore;

use super::manifests::{FetchedManifest, Wanted, choose, is_foreign};
use super::registry::Registry;
use super::transfer::{TransferEvent, TransferSink, TransferState, Turns};
use crate::Error;

/// The largest config that is read; `model::config` refuses larger ones.
const CONFIG_LIMIT: usize = 8 << 20;
/// Indexes inside indexes are followed so deep (S-503).
const DEPTH: usize = 4;
/// From so many bytes on what comes is written to the disk while the rest comes. With less, writing early only disturbs the making of files.
const MUCH: u64 = 128 << 20;
/// Layers of one image: overlayfs mounts stop long before.
const LAYERS: usize = 1000;

/// Pulls images into one store. Clones share what is being fetched, so that nothing is fetched twice at once.
#[derive(Clone)]
pub struct Puller {
    store: Store,
    turns: Arc<Turns>,
    /// Layers fetched and unpacked at the same time, by all pulls.
    places: Arc<Semaphore>,
}

/// What to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// Path of the repository.
    pub repository: String,
    pub wanted: Wanted,
    /// For whom; this machine when nobody says.
    pub platform: Option<Platform>,
}

/// An image that is here, as a whole, but has no name yet.
pub struct Pulled {
    /// What to put into the store.
    pub image: NewImage,
    /// The stored forms of its layers that were seen.
    pub forms: Vec<(DiffId, Representation)>,
    /// The digest that the name stands for: of the manifest, or of the index it was chosen from.
    pub digest: Digest,
    /// Keeps all of it until it is published.
    pub lease: Lease,
}

/// A manifest that was chosen, before anything of it is fetched.
pub struct Chosen {
    /// What the name stands for.
    pub(super) named: FetchedManifest,
    /// The manifest itself, where that is another one.
    pub(super) inner: Option<FetchedManifest>,
    pub(super) manifest: Manifest,
}

impl Chosen {
    /// The digest that the name stands for.
    pub fn digest(&self) -> Digest {
        self.named.descriptor.digest
    }

    /// Every digest by which a signature may speak of it: what the name stands for, and the manifest chosen from that.
    pub fn digests(&self) -> Vec<Digest> {
        std::iter::once(&self.named).chain(&self.inner).map(|manifest| manifest.descriptor.digest).collect()
    }

    fn own(&self) -> &FetchedManifest {
        self.inner.as_ref().unwrap_or(&self.named)
    }
}

impl Puller {
    /// Pulls into `store`, at most `places` layers at once.
    pub fn new(store: Store, places: usize) -> Self {
        Self { store, turns: Arc::default(), places: Arc::new(Semaphore::new(places.max(1))) }
    }

    /// Finds the manifest that `request` means.
    ///
    /// # Errors
    /// `Refused`, `Content`, `NoPlatform`.
    pub async fn choose(&self, registry: &Registry, request: &PullRequest) -> Result<Chosen, Error> {
        let named = registry.manifest(&request.repository, &request.wanted).await?;
        let mut current = named.clone();
        let mut is_inner = false;
        for _ in 0..DEPTH {
            match current.document.clone() {
                ManifestDocument::Manifest(manifest) => {
                    let inner = is_inner.then_some(current);
                    return Ok(Chosen { named, inner, manifest });
                }
                ManifestDocument::Index(index) => {
                    let entry = choose(&index, request.platform.as_ref())?.clone();
                    current = registry.manifest(&request.repository, &Wanted::Digest(entry.digest)).await?;
                    check_entry(&entry, &current)?;
                    is_inner = true;
                }
            }
        }
        Err(Error::Content {
            what: format!("the index {}", named.descriptor.digest),
            reason: "indexes are nested too deep in it".to_owned(),
        })
    }

    /// Brings everything of a chosen manifest here.
    ///
    /// # Errors
    /// As [`Puller::choose`], and `Store`. What came whole stays for the next attempt, without being visible.
    ///
    /// # Cost
    /// One pass over the bytes that are missing; some MiB of memory for each layer on its way.
    pub fn fetch<'a>(
        &'a self,
        registry: &'a Registry,
        request: &'a PullRequest,
        chosen: Chosen,
        events: &'a TransferSink,
    ) -> BoxFuture<'a, Result<Pulled, Error>> {
        Box::pin(self.fetch_whole(registry, request, chosen, events))
    }

    async fn fetch_whole(
        &self,
        registry: &Registry,
        request: &PullRequest,
        chosen: Chosen,
        events: &TransferSink,
    ) -> Result<Pulled, Error> {
        check_is_image(&chosen.manifest)?;
        let lease = self.store.lease();
        let announced: u64 = chosen.manifest.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
        let _early = (announced >= MUCH).then(|| self.store.write_early());
        let config_bytes = registry.small_blob(&request.repository, &chosen.manifest.config, CONFIG_LIMIT).await?;
        let diff_ids = self.check(&chosen, &config_bytes, request)?;
        let tell = |descriptor: &Descriptor, state| events(TransferEvent { layer: descriptor.digest, state });
        for descriptor in &chosen.manifest.layers {
            tell(descriptor, TransferState::Announced);
        }
        let origin = format!("{}/{}", registry.domain(), request.repository);
        let job = |at: usize, lower: Vec<LayerId>| layer::Job {
            puller: self,
            registry,
            repository: &request.repository,
            descriptor: &chosen.manifest.layers[at],
            diff_id: diff_ids[at],
            lease: &lease,
            events,
            lower,
        };
        let found = try_join_all((0..diff_ids.len()).map(|at| job(at, Vec::new()).run())).await?;
        // Few layers need to know what is below them; those come last, from what was fetched already.
        let mut layers: Vec<layer::Here> = Vec::with_capacity(found.len());
        for (at, found) in found.into_iter().enumerate() {
            layers.push(match found {
                layer::Found::Here(here) => here,
                layer::Found::NeedsLower(error) if at == 0 => return Err(error),
                layer::Found::NeedsLower(_) => match job(at, layers.iter().map(|layer| layer.id).collect()).run().await? {
                    layer::Found::Here(here) => here,
                    layer::Found::NeedsLower(error) => return Err(error),
                },
            });
        }
        let forms = chosen
            .manifest
            .layers
            .iter()
            .zip(&diff_ids)
            .filter_map(|(descriptor, diff_id)| {
                let same = |(layer, other): &(&layer::Here, &Descriptor)| layer.fetched.is_some() && other.digest == descriptor.digest;
                let fetched = layers.iter().zip(&chosen.manifest.layers).find(same);
                // What was not fetched is a form of this layer by the manifest's word only, unless we knew before.
                let known = || self.is_form(descriptor, diff_id).then_some(descriptor.digest);
                let digest = fetched.and_then(|(layer, _)| layer.fetched).or_else(known)?;
                let form = Representation {
                    media_type: descriptor.media_type.clone(),
                    digest,
                    size: descriptor.size,
                    origins: vec![origin.clone()],
                };
                Some((*diff_id, form))
            })
            .collect();
        let (digest, mut manifest) = (chosen.digest(), chosen.own().descriptor.clone());
        // Blobs are kept under SHA-256, whatever a manifest was asked for by.
        manifest.digest = Digest::sha256_of(&chosen.own().bytes);
        let documents: Vec<Bytes> = std::iter::once(&chosen.named).chain(&chosen.inner).map(|document| document.bytes.clone()).collect();
        let blobs = self.keep(documents, &lease).await?;
        let image = NewImage {
            config_bytes,
            layers: layers.iter().map(|layer| layer.id).collect(),
            manifest: Some(manifest),
            blobs,
            parent: None,
            origin: shipway_store::LayerOrigin::Pulled,
        };
        Ok(Pulled { image, forms, digest, lease })
    }

    fn is_form(&self, descriptor: &Descriptor, diff_id: &DiffId) -> bool {
        self.store.representations(diff_id).iter().any(|form| form.digest == descriptor.digest)
    }

    /// What must hold before anything large is fetched; the diff ids of the layers.
    fn check(&self, chosen: &Chosen, config_bytes: &[u8], request: &PullRequest) -> Result<Vec<DiffId>, Error> {
        let what = || format!("the image {}", chosen.own().descriptor.digest);
        let wrong = |reason: String| Error::Content { what: what(), reason };
        let layers = &chosen.manifest.layers;
        let config = ImageConfig::parse(config_bytes).map_err(|error| wrong(format!("its config cannot be read: {error}")))?;
        if layers.len() > LAYERS {
            return Err(wrong(format!("it has more than {LAYERS} layers")));
        }
        if config.rootfs.diff_ids.len() != layers.len() {
            return Err(wrong(format!("its config names {} layers, its manifest {}", config.rootfs.diff_ids.len(), layers.len())));
        }
        let made_for = Platform::of_image(&config);
        if let Some(wanted) = request.platform.as_ref().filter(|wanted| !made_for.matches(wanted)) {
            return Err(Error::NoPlatform { wanted: wanted.to_string(), available: vec![made_for.to_string()] });
        }
        Ok(config.rootfs.diff_ids)
    }

    /// Stores the documents an image came by, so that it can go on as exactly the same one.
    async fn keep(&self, documents: Vec<Bytes>, lease: &Lease) -> Result<Vec<Digest>, Error> {
        let (store, lease) = (self.store.clone(), lease.clone());
        super::blocking(move || {
            let keep = |bytes: &Bytes| Ok(store.blobs().put_kept(bytes, None, &lease)?);
            documents.iter().map(keep).collect()
        })
        .await
    }
}

/// What an index says of an entry must hold for the entry.
fn check_entry(entry: &Descriptor, found: &FetchedManifest) -> Result<(), Error> {
    let wrong = |reason: String| Error::Content { what: format!("the manifest {}", entry.digest), reason };
    if entry.size != found.descriptor.size {
        return Err(wrong(format!("it has {} bytes instead of {}", found.descriptor.size, entry.size)));
    }
    if entry.media_type != found.descriptor.media_type {
        return Err(wrong(format!("it is {}, the index calls it {}", found.descriptor.media_type, entry.media_type)));
    }
    Ok(())
}

/// Types of configs that old registries and tools gave to those of images (moby#22378, moby#30083).
const CONFIGS_OF_OLD: [&str; 4] = ["application/octet-stream", "application/json", "text/html", ""];

/// Helm charts, policies, signatures: manifests carry much that is no image, and has to be found out before anything of it is fetched.
fn check_is_image(manifest: &Manifest) -> Result<(), Error> {
    let config = &manifest.config.media_type;
    if !matches!(config, MediaType::OciConfig | MediaType::DockerConfig) && !CONFIGS_OF_OLD.contains(&config.as_str()) {
        let of = manifest.artifact_type.as_deref().filter(|text| !text.is_empty()).unwrap_or(config.as_str());
        return Err(Error::NoImage { found: of.to_owned() });
    }
    match manifest.layers.iter().find(|layer| !is_layer(layer)) {
        Some(other) => Err(Error::NoImage { found: other.media_type.to_string() }),
        None => Ok(()),
    }
}

/// Layers by their type, and those of a type of old that says where else they are.
fn is_layer(descriptor: &Descriptor) -> bool {
    descriptor.media_type.is_layer() || is_foreign(&descriptor.media_type)
}
