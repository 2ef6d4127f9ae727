//! `export`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::session::Session;
use crate::cli::upload;

/// Export a container's filesystem as a tar archive
#[derive(Debug, clap::Parser)]
pub(crate) struct Export {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<String>,
    #[arg(hide = true)]
    container: String,
}

impl Verb for Export {
    const NAMES: &'static [&'static str] = &["container export", "export"];
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        upload::refuse_terminal(self.output.as_deref())?;
        let answer = client.send(Call::get(path(&self.container, "/export"))).await?;
        upload::save(answer, self.output.as_deref()).await
    }
}
