//! `load`.

use super::platform_document;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::json_stream::{StatusLines, for_each};
use crate::cli::session::Session;
use crate::cli::terminal;
use crate::cli::upload;

/// Load an image from a tar archive or STDIN
#[derive(Debug, clap::Parser)]
pub(crate) struct Load {
    /// Read from tar archive file, instead of STDIN
    #[arg(short, long, value_name = "string")]
    input: Option<String>,
    /// Load only the given platform variant
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

impl Verb for Load {
    const NAMES: &'static [&'static str] = &["image load", "load"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let chunks = match &self.input {
            Some(path) => upload::file(path)?,
            None if terminal::input_is_terminal() => {
                return Err(Failure::new("requested load from stdin, but stdin is empty").hint("name the archive: shipway load -i FILE"));
            }
            None => upload::standard_input(),
        };
        let call = Call::post("/images/load")
            .flag("quiet", self.quiet)
            .query_if("platform", platform_document(self.platform.as_deref())?)
            .stream("application/x-tar", chunks);
        let answer = session.client()?.send(call).await?;
        let mut lines = StatusLines::on_output();
        for_each(answer, |object| lines.show(&object)).await
    }
}
