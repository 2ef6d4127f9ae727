//! `rm`.

use super::{each, path};
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::session::Session;

/// Remove one or more containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Remove {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove the specified link
    #[arg(short, long)]
    link: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    /// Remove every container there is (with --force, running ones too)
    #[arg(long)]
    all: bool,
    #[arg(hide = true)]
    containers: Vec<String>,
}

impl Verb for Remove {
    const NAMES: &'static [&'static str] = &["container rm", "container remove", "rm"];
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const WORDS: Words = Words::AtLeast(1);
    const WORDS_UNLESS: Option<&'static str> = Some("--all");

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        let mut names = self.containers;
        if self.all {
            let found: Vec<super::list::Summary> = client.json(Call::get("/containers/json").query("all", "1")).await?;
            names.extend(found.into_iter().map(|container| container.id));
        }
        each(&names, async |name| {
            let call = Call::delete(path(name, "")).flag("force", self.force).flag("link", self.link).flag("v", self.volumes);
            match client.done(call).await {
                // Docker's rm -f is content when there is nothing left to remove.
                Err(failure) if self.force && failure.is_not_found() => {
                    crate::cli::output::note(failure.to_string());
                    Ok(())
                }
                other => other.map(drop),
            }
        })
        .await
    }
}
