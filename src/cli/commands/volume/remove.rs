//! `volume rm` and `volume prune`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::commands::container::each;
use crate::cli::commands::system::prune::confirmed;
use crate::cli::exit::Outcome;
use crate::cli::filters;
use crate::cli::human;
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;

/// Remove one or more volumes
#[derive(Debug, clap::Parser)]
pub(crate) struct Remove {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    force: bool,
    #[arg(hide = true)]
    names: Vec<String>,
}

/// Remove unused local volumes
#[derive(Debug, clap::Parser)]
pub(crate) struct Prune {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<label>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Pruned {
    volumes_deleted: Option<Vec<String>>,
    space_reclaimed: i64,
}

impl Verb for Remove {
    const NAMES: &'static [&'static str] = &["volume rm", "volume remove"];
    const USAGE: &'static str = "[OPTIONS] VOLUME [VOLUME...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        each(&self.names, async |name| client.done(Call::delete(path(name)).flag("force", self.force)).await.map(drop)).await
    }
}

impl Verb for Prune {
    const NAMES: &'static [&'static str] = &["volume prune"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let which = if self.all { "all local volumes" } else { "anonymous local volumes" };
        if !self.force && !confirmed(&format!("WARNING! This will remove {which} not used by at least one container.")).await? {
            return Ok(());
        }
        let freed = prune(session, self.all, &self.filter).await?;
        output::line(format!("Total reclaimed space: {}", human::size(freed)))
    }
}

/// Prunes, prints the list, and answers the bytes freed.
pub(crate) async fn prune(session: &Session, all: bool, given: &[String]) -> Outcome<i64> {
    let mut given = given.to_vec();
    if all {
        given.push("all=true".to_owned());
    }
    let pruned: Pruned = session.client()?.json(Call::post("/volumes/prune").query_if("filters", filters::query(&given)?)).await?;
    if let Some(names) = pruned.volumes_deleted.filter(|names| !names.is_empty()) {
        output::line(format!("Deleted Volumes:\n{}\n", names.join("\n")))?;
    }
    Ok(pruned.space_reclaimed)
}
