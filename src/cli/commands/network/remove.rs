//! `network rm` and `network prune`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::commands::system::prune::confirmed;
use crate::cli::exit::{FAILED, Failure, Outcome};
use crate::cli::filters;
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;

/// Remove one or more networks
#[derive(Debug, clap::Parser)]
pub(crate) struct Remove {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    force: bool,
    #[arg(hide = true)]
    names: Vec<String>,
}

/// Remove all unused networks
#[derive(Debug, clap::Parser)]
pub(crate) struct Prune {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Pruned {
    networks_deleted: Option<Vec<String>>,
}

impl Verb for Remove {
    const NAMES: &'static [&'static str] = &["network rm", "network remove"];
    const USAGE: &'static str = "NETWORK [NETWORK...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        let mut failed = false;
        for name in &self.names {
            match client.done(Call::delete(path(name, ""))).await {
                Ok(_) => output::line(name)?,
                Err(failure) if failure.is_unreachable() => return Err(failure),
                // With force there is nothing to say of what is gone already.
                Err(failure) if self.force && failure.is_not_found() => {}
                Err(failure) => {
                    output::failure(&failure);
                    failed = true;
                }
            }
        }
        if failed { Err(Failure::ended(FAILED)) } else { Ok(()) }
    }
}

impl Verb for Prune {
    const NAMES: &'static [&'static str] = &["network prune"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        if !self.force && !confirmed("WARNING! This will remove all custom networks not used by at least one container.").await? {
            return Ok(());
        }
        prune(session, &self.filter).await
    }
}

/// Prunes and prints the list.
pub(crate) async fn prune(session: &Session, given: &[String]) -> Outcome {
    let pruned: Pruned = session.client()?.json(Call::post("/networks/prune").query_if("filters", filters::query(given)?)).await?;
    match pruned.networks_deleted.filter(|names| !names.is_empty()) {
        Some(names) => output::line(format!("Deleted Networks:\n{}\n", names.join("\n"))),
        None => Ok(()),
    }
}
