//! `save`, `load`, `import`: images as archives, streamed in both directions.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use shipway_model::{ImageId, Platform, Reference};
use shipway_store::{SaveBase, SaveItem};
use tokio::sync::mpsc;

use crate::blocking::{self, ChannelReader};
use crate::{Engine, Error, Result, Subject};

/// An image that `load` brought in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The names the archive gave it.
    pub references: Vec<Reference>,
    pub id: ImageId,
}

/// How to turn a file tree archive into an image.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The name of the new image, if any.
    pub reference: Option<Reference>,
    /// The commit message.
    pub message: String,
    /// Dockerfile instructions applied to the new image's settings.
    pub changes: Vec<String>,
    pub platform: Option<Platform>,
}

impl Engine {
    /// The archive of the images that `names` mean, as a stream, without the layers that the image `since` has. Errors after the first byte end the stream.
    ///
    /// # Errors
    /// Before anything is sent: `NoSuchImage`; `NotFoundInWords` for an image that is not for `platform`.
    pub async fn save_images(
        &self,
        names: Vec<String>,
        since: Option<String>,
        platform: Option<Platform>,
    ) -> Result<mpsc::Receiver<io::Result<Bytes>>> {
        let wanted = self.items_named(&names)?;
        for item in &wanted {
            let name = item.references.first().map_or_else(|| item.id.to_string(), Reference::familiar);
            self.refuse_other_platform(&name, &item.id, platform.as_ref())?;
        }
        let base = since.map(|name| Ok::<_, Error>(SaveBase { id: self.resolve_image(&name)?, name })).transpose()?;
        let ids: std::collections::BTreeSet<ImageId> = wanted.iter().map(|item| item.id).collect();
        let (mut writer, receiver) = blocking::stream_out();
        let store = self.inner.store.clone();
        tokio::task::spawn_blocking(move || match store.save(&wanted, base.as_ref(), &mut writer) {
            Ok(()) => {
                if let Err(error) = writer.finish() {
                    tracing::debug!(%error, "the reader of a saved image went away");
                }
            }
            Err(error) => writer.fail(io::Error::other(error.to_string())),
        });
        for id in ids {
            self.inner.events.publish(Subject::Image, "save", id.to_string(), BTreeMap::from([("name".to_owned(), id.to_string())]));
        }
        Ok(receiver)
    }

    /// The images that `names` mean, and the names to give them elsewhere.
    pub(super) fn items_named(&self, names: &[String]) -> Result<Vec<SaveItem>> {
        let mut wanted = Vec::with_capacity(names.len());
        for name in names {
            let reference = Reference::parse(name).ok();
            // A bare repository means all its tags, as `docker save busybox` does, whether one of them is "latest" or not.
            if let Some(bare) = reference.as_ref().filter(|reference| reference.tag().is_none() && reference.digest().is_none()) {
                let tags = self.inner.store.images().all_tags().into_iter().filter(|(tag, _)| tag.repository() == bare.repository());
                let before = wanted.len();
                wanted.extend(tags.map(|(reference, id)| SaveItem { id, references: vec![reference] }));
                if wanted.len() > before {
                    continue;
                }
            }
            let id = self.resolve_image(name)?;
            // "sha256:abc" reads as a name as well, and an id alone gives no name.
            let is_id = id.0.hex().starts_with(name.trim_start_matches("sha256:"));
            let is_name = |reference: &Reference| !is_id && (reference.tag().is_some() || reference.digest().is_some());
            wanted.push(SaveItem { id, references: reference.into_iter().filter(is_name).collect() });
        }
        Ok(wanted)
    }

    /// Brings in every image of the archive, or every one for `platform`.
    ///
    /// # Errors
    /// The store's; `NotFound` when none is for that platform.
    ///
    /// # Durability
    /// All images and names of the archive appear in one transaction, verified; nothing of a bad archive does.
    pub async fn load_images(&self, reader: ChannelReader, platform: Option<Platform>) -> Result<Vec<Loaded>> {
        let store = self.inner.store.clone();
        let loaded = blocking::files(move || Ok(store.load_for(platform.as_ref(), reader, &mut |_| {})?)).await?;
        let loaded: Vec<Loaded> = loaded.into_iter().map(|image| Loaded { references: image.references, id: image.id }).collect();
        for image in &loaded {
            let id = image.id.to_string();
            self.inner.events.publish(Subject::Image, "load", id.clone(), BTreeMap::from([("name".to_owned(), id)]));
        }
        Ok(loaded)
    }

    /// Makes an image of one layer from the archive of a file tree.
    pub async fn import_image(&self, reader: ChannelReader, options: ImportOptions) -> Result<ImageId> {
        if options.reference.as_ref().is_some_and(|reference| reference.digest().is_some()) {
            return Err(Error::invalid("cannot import digest reference"));
        }
        let config = self.apply_changes(&options.changes).await?;
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        if platform != Platform::host() {
            return Err(Error::NotSupportedYet { what: format!("importing for platform {platform}") });
        }
        let reference = options.reference.map(Reference::with_default_tag);
        let options = shipway_store::ImportOptions { config, comment: options.message, platform, created: crate::clock::now() };
        let (store, name) = (self.inner.store.clone(), reference.clone());
        let id = blocking::files(move || {
            let id = store.import(reader, options)?;
            if let Some(name) = name {
                let inside = store.clone();
                store.publish(move |txn| inside.images().tag(txn, &name, id))?;
            }
            Ok(id)
        })
        .await?;
        let shown = reference.map_or_else(|| id.to_string(), |reference| reference.familiar());
        self.inner.events.publish(Subject::Image, "import", id.to_string(), BTreeMap::from([("name".to_owned(), shown)]));
        Ok(id)
    }
}
