//! `image rm`: untag or delete, by Docker's rules.
//!
//! A name is untagged; the image goes with its last name, unless a container needs it. An id removes the image with its one name;
//! with several names only `force` does.

use std::collections::BTreeMap;

use shipway_model::{ImageId, Reference};

use super::ImageView;
use crate::{Engine, Error, Result, Subject, blocking};

/// How to remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImageRemoveOptions {
    /// Remove all names, and the image although stopped containers were made from it.
    pub force: bool,
    /// Keep untagged parents. Shipway keeps none, so it changes nothing.
    pub no_prune: bool,
}

/// What a removal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRemoved {
    /// A name is gone.
    Untagged(String),
    /// An image is gone.
    Deleted(String),
}

impl Engine {
    /// Removes what `name` means: a name, or an image with its names.
    ///
    /// # Errors
    /// `Conflict` when a container or another name is in the way; the message names it and the way out.
    ///
    /// # Durability
    /// One transaction; the bytes are freed behind it.
    pub async fn remove_image(&self, name: &str, options: ImageRemoveOptions) -> Result<Vec<ImageRemoved>> {
        let id = self.resolve_image(name)?;
        let view = self.view_image(&id)?;
        let by_id = is_id_of(name, &id);
        let (untag, delete) = self.plan(name, &view, by_id, options)?;
        let done = self.apply(id, untag, delete).await?;
        if delete {
            self.collect_behind();
        }
        Ok(done)
    }

    /// Which names go, and whether the image goes with them.
    fn plan(&self, name: &str, view: &ImageView, by_id: bool, options: ImageRemoveOptions) -> Result<(Vec<Reference>, bool)> {
        let names: Vec<Reference> = view.tags.iter().chain(&view.digests).cloned().collect();
        if by_id {
            let repositories: std::collections::BTreeSet<String> = names.iter().map(Reference::familiar_repository).collect();
            let tags = names.iter().filter(|name| name.digest().is_none()).count();
            if (repositories.len() > 1 || tags > 1) && !options.force {
                return Err(Error::Conflict {
                    reason: format!(
                        "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                        view.image.id.0.short()
                    ),
                    hint: Some(format!(
                        "remove one name at a time: {}",
                        names.iter().map(Reference::familiar).collect::<Vec<_>>().join(", ")
                    )),
                });
            }
            self.refuse_while_used(view, &view.image.id.0.short(), options.force)?;
            return Ok((names, true));
        }
        let wanted = Reference::parse(name).map_err(|error| Error::invalid(error.to_string()))?.with_default_tag();
        let (mut gone, mut rest): (Vec<Reference>, Vec<Reference>) = names.into_iter().partition(|name| *name == wanted);
        let beside = |name: &Reference| name.repository() == wanted.repository();
        // The digests a repository is known by here go with its last tag.
        if wanted.digest().is_none() && !rest.iter().any(|name| beside(name) && name.digest().is_none()) {
            let (with, without): (Vec<Reference>, Vec<Reference>) = rest.into_iter().partition(beside);
            gone.extend(with);
            rest = without;
        }
        if gone.is_empty() {
            gone.push(wanted);
        }
        if !rest.is_empty() {
            return Ok((gone, false));
        }
        let user = self.inner.containers.all().into_iter().map(|container| container.record()).find(|record| record.image == view.image.id);
        match user {
            None => Ok((gone, true)),
            // Forced, a running container still keeps its image, without a name; a stopped one keeps only its layers, as with dockerd.
            Some(_) if options.force => Ok((gone, !self.is_running_somewhere(&view.image.id))),
            Some(record) => Err(Error::Conflict {
                reason: format!(
                    "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is using its referenced image {}",
                    record.id.short(),
                    view.image.id.0.short()
                ),
                hint: Some(format!(
                    "remove the container first: shipway rm {}{}",
                    if record.state.is_alive() { "-f " } else { "" },
                    record.name
                )),
            }),
        }
    }

    fn is_running_somewhere(&self, image: &ImageId) -> bool {
        self.inner.containers.all().iter().any(|container| container.state().is_alive() && container.record().image == *image)
    }

    /// A running container always keeps its image; a stopped one unless forced.
    fn refuse_while_used(&self, view: &ImageView, shown: &str, force: bool) -> Result<()> {
        let users =
            || self.inner.containers.all().into_iter().map(|container| container.record()).filter(|record| record.image == view.image.id);
        if let Some(record) = users().find(|record| record.state.is_alive()) {
            return Err(Error::Conflict {
                reason: format!(
                    "conflict: unable to delete {shown} (cannot be forced) - image is being used by running container {}",
                    record.id.short()
                ),
                hint: Some(format!("stop it first: shipway rm -f {}", record.name)),
            });
        }
        match users().next() {
            Some(record) if !force => Err(Error::Conflict {
                reason: format!(
                    "conflict: unable to delete {shown} (must be forced) - image is being used by stopped container {}",
                    record.id.short()
                ),
                hint: Some(format!("remove the container first: shipway rm {}", record.name)),
            }),
            _ => Ok(()),
        }
    }

    /// Removes `names` and, when `delete`, the image; one transaction. The caller frees the bytes.
    pub(super) async fn apply(&self, id: ImageId, names: Vec<Reference>, delete: bool) -> Result<Vec<ImageRemoved>> {
        let (store, rows) = (self.inner.store.clone(), names.clone());
        blocking::files(move || {
            let inside = store.clone();
            Ok(store.publish(move |txn| {
                for name in &rows {
                    inside.images().untag(txn, name)?;
                }
                if delete {
                    inside.images().remove(txn, &id)?;
                }
                Ok(())
            })?)
        })
        .await?;
        let mut done = Vec::new();
        for name in names {
            self.inner.events.publish(Subject::Image, "untag", id.to_string(), BTreeMap::from([("name".to_owned(), id.to_string())]));
            done.push(ImageRemoved::Untagged(name.familiar()));
        }
        if delete {
            self.inner.events.publish(Subject::Image, "delete", id.to_string(), BTreeMap::from([("name".to_owned(), id.to_string())]));
            done.push(ImageRemoved::Deleted(id.to_string()));
        }
        Ok(done)
    }
}

/// True when `name` is the id of `id` or a prefix of it, and not a name.
fn is_id_of(name: &str, id: &ImageId) -> bool {
    let bare = name.strip_prefix("sha256:").unwrap_or(name);
    !bare.is_empty() && id.0.hex().starts_with(bare)
}
