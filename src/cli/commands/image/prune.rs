//! `image prune`.

use super::remove::Removed;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::commands::system::prune::confirmed;
use crate::cli::exit::Outcome;
use crate::cli::filters;
use crate::cli::human;
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;

/// Remove unused images
#[derive(Debug, clap::Parser)]
pub(crate) struct Prune {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
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
    images_deleted: Option<Vec<Removed>>,
    space_reclaimed: i64,
}

impl Verb for Prune {
    const NAMES: &'static [&'static str] = &["image prune"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let warning = if self.all {
            "WARNING! This will remove all images without at least one container associated to them."
        } else {
            "WARNING! This will remove all dangling images."
        };
        if !self.force && !confirmed(warning).await? {
            return Ok(());
        }
        let freed = prune(session, self.all, &self.filter).await?;
        output::line(format!("Total reclaimed space: {}", human::size(freed)))
    }
}

/// Prunes, prints the list, and answers the bytes freed.
pub(crate) async fn prune(session: &Session, all: bool, given: &[String]) -> Outcome<i64> {
    let mut given = given.to_vec();
    given.push(format!("dangling={}", !all));
    let pruned: Pruned = session.client()?.json(Call::post("/images/prune").query_if("filters", filters::query(&given)?)).await?;
    if let Some(removed) = pruned.images_deleted.filter(|removed| !removed.is_empty()) {
        let lines: Vec<String> =
            removed.iter().map(|removed| removed.line().replace("Untagged:", "untagged:").replace("Deleted:", "deleted:")).collect();
        output::line(format!("Deleted Images:\n{}\n", lines.join("\n")))?;
    }
    Ok(pruned.space_reclaimed)
}
