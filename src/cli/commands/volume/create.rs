//! `volume create`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::commands::container::pairs;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::output;
use crate::cli::session::Session;
use serde_json::{Value, json};

/// Create a volume
#[derive(Debug, clap::Parser)]
pub(crate) struct Create {
    /// Specify volume driver name
    #[arg(short, long, value_name = "string", default_value = "local")]
    driver: String,
    /// Set metadata for a volume
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Specify volume name
    #[arg(long, value_name = "string", hide = true)]
    name: Option<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    #[arg(hide = true)]
    volume: Option<String>,
}

impl Verb for Create {
    const NAMES: &'static [&'static str] = &["volume create"];
    const USAGE: &'static str = "[OPTIONS] [VOLUME]";
    const WORDS: Words = Words::Between(0, 1);

    async fn run(self, session: &Session) -> Outcome {
        if self.name.is_some() && self.volume.is_some() {
            return Err(Failure::new("conflicting options: cannot specify a volume name through both --name and as a positional arg"));
        }
        let name = self.volume.or(self.name).unwrap_or_default();
        let body = json!({"Name": name, "Driver": self.driver, "DriverOpts": pairs(&self.opt, &[])?, "Labels": pairs(&self.label, &[])?});
        let answer: Value = session.client()?.json(Call::post("/volumes/create").json(body)).await?;
        output::line(answer.get("Name").and_then(Value::as_str).unwrap_or_default())
    }
}
