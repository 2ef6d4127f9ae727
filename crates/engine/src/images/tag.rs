//! `image tag`: another name for an image.

use std::collections::BTreeMap;

use shipway_model::Reference;

use crate::{Engine, Error, Result, Subject, blocking};

impl Engine {
    /// Makes `reference` mean the image that `name` means. A name that meant another image moves.
    ///
    /// # Errors
    /// `Invalid` for a reference with a digest; `NoSuchImage`.
    ///
    /// # Durability
    /// One transaction; none when the name already means that image.
    pub async fn tag_image(&self, name: &str, reference: &Reference) -> Result<()> {
        if reference.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let id = self.resolve_image(name)?;
        let reference = reference.clone().with_default_tag();
        if !self.inner.store.images().names(&id).contains(&reference) {
            let (store, named) = (self.inner.store.clone(), reference.clone());
            blocking::files(move || {
                let inside = store.clone();
                Ok(store.publish(move |txn| inside.images().tag(txn, &named, id))?)
            })
            .await?;
        }
        self.inner.events.publish(Subject::Image, "tag", id.to_string(), BTreeMap::from([("name".to_owned(), reference.familiar())]));
        Ok(())
    }
}
