//! `system prune`, and the question every prune asks.

use crate::cli::catalog::{Verb, Words};
use crate::cli::commands::{builder, container, image, network, volume};
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::human;
use crate::cli::output;
use crate::cli::session::Session;
use std::io::BufRead as _;

/// Remove unused data
#[derive(Debug, clap::Parser)]
pub(crate) struct Prune {
    /// Remove all unused images not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<key>=<value>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
}

impl Verb for Prune {
    const NAMES: &'static [&'static str] = &["system prune"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        if self.volumes && self.filter.iter().any(|filter| filter.starts_with("until=")) {
            return Err(Failure::new("ERROR: The \"until\" filter is not supported with \"--volumes\""));
        }
        if !self.force && !confirmed(&self.warning()).await? {
            return Ok(());
        }
        let mut freed = container::prune::prune(session, &self.filter).await?;
        // Networks come with issue 3; a daemon without them has none to prune.
        skip_unsupported(network::remove::prune(session, &self.filter).await)?;
        if self.volumes {
            freed += skip_unsupported(volume::remove::prune(session, false, &self.filter).await)?;
        }
        freed += image::prune::prune(session, self.all, &self.filter).await?;
        // The cache has times but neither labels nor names of others' filters.
        let until: Vec<String> = self.filter.iter().filter(|filter| filter.starts_with("until=")).cloned().collect();
        freed += skip_unsupported(builder::prune::prune(session, self.all, &until, None).await)?;
        output::line(format!("Total reclaimed space: {}", human::size(freed)))
    }
}

fn skip_unsupported<T: Default>(outcome: Outcome<T>) -> Outcome<T> {
    match outcome {
        Err(Failure { reason: crate::cli::exit::Reason::Daemon { status: 501, .. }, .. }) => Ok(T::default()),
        other => other,
    }
}

impl Prune {
    fn warning(&self) -> String {
        let images = if self.all { "all images without at least one container associated to them" } else { "all dangling images" };
        let cache = if self.all { "all build cache" } else { "unused build cache" };
        let mut lines = vec!["all stopped containers", "all networks not used by at least one container"];
        if self.volumes {
            lines.push("all anonymous volumes not used by at least one container");
        }
        lines.extend([images, cache]);
        let list = |lines: &[&str]| lines.iter().map(|line| format!("  - {line}\n")).collect::<String>();
        let mut text = format!("WARNING! This will remove:\n{}", list(&lines));
        if !self.filter.is_empty() {
            let mut filters: Vec<&str> = self.filter.iter().map(String::as_str).collect();
            filters.sort_unstable();
            text.push_str(&format!("\n  Items to be pruned will be filtered with:\n{}", list(&filters)));
        }
        text
    }
}

/// Asks on the terminal; only `y` or `yes` is a yes.
pub(crate) async fn confirmed(warning: &str) -> Outcome<bool> {
    output::text(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
