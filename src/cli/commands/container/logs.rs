//! `logs`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::human;
use crate::cli::session::Session;
use crate::cli::stream;
use serde_json::Value;

/// Fetch the logs of a container
#[derive(Debug, clap::Parser)]
pub(crate) struct Logs {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "string", default_value = "all")]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string")]
    until: Option<String>,
    #[arg(hide = true)]
    container: String,
}

impl Verb for Logs {
    const NAMES: &'static [&'static str] = &["container logs", "logs"];
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        let container: Value = client.json(Call::get(path(&self.container, "/json"))).await?;
        let terminal = container.pointer("/Config/Tty").and_then(Value::as_bool).unwrap_or_default();
        let id = container.get("Id").and_then(Value::as_str).unwrap_or(&self.container);
        let call = Call::get(path(id, "/logs"))
            .query("stdout", "1")
            .query("stderr", "1")
            .flag("follow", self.follow)
            .flag("details", self.details)
            .flag("timestamps", self.timestamps)
            .query("tail", &self.tail)
            .query_if("since", self.since.as_deref().map(human::moment).transpose()?)
            .query_if("until", self.until.as_deref().map(human::moment).transpose()?);
        stream::print_body(client.send(call).await?, terminal).await
    }
}
