//! `tag`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::session::Session;
use shipway_model::{Classified as _, Reference};

/// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
#[derive(Debug, clap::Parser)]
pub(crate) struct Tag {
    #[arg(hide = true)]
    source: String,
    #[arg(hide = true)]
    target: String,
}

impl Verb for Tag {
    const NAMES: &'static [&'static str] = &["image tag", "tag"];
    const USAGE: &'static str = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]";
    const WORDS: Words = Words::Exactly(2);

    async fn run(self, session: &Session) -> Outcome {
        let reference = Reference::parse(&self.target).map_err(|error| {
            let message = format!("Error parsing reference: \"{}\" is not a valid repository/tag: {error}", self.target);
            Failure { hints: error.hint().into_iter().collect(), ..Failure::new(message) }
        })?;
        if reference.digest().is_some() {
            return Err(Failure::new("refusing to create a tag with a digest reference"));
        }
        let reference = reference.with_default_tag();
        let call = Call::post(path(&self.source, "/tag")).query("repo", reference.familiar_repository()).query_if("tag", reference.tag());
        session.client()?.done(call).await.map(drop)
    }
}
