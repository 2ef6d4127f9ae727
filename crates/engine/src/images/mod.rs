//! Verbs on images, and what they show of one.

mod account;
mod distribution;
mod exchange;
mod history;
mod inspect;
mod list;
mod portable;
mod prune;
mod pull;
mod push;
mod remote;
mod remove;
mod tag;
mod trust;

use std::sync::Arc;

use shipway_model::{ImageId, Reference, Timestamp};
use shipway_store::{Image, ResolveError};

pub use account::{RawManifest, SearchSpec, domain_of};
pub use distribution::Distribution;
pub(crate) use exchange::Exchange;
pub use exchange::{ImagesToSend, Line, ReceiveFailure, Received, SendMessage, SendSink, Sent};
pub use history::HistoryLine;
pub use list::ImageListOptions;
pub(crate) use list::parse_until;
pub use portable::{ImportOptions, Loaded};
pub use pull::{PullMessage, PullSink, PullSpec};
pub use push::{PushMessage, PushSink, PushSpec};
pub(crate) use remote::Remote;
pub use remove::{ImageRemoveOptions, ImageRemoved};
pub use trust::{ListedReferrer, Referrers};

use crate::{Engine, Error, Result};

/// An image with its names and its users.
#[derive(Debug, Clone)]
pub struct ImageView {
    pub image: Arc<Image>,
    /// Its names with tags, sorted.
    pub tags: Vec<Reference>,
    /// Its names with digests, sorted.
    pub digests: Vec<Reference>,
    /// How many containers were made from it.
    pub containers: i64,
    pub last_tagged: Option<Timestamp>,
}

impl Engine {
    /// The image that `name` means: a reference, an id, or a prefix of an id.
    pub(crate) fn resolve_image(&self, name: &str) -> Result<ImageId> {
        self.inner.store.images().resolve(name).map_err(|error| match error {
            ResolveError::Ambiguous(prefix) => Error::AmbiguousPrefix { prefix },
            ResolveError::NotFound { nearest, .. } => {
                // dockerd names the tag it looked for.
                let shown = Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.with_default_tag().familiar());
                Error::NoSuchImage { name: shown, nearest }
            }
        })
    }

    /// The image with id `id` together with its names.
    pub(crate) fn view_image(&self, id: &ImageId) -> Result<ImageView> {
        let images = self.inner.store.images();
        let image = images.get(id).ok_or_else(|| Error::NoSuchImage { name: id.to_string(), nearest: Vec::new() })?;
        let containers = self.inner.containers.all().iter().filter(|container| container.record().image == *id).count();
        Ok(ImageView {
            tags: images.names(id),
            digests: images.digests(id),
            containers: i64::try_from(containers).unwrap_or(i64::MAX),
            last_tagged: images.last_tagged(id),
            image,
        })
    }
}
