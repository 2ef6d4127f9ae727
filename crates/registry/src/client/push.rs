//! Pushing an image: what the other end has is not sent, what it has elsewhere is mounted, the rest goes up side by side; the manifest comes last, so that
//! a reader never finds one with holes.
//!
//! What must stay true: an image that came by a manifest goes on by exactly the same one wherever its stored forms can be had; a layer is compressed once.
//!
//! # Source
//! OCI distribution-spec 1.1, "Push".

mod layer;
mod referrers;
mod upload;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, try_join_all};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use shipway_model::{Compression, Descriptor, DiffId, Digest, ImageId, Manifest, ManifestDocument, MediaType};
use shipway_store::{Image, Lease, Representation, Store};
use tokio::sync::Semaphore;

use super::access::Scope;
use super::manifests::Wanted;
use super::refusal::refusal;
use super::registry::Registry;
use super::transfer::TransferSink;
use crate::{Error, Response};

/// How layers of ours are compressed when they are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerCompression {
    /// As they came; gzip for what never left this machine.
    AsItIs,
    Gzip,
    Zstd,
}

/// Pushes images out of one store.
#[derive(Clone)]
pub struct Pusher {
    store: Store,
    /// Layers sent at the same time, by all pushes.
    places: Arc<Semaphore>,
}

/// What to push.
#[derive(Debug, Clone)]
pub struct PushRequest {
    pub image: ImageId,
    /// Path of the repository.
    pub repository: String,
    pub tag: String,
    pub compression: LayerCompression,
}

/// What is there now.
pub struct Pushed {
    /// The manifest, by which others find the image.
    pub manifest: Descriptor,
    /// Its bytes are a blob; these are to be noted for the next push.
    pub forms: Vec<(DiffId, Representation)>,
    /// Keeps all of it until that is published.
    pub lease: Lease,
}

/// One push at work.
struct Push<'a> {
    pusher: &'a Pusher,
    registry: &'a Registry,
    request: &'a PushRequest,
    lease: &'a Lease,
    events: &'a TransferSink,
}

impl Pusher {
    /// Pushes from `store`, at most `places` layers at once.
    pub fn new(store: Store, places: usize) -> Self {
        Self { store, places: Arc::new(Semaphore::new(places.max(1))) }
    }

    /// Pushes an image under a tag.
    ///
    /// # Errors
    /// `Refused` in the registry's words; `Store` when the image is gone or damaged.
    ///
    /// # Cost
    /// Two requests when the tag stands for the image already; else one for each layer that is there, all at once. A layer that has no stored form is
    /// read, compressed and sent in one pass.
    pub fn push<'a>(
        &'a self,
        registry: &'a Registry,
        request: &'a PushRequest,
        events: &'a TransferSink,
    ) -> BoxFuture<'a, Result<Pushed, Error>> {
        Box::pin(self.push_whole(registry, request, events))
    }

    async fn push_whole(&self, registry: &Registry, request: &PushRequest, events: &TransferSink) -> Result<Pushed, Error> {
        let lease = self.store.lease();
        let image = self.store.images().get(&request.image).filter(|_| lease.add_image(&request.image));
        let gone = || Error::Internal { what: format!("image {} is gone", request.image) };
        let image = image.ok_or_else(gone)?;
        let push = Push { pusher: self, registry, request, lease: &lease, events };
        let former = push.former(&image).await?;
        let (manifest, bytes, layers) = match push.again(&image, former.as_ref()).await? {
            Some(whole) => whole,
            None => push.complete(&image, former).await?,
        };
        let manifest = Descriptor::new(manifest, Digest::sha256_of(&bytes), bytes.len() as u64);
        let (store, kept) = (self.store.clone(), lease.clone());
        super::blocking(move || Ok(store.blobs().put_kept(&bytes, None, &kept)?)).await?;
        let origin = format!("{}/{}", registry.domain(), request.repository);
        let forms = layers
            .into_iter()
            .filter(|layer| layer.is_ours)
            .map(|layer| {
                let Descriptor { media_type, digest, size, .. } = layer.descriptor;
                (layer.diff_id, Representation { media_type, digest, size, origins: vec![origin.clone()] })
            })
            .collect();
        Ok(Pushed { manifest, forms, lease })
    }
}

