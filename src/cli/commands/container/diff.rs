//! `diff`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;

/// Inspect changes to files or directories on a container's filesystem
#[derive(Debug, clap::Parser)]
pub(crate) struct Diff {
    #[arg(hide = true)]
    container: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    path: String,
    kind: u8,
}

impl Verb for Diff {
    const NAMES: &'static [&'static str] = &["container diff", "diff"];
    const USAGE: &'static str = "CONTAINER";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let changes: Option<Vec<Change>> = session.client()?.json(Call::get(path(&self.container, "/changes"))).await?;
        let mut text = String::new();
        for change in changes.unwrap_or_default() {
            let letter = match change.kind {
                0 => 'C',
                1 => 'A',
                _ => 'D',
            };
            text.push_str(&format!("{letter} {}\n", change.path));
        }
        output::text(&text)
    }
}
