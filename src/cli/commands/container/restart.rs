//! `restart`.

use super::{each, path};
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::session::Session;

/// Restart one or more containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Restart {
    /// Signal to send to the container
    #[arg(short, long, value_name = "string")]
    signal: Option<String>,
    /// Seconds to wait before killing the container (-1: for ever)
    #[arg(short = 't', long = "timeout", alias = "time", value_name = "int", allow_negative_numbers = true)]
    timeout: Option<i64>,
    #[arg(hide = true)]
    containers: Vec<String>,
}

impl Verb for Restart {
    const NAMES: &'static [&'static str] = &["container restart", "restart"];
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        each(&self.containers, async |name| {
            let call = Call::post(path(name, "/restart"))
                .query_if("signal", self.signal.as_ref())
                .query_if("t", self.timeout.map(|seconds| seconds.to_string()));
            client.done(call).await.map(drop)
        })
        .await
    }
}
