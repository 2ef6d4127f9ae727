//! `logout`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::credentials::{Keeper, Server};
use crate::cli::exit::Outcome;
use crate::cli::output;
use crate::cli::session::Session;

/// Log out from a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Logout {
    #[arg(hide = true)]
    server: Option<String>,
}

impl Verb for Logout {
    const NAMES: &'static [&'static str] = &["logout"];
    const USAGE: &'static str = "[SERVER]";
    const WORDS: Words = Words::Between(0, 1);

    async fn run(self, session: &Session) -> Outcome {
        let server = Server::parse(self.server.as_deref().unwrap_or_default());
        if Keeper::open(session)?.forget(&server).await? {
            output::line(format!("Removing login credentials for {server}"))
        } else {
            output::line(format!("Not logged in to {server}"))
        }
    }
}
