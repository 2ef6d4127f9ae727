//! `container prune`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::commands::system::prune::confirmed;
use crate::cli::exit::Outcome;
use crate::cli::filters;
use crate::cli::human;
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;

/// Remove all stopped containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Prune {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// What the API answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Pruned {
    containers_deleted: Option<Vec<String>>,
    /// Bytes freed.
    pub(crate) space_reclaimed: i64,
}

impl Verb for Prune {
    const NAMES: &'static [&'static str] = &["container prune"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        if !self.force && !confirmed("WARNING! This will remove all stopped containers.").await? {
            return Ok(());
        }
        let freed = prune(session, &self.filter).await?;
        output::line(format!("Total reclaimed space: {}", human::size(freed)))
    }
}

/// Prunes, prints the list, and answers the bytes freed.
pub(crate) async fn prune(session: &Session, given: &[String]) -> Outcome<i64> {
    let pruned: Pruned = session.client()?.json(Call::post("/containers/prune").query_if("filters", filters::query(given)?)).await?;
    if let Some(ids) = pruned.containers_deleted.filter(|ids| !ids.is_empty()) {
        output::line(format!("Deleted Containers:\n{}\n", ids.join("\n")))?;
    }
    Ok(pruned.space_reclaimed)
}
