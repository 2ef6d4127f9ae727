//! `import`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::json_stream::{StatusLines, for_each};
use crate::cli::session::Session;
use crate::cli::upload;
use shipway_model::Reference;

/// Import the contents from a tarball to create a filesystem image
#[derive(Debug, clap::Parser)]
pub(crate) struct Import {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "list")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "string")]
    message: Option<String>,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    #[arg(hide = true)]
    source: String,
    #[arg(hide = true)]
    reference: Option<String>,
}

impl Verb for Import {
    const NAMES: &'static [&'static str] = &["image import", "import"];
    const USAGE: &'static str = "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]";
    const WORDS: Words = Words::Between(1, 2);

    async fn run(self, session: &Session) -> Outcome {
        let remote = self.source.starts_with("http://") || self.source.starts_with("https://");
        let mut call = Call::post("/images/create")
            .query("fromSrc", if remote { self.source.as_str() } else { "-" })
            .query_if("message", self.message)
            .query_if("platform", self.platform);
        if let Some(text) = &self.reference {
            let reference = Reference::parse(text).map_err(|error| Failure::classified(&error))?;
            call = call.query("repo", reference.familiar_repository()).query_if("tag", reference.tag());
        }
        for change in &self.change {
            call = call.query("changes", change);
        }
        if !remote {
            call =
                call.stream("application/x-tar", if self.source == "-" { upload::standard_input() } else { upload::file(&self.source)? });
        }
        let answer = session.client()?.send(call).await?;
        let mut lines = StatusLines::on_output();
        for_each(answer, |object| lines.show(&object)).await
    }
}
