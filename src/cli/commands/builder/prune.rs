//! `builder prune`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::commands::system::prune::confirmed;
use crate::cli::exit::Outcome;
use crate::cli::filters;
use crate::cli::human;
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;

/// Remove build cache
#[derive(Debug, clap::Parser)]
pub(crate) struct Prune {
    /// Remove all unused build cache, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=24h")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Amount of disk space to keep for cache
    #[arg(long, value_name = "bytes")]
    keep_storage: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Pruned {
    caches_deleted: Option<Vec<String>>,
    space_reclaimed: i64,
}

impl Verb for Prune {
    const NAMES: &'static [&'static str] = &["builder prune"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let which = if self.all { "all build cache" } else { "all dangling build cache" };
        if !self.force && !confirmed(&format!("WARNING! This will remove {which}.")).await? {
            return Ok(());
        }
        let keep = self.keep_storage.as_deref().map(human::bytes).transpose()?;
        let freed = prune(session, self.all, &self.filter, keep).await?;
        output::line(format!("Total reclaimed space: {}", human::size(freed)))
    }
}

/// Prunes, prints the list, and answers the bytes freed.
pub(crate) async fn prune(session: &Session, all: bool, given: &[String], keep: Option<u64>) -> Outcome<i64> {
    let call = Call::post("/build/prune")
        .flag("all", all)
        .query_if("keep-storage", keep.map(|keep| keep.to_string()))
        .query_if("filters", filters::query(given)?);
    let pruned: Pruned = session.client()?.json(call).await?;
    if let Some(ids) = pruned.caches_deleted.filter(|ids| !ids.is_empty()) {
        output::line(format!("Deleted build cache objects:\n{}\n", ids.join("\n")))?;
    }
    Ok(pruned.space_reclaimed)
}
