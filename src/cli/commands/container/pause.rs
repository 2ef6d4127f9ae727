//! `pause` and `unpause`.

use super::{each, path};
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::session::Session;

/// Pause all processes within one or more containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Pause {
    #[arg(hide = true)]
    containers: Vec<String>,
}

/// Unpause all processes within one or more containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Unpause {
    #[arg(hide = true)]
    containers: Vec<String>,
}

impl Verb for Pause {
    const NAMES: &'static [&'static str] = &["container pause", "pause"];
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        each(&self.containers, async |name| client.done(Call::post(path(name, "/pause"))).await.map(drop)).await
    }
}

impl Verb for Unpause {
    const NAMES: &'static [&'static str] = &["container unpause", "unpause"];
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        each(&self.containers, async |name| client.done(Call::post(path(name, "/unpause"))).await.map(drop)).await
    }
}
