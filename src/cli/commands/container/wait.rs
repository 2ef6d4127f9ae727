//! `wait`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::exit::{FAILED, Failure};
use crate::cli::output;
use crate::cli::session::Session;
use serde_json::Value;

/// Block until one or more containers stop, then print their exit codes
#[derive(Debug, clap::Parser)]
pub(crate) struct Wait {
    #[arg(hide = true)]
    containers: Vec<String>,
}

impl Verb for Wait {
    const NAMES: &'static [&'static str] = &["container wait", "wait"];
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        let mut failed = false;
        for name in &self.containers {
            match client.json::<Value>(Call::post(path(name, "/wait"))).await {
                Ok(answer) => output::line(answer.get("StatusCode").and_then(Value::as_i64).unwrap_or_default().to_string())?,
                Err(failure) if failure.is_unreachable() => return Err(failure),
                Err(failure) => {
                    output::failure(&failure);
                    failed = true;
                }
            }
        }
        if failed { Err(Failure::ended(FAILED)) } else { Ok(()) }
    }
}
