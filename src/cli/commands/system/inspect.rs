//! `inspect` of whatever has the name: container, image, network or volume.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::client::path_escape;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::inspect;
use crate::cli::session::Session;

/// Return low-level information on Docker objects
#[derive(Debug, clap::Parser)]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type
    #[arg(long = "type", value_name = "string")]
    kind: Option<String>,
    #[arg(hide = true)]
    names: Vec<String>,
}

const KINDS: [(&str, &str, &str); 4] =
    [("container", "/containers/", "/json"), ("image", "/images/", "/json"), ("network", "/networks/", ""), ("volume", "/volumes/", "")];

impl Verb for Inspect {
    const NAMES: &'static [&'static str] = &["inspect"];
    const USAGE: &'static str = "[OPTIONS] NAME|ID [NAME|ID...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        if let Some(kind) = self.kind.as_deref().filter(|kind| !KINDS.iter().any(|known| known.0 == *kind)) {
            return Err(
                Failure::new(format!("\"{kind}\" is not a valid value for --type")).hint("types are container, image, network and volume")
            );
        }
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for name in &self.names {
            match self.one(session, name).await? {
                Ok(document) => found.push(document),
                Err(failure) => missing.push(failure),
            }
        }
        inspect::print(self.format.as_deref(), &found, &missing)
    }
}

impl Inspect {
    /// The document, or why there is none; fails as a whole only when the daemon cannot be asked.
    async fn one(&self, session: &Session, name: &str) -> Outcome<Outcome<String>> {
        let client = session.client()?;
        for (kind, before, after) in KINDS {
            if self.kind.as_deref().is_some_and(|wanted| wanted != kind) {
                continue;
            }
            match client
                .bytes(Call::get(format!("{before}{}{after}", path_escape(name))).flag("size", self.size && kind == "container"))
                .await
            {
                Ok(document) => return Ok(Ok(String::from_utf8_lossy(&document).trim().to_owned())),
                Err(failure) if failure.is_unreachable() => return Err(failure),
                Err(failure) if failure.is_not_found() || kind != "container" => {
                    // Names of images may be refused as such (400), or the kind may not exist at this daemon; the next kind may know better.
                    if self.kind.is_some() {
                        return Ok(Err(failure));
                    }
                }
                Err(failure) => return Ok(Err(failure)),
            }
        }
        Ok(Err(Failure::new(format!("No such object: {name}"))))
    }
}
