//! `save`.

use super::platform_document;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::session::Session;
use crate::cli::upload;

/// Save one or more images to a tar archive (streamed to STDOUT by default)
#[derive(Debug, clap::Parser)]
pub(crate) struct Save {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<String>,
    /// Save only the given platform variant
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Leave out the layers that this image has (the reader must have it)
    #[arg(long, value_name = "image")]
    since: Option<String>,
    #[arg(hide = true)]
    images: Vec<String>,
}

impl Verb for Save {
    const NAMES: &'static [&'static str] = &["image save", "save"];
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        upload::refuse_terminal(self.output.as_deref())?;
        let client = session.client()?;
        let call = self.images.iter().fold(Call::get("/images/get"), |call, name| call.query("names", name));
        let call = call.query_if("since", self.since.as_ref()).query_if("platform", platform_document(self.platform.as_deref())?);
        upload::save(client.send(call).await?, self.output.as_deref()).await
    }
}