impl Push<'_> {
    fn scope(&self) -> Scope {
        Scope::push(&self.request.repository)
    }

    /// The manifest the image came by, if it is one to go on with.
    async fn former(&self, image: &Image) -> Result<Option<(Manifest, Bytes)>, Error> {
        let Some(descriptor) = image.manifest.clone().filter(|_| self.request.compression == LayerCompression::AsItIs) else {
            return Ok(None);
        };
        let (store, digest) = (self.pusher.store.clone(), descriptor.digest);
        let limit = shipway_model::manifest::MANIFEST_LIMIT as u64;
        let bytes = super::blocking(move || Ok(store.blobs().read(&digest, limit)?)).await?;
        match ManifestDocument::parse(&bytes, Some(&descriptor.media_type)) {
            Ok(ManifestDocument::Manifest(mut manifest)) if manifest.layers.len() == image.layers.len() => {
                manifest.media_type = Some(descriptor.media_type);
                Ok(Some((manifest, bytes.into())))
            }
            _ => Ok(None),
        }
    }

    /// The whole of a push when the tag stands for the image already: its manifest goes up once more, and nothing else is asked, because whoever takes a
    /// manifest answers for all that it names, but foreign layers (distribution-spec 1.1, "Pushing Manifests"). That the manifest goes up keeps who may
    /// not push from being told they did, and lets the registry tell what it tells of pushes. `None` when more is to be done.
    async fn again(
        &self,
        image: &Image,
        former: Option<&(Manifest, Bytes)>,
    ) -> Result<Option<(MediaType, Bytes, Vec<layer::There>)>, Error> {
        let Some((manifest, bytes)) = former.filter(|(manifest, _)| manifest.layers.iter().all(|layer| layer.urls.is_empty())) else {
            return Ok(None);
        };
        if self.tagged().await? != Some(Digest::sha256_of(bytes)) {
            return Ok(None);
        }
        let media_type = manifest.media_type.clone().unwrap_or(MediaType::OciManifest);
        match self.put_document(&self.request.tag, &media_type, bytes).await {
            Ok(_) => Ok(Some((media_type, bytes.clone(), self.known(image, manifest)))),
            // It lost what it had taken.
            Err(Error::Refused { code, .. }) if matches!(code.as_str(), "MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Brings what is missing there: layers and config side by side, then the manifest. Its media type and bytes, and its layers.
    async fn complete(&self, image: &Image, former: Option<(Manifest, Bytes)>) -> Result<(MediaType, Bytes, Vec<layer::There>), Error> {
        let layers = try_join_all(image.layers.iter().enumerate().map(|(at, layer)| {
            let named = former.as_ref().and_then(|(manifest, _)| manifest.layers.get(at)).cloned();
            self.layer(*layer, named)
        }));
        let (layers, config) = tokio::try_join!(layers, self.config(image))?;
        let (media_type, bytes) = match former {
            Some((manifest, bytes)) if manifest.layers.iter().eq(layers.iter().map(|layer| &layer.descriptor)) => {
                (manifest.media_type.unwrap_or(MediaType::OciManifest), bytes)
            }
            _ => (MediaType::OciManifest, compose(config, &layers)?),
        };
        self.put_document(&self.request.tag, &media_type, &bytes).await?;
        Ok((media_type, bytes, layers))
    }

    /// Sends the config, unless it is there.
    async fn config(&self, image: &Image) -> Result<Descriptor, Error> {
        let descriptor = Descriptor::new(MediaType::OciConfig, image.id.0, image.config_size);
        if self.exists(&descriptor.digest, descriptor.size).await? {
            return Ok(descriptor);
        }
        let (store, id) = (self.pusher.store.clone(), image.id);
        let bytes = super::blocking(move || Ok(store.images().config_bytes(&id)?)).await?;
        self.send_bytes(&descriptor.digest, bytes.into()).await?;
        Ok(descriptor)
    }

    /// What the tag stands for already, where the registry says so as it should.
    async fn tagged(&self) -> Result<Option<Digest>, Error> {
        let wanted = Wanted::Tag(self.request.tag.clone());
        match self.registry.manifest_digest(&self.request.repository, &wanted, &self.scope()).await {
            Err(Error::Content { .. }) => Ok(None),
            told => told,
        }
    }

    /// Puts a manifest or an index under `name`, a tag or its digest.
    async fn put_document(&self, name: &str, media_type: &MediaType, bytes: &Bytes) -> Result<Response, Error> {
        let media_type = HeaderValue::from_str(media_type.as_str()).map_err(|error| Error::Internal { what: error.to_string() })?;
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type)]);
        let path = format!("{}/manifests/{name}", self.request.repository);
        let response = self.insist(&Method::PUT, &path, &headers, bytes).await?;
        match response.status {
            StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED => Ok(response),
            _ => Err(refusal(response).await),
        }
    }
}

/// A manifest of ours. The same layers and config always give the same bytes.
fn compose(config: Descriptor, layers: &[layer::There]) -> Result<Bytes, Error> {
    let layers = layers
        .iter()
        .map(|layer| {
            let compression = layer.descriptor.media_type.layer_compression();
            let media_type = match compression {
                Some(Compression::None) => MediaType::OciLayerTar,
                Some(Compression::Zstd) => MediaType::OciLayerTarZstd,
                _ => MediaType::OciLayerTarGzip,
            };
            Descriptor::new(media_type, layer.descriptor.digest, layer.descriptor.size)
        })
        .collect();
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OciManifest),
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    };
    serde_json::to_vec(&manifest).map(Bytes::from).map_err(|error| Error::Internal { what: error.to_string() })
}
