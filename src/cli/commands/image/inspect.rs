//! `image inspect`.

use super::{path, platform_document};
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::inspect;
use crate::cli::session::Session;

/// Display detailed information on one or more images
#[derive(Debug, clap::Parser)]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Inspect a specific platform of the multi-platform image
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    #[arg(hide = true)]
    images: Vec<String>,
}

impl Verb for Inspect {
    const NAMES: &'static [&'static str] = &["image inspect"];
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        let platform = platform_document(self.platform.as_deref())?;
        let mut found = Vec::new();
        let mut missing: Vec<Failure> = Vec::new();
        for name in &self.images {
            match client.bytes(Call::get(path(name, "/json")).query_if("platform", platform.as_ref())).await {
                Ok(document) => found.push(String::from_utf8_lossy(&document).trim().to_owned()),
                Err(failure) if failure.is_unreachable() => return Err(failure),
                Err(failure) => missing.push(failure),
            }
        }
        inspect::print(self.format.as_deref(), &found, &missing)
    }
}
