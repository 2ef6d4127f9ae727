//! `push`.

use super::{path, platform_document};
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::credentials;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::json_stream::{StatusLines, failure_in, for_each};
use crate::cli::output;
use crate::cli::session::Session;
use shipway_model::Reference;

/// Upload an image to a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Push {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Skip image signing
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Push a platform-specific manifest as a single-platform image to the registry
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Compress layers so (gzip or zstd), whatever form they came in
    #[arg(long, value_name = "string")]
    compression: Option<String>,
    /// Leave behind the signatures and attestations that are held here for the image
    #[arg(long)]
    no_referrers: bool,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    #[arg(hide = true)]
    image: String,
}

impl Verb for Push {
    const NAMES: &'static [&'static str] = &["image push", "push"];
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG]";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let reference = Reference::parse(&self.image).map_err(|error| Failure::classified(&error))?;
        if self.all_tags && reference.tag().is_some() {
            return Err(Failure::new("tag can't be used with --all-tags/-a"));
        }
        if reference.digest().is_some() {
            return Err(Failure::new("cannot push a digest reference").hint("an image goes out by a tag; its digest is the same there"));
        }
        let platform = platform_document(self.platform.as_deref())?;
        let named = if self.all_tags { reference.clone() } else { reference.clone().with_default_tag() };
        if !self.all_tags && reference.tag().is_none() && !self.quiet {
            output::line("Using default tag: latest")?;
        }
        let call = Call::post(path(&named.familiar_repository(), "/push"))
            .query_if("tag", named.tag())
            .query_if("compression", self.compression.as_ref())
            .query_if("platform", platform)
            .query_if("referrers", self.no_referrers.then_some("0"))
            .header("x-registry-auth", credentials::header_for(session, named.domain()).await?);
        let answer = session.client()?.send(call).await?;
        let mut lines = (!self.quiet).then(StatusLines::on_output);
        for_each(answer, |object| match lines.as_mut() {
            Some(lines) => lines.show(&object),
            None => failure_in(&object).map_or(Ok(()), Err),
        })
        .await?;
        if self.quiet { output::line(named.canonical()) } else { Ok(()) }
    }
}
