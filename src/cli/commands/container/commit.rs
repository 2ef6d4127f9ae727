//! `commit`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::output;
use crate::cli::session::Session;
use serde_json::{Value, json};
use shipway_model::Reference;

/// Create a new image from a container's changes
#[derive(Debug, clap::Parser)]
pub(crate) struct Commit {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "string")]
    author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "list")]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "string")]
    message: Option<String>,
    /// Pause container during commit
    #[arg(short, long)]
    pause: bool,
    #[arg(long, hide = true)]
    no_pause: bool,
    #[arg(hide = true)]
    container: String,
    #[arg(hide = true)]
    reference: Option<String>,
}

impl Verb for Commit {
    const NAMES: &'static [&'static str] = &["container commit", "commit"];
    const USAGE: &'static str = "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]";
    const WORDS: Words = Words::Between(1, 2);

    async fn run(self, session: &Session) -> Outcome {
        let mut call =
            Call::post("/commit").query("container", &self.container).query_if("author", self.author).query_if("comment", self.message);
        if let Some(text) = &self.reference {
            let reference = Reference::parse(text).map_err(|error| Failure::classified(&error))?;
            call = call.query("repo", reference.familiar_repository()).query_if("tag", reference.tag());
        }
        for change in &self.change {
            call = call.query("changes", change);
        }
        if self.no_pause {
            call = call.query("pause", "0");
        }
        let answer: Value = session.client()?.json(call.json(json!({}))).await?;
        output::line(answer.get("Id").and_then(Value::as_str).unwrap_or_default())
    }
}
