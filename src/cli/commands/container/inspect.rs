//! `container inspect`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::inspect;
use crate::cli::session::Session;

/// Display detailed information on one or more containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
    #[arg(hide = true)]
    containers: Vec<String>,
}

impl Verb for Inspect {
    const NAMES: &'static [&'static str] = &["container inspect"];
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        let calls = self.containers.iter().map(|name| Call::get(path(name, "/json")).flag("size", self.size));
        let mut found = Vec::new();
        let mut missing: Vec<Failure> = Vec::new();
        for call in calls {
            match client.bytes(call).await {
                Ok(document) => found.push(String::from_utf8_lossy(&document).trim().to_owned()),
                Err(failure) if failure.is_unreachable() => return Err(failure),
                Err(failure) => missing.push(failure),
            }
        }
        inspect::print(self.format.as_deref(), &found, &missing)
    }
}
