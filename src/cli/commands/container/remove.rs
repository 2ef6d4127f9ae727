//! `rm`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::{FAILED, Failure, Outcome};
use crate::cli::output;
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
        let mut failed = false;
        for name in &names {
            let call = Call::delete(path(name, "")).flag("force", self.force).flag("link", self.link).flag("v", self.volumes);
            match client.done(call).await {
                Ok(_) => output::line(name)?,
                Err(failure) if failure.is_unreachable() => return Err(failure),
                Err(failure) => {
                    output::failure(&failure);
                    // Docker's rm -f is content when there is nothing left to remove.
                    failed |= !(self.force && failure.is_not_found());
                }
            }
        }
        if failed { Err(Failure::ended(FAILED)) } else { Ok(()) }
    }
}
