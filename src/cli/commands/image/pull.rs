//! `pull`, and the pull `run` does for a missing image.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::credentials;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::json_stream::{StatusLines, failure_in, for_each};
use crate::cli::output;
use crate::cli::session::Session;
use shipway_model::Reference;

/// Download an image from a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Pull {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Skip image verification
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Also bring what speaks of the image: signatures, attestations, lists of parts
    #[arg(long)]
    referrers: bool,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    #[arg(hide = true)]
    image: String,
}

impl Verb for Pull {
    const NAMES: &'static [&'static str] = &["image pull", "pull"];
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG|@DIGEST]";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let reference = Reference::parse(&self.image).map_err(|error| Failure::classified(&error))?;
        if self.all_tags && (reference.tag().is_some() || reference.digest().is_some()) {
            return Err(Failure::new("tag can't be used with --all-tags/-a"));
        }
        if !self.all_tags && reference.tag().is_none() && reference.digest().is_none() && !self.quiet {
            output::line("Using default tag: latest")?;
        }
        let platform = self.platform.clone().or_else(|| session.variable("DOCKER_DEFAULT_PLATFORM"));
        let mut lines = (!self.quiet).then(StatusLines::on_output);
        let asked = Asked { all_tags: self.all_tags, platform: platform.as_deref(), referrers: self.referrers };
        pull(session, &reference, asked, lines.as_mut()).await?;
        output::line(if self.all_tags { reference.canonical() } else { reference.with_default_tag().canonical() })
    }
}

/// The name with `:latest` when it has neither tag nor digest; as it is when it is no name.
pub(crate) fn with_default_tag(text: &str) -> String {
    Reference::parse(text).map_or_else(|_| text.to_owned(), |reference| reference.with_default_tag().familiar())
}

/// Pulls for `run`, showing progress on standard error.
pub(crate) async fn pull_for_run(session: &Session, image: &str, platform: Option<&str>, quiet: bool) -> Outcome {
    let reference = Reference::parse(image).map_err(|error| Failure::classified(&error))?;
    let mut lines = (!quiet).then(StatusLines::on_errors);
    pull(session, &reference, Asked { platform, ..Asked::default() }, lines.as_mut()).await
}

/// How to pull.
#[derive(Default)]
struct Asked<'a> {
    all_tags: bool,
    platform: Option<&'a str>,
    referrers: bool,
}

async fn pull(session: &Session, reference: &Reference, asked: Asked<'_>, mut lines: Option<&mut StatusLines>) -> Outcome {
    let tag = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Some(digest.to_string()),
        (None, Some(tag)) => Some(tag.to_owned()),
        (None, None) if asked.all_tags => None,
        (None, None) => Some("latest".to_owned()),
    };
    let call = Call::post("/images/create")
        .header("x-registry-auth", credentials::header_for(session, reference.domain()).await?)
        .query("fromImage", reference.familiar_repository())
        .query_if("tag", tag)
        .query_if("platform", asked.platform)
        .flag("referrers", asked.referrers);
    let answer = session.client()?.send(call).await?;
    for_each(answer, |object| match lines.as_mut() {
        Some(lines) => lines.show(&object),
        None => failure_in(&object).map_or(Ok(()), Err),
    })
    .await
}
