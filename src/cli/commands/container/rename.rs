//! `rename`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::session::Session;

/// Rename a container
#[derive(Debug, clap::Parser)]
pub(crate) struct Rename {
    #[arg(hide = true)]
    container: String,
    #[arg(hide = true)]
    new_name: String,
}

impl Verb for Rename {
    const NAMES: &'static [&'static str] = &["container rename", "rename"];
    const USAGE: &'static str = "CONTAINER NEW_NAME";
    const WORDS: Words = Words::Exactly(2);

    async fn run(self, session: &Session) -> Outcome {
        session.client()?.done(Call::post(path(&self.container, "/rename")).query("name", &self.new_name)).await.map(drop)
    }
}
