//! `rmi`.

use super::{path, platform_document};
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::Outcome;
use crate::cli::exit::{FAILED, Failure};
use crate::cli::output;
use crate::cli::session::Session;
use serde::Deserialize;

/// Remove one or more images
#[derive(Debug, clap::Parser)]
pub(crate) struct Remove {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Remove only the given platform variant
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    #[arg(hide = true)]
    images: Vec<String>,
}

/// What happened to a name or an image.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Removed {
    untagged: String,
    deleted: String,
}

impl Removed {
    /// As docker prints it.
    pub(crate) fn line(&self) -> String {
        if self.deleted.is_empty() { format!("Untagged: {}", self.untagged) } else { format!("Deleted: {}", self.deleted) }
    }
}

impl Verb for Remove {
    const NAMES: &'static [&'static str] = &["image rm", "image remove", "rmi"];
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        let platform = platform_document(self.platform.as_deref())?;
        let mut failed = false;
        for name in &self.images {
            let call = Call::delete(path(name, "")).flag("force", self.force).flag("noprune", self.no_prune);
            let call = call.query_if("platforms", platform.as_ref());
            match client.json::<Vec<Removed>>(call).await {
                Ok(removed) => removed.iter().try_for_each(|removed| output::line(removed.line()))?,
                Err(failure) if failure.is_unreachable() => return Err(failure),
                Err(failure) => {
                    output::failure(&failure);
                    // Ids repeat in `rmi -f $(images -q)`; what is gone already is no failure then.
                    failed |= !(self.force && failure.is_not_found());
                }
            }
        }
        if failed { Err(Failure::ended(FAILED)) } else { Ok(()) }
    }
}
