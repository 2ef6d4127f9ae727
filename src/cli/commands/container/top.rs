//! `top`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::table;
use serde::Deserialize;

/// Display the running processes of a container
#[derive(Debug, clap::Parser)]
pub(crate) struct Top {
    #[arg(hide = true)]
    container: String,
    #[arg(hide = true)]
    ps_options: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Processes {
    titles: Vec<String>,
    #[serde(default)]
    processes: Option<Vec<Vec<String>>>,
}

impl Verb for Top {
    const NAMES: &'static [&'static str] = &["container top", "top"];
    const USAGE: &'static str = "CONTAINER [ps OPTIONS]";
    const WORDS: Words = Words::AtLeast(1);
    const OPTIONS_END_AT_FIRST_WORD: bool = true;

    async fn run(self, session: &Session) -> Outcome {
        let arguments = self.ps_options.join(" ");
        let call = Call::get(path(&self.container, "/top")).query_if("ps_args", (!arguments.is_empty()).then_some(arguments));
        let found: Processes = session.client()?.json(call).await?;
        let mut text = found.titles.join("\t") + "\n";
        for process in found.processes.unwrap_or_default() {
            text.push_str(&process.join("\t"));
            text.push('\n');
        }
        output::text(&table::align_with(&text, 20, 3))
    }
}
