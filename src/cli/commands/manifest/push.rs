//! `manifest push` and `manifest rm`.

use super::store::Entry;
use super::{named, store};
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::{Call, path_escape};
use crate::cli::credentials;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::session::Session;
use shipway_model::Reference;
use shipway_wire::registries::{ListPushed, PushList};

/// Push a manifest list to a repository
#[derive(Debug, clap::Parser)]
pub(crate) struct Push {
    /// Allow push to an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Remove the local manifest list after push
    #[arg(short, long)]
    purge: bool,
    #[arg(hide = true)]
    list: String,
}

/// Delete one or more manifest lists from local storage
#[derive(Debug, clap::Parser)]
pub(crate) struct Remove {
    #[arg(hide = true)]
    lists: Vec<String>,
}

impl Verb for Push {
    const NAMES: &'static [&'static str] = &["manifest push"];
    const USAGE: &'static str = "[OPTIONS] MANIFEST_LIST";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let name = named(&self.list)?.with_default_tag();
        let missing =
            || Failure::new(format!("No such manifest: {}", name.familiar())).hint("put it together first: shipway manifest create");
        let list = store::read(session, &name)?.ok_or_else(missing)?;
        let asked = PushList { list: list.document()?, sources: list.entries.iter().map(|entry| entry.reference.clone()).collect() };
        let body = serde_json::to_value(&asked).map_err(|error| Failure::new(error.to_string()))?;
        let call = Call::post(format!("/shipway/manifests/{}", path_escape(&name.canonical())))
            .header("x-registry-auth", credentials::header_for(session, name.domain()).await?)
            .json(body);
        let pushed: ListPushed = session.client()?.json(call).await?;
        if self.purge {
            store::remove(session, &name)?;
        }
        let repository = name.clone().without_tag_and_digest();
        // What is in the list's own repository already is not told, as with docker.
        let is_elsewhere = |entry: &&Entry| Reference::parse(&entry.reference).is_ok_and(|from| from.path() != name.path());
        for entry in list.entries.iter().filter(is_elsewhere) {
            let digest = entry.descriptor.digest;
            output::line(format!("Pushed ref {} with digest: {digest}", repository.clone().with_digest(digest).familiar()))?;
        }
        output::line(pushed.digest)
    }
}

impl Verb for Remove {
    const NAMES: &'static [&'static str] = &["manifest rm"];
    const USAGE: &'static str = "MANIFEST_LIST [MANIFEST_LIST...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let mut missing = Vec::new();
        for list in &self.lists {
            let name = named(list)?.with_default_tag();
            if !store::remove(session, &name)? {
                missing.push(format!("No such manifest: {}", name.familiar()));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(Failure::new(missing.join("\n"))) }
    }
}
