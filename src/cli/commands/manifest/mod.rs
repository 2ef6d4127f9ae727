//! Manifest lists put together by hand: one name for the images of several platforms.
//!
//! The commands talk to registries through our daemon; a dockerd cannot do this for its clients.

mod create;
mod inspect;
mod push;
mod store;

pub(crate) use create::{Annotate, Create};
pub(crate) use inspect::Inspect;
pub(crate) use push::{Push, Remove};

use crate::cli::client::{Call, path_escape};
use crate::cli::credentials;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::session::Session;
use shipway_model::{Descriptor, Digest, MediaType, Reference};
use shipway_wire::registries::RawManifest;

/// The reference that a person typed.
fn named(text: &str) -> Outcome<Reference> {
    Reference::parse(text).map_err(|error| Failure::classified(&error))
}

/// A manifest as its registry has it.
async fn fetch(session: &Session, reference: &Reference) -> Outcome<(Descriptor, String)> {
    let header = credentials::header_for(session, reference.domain()).await?;
    let name = reference.clone().with_default_tag().canonical();
    let call = Call::get(format!("/shipway/manifests/{}", path_escape(&name))).header("x-registry-auth", header);
    let found: RawManifest = session.client()?.json(call).await.map_err(|failure| {
        let hint = "the manifest is looked for at its registry: push the image first";
        if failure.is_not_found() { Failure::new(format!("no such manifest: {name}")).hint(hint) } else { failure }
    })?;
    let digest: Digest = found.descriptor.digest.parse().map_err(|_| Failure::new("the daemon answers a digest that is none"))?;
    Ok((Descriptor::new(MediaType::parse(&found.descriptor.media_type), digest, found.descriptor.size), found.raw))
}
