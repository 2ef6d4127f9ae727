//! `volume import` and `volume clone`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::{Call, path_escape};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::terminal;
use crate::cli::upload;

/// Put the files of a tar archive (a file, or STDIN) into a new or empty volume
#[derive(Debug, clap::Parser)]
pub(crate) struct Import {
    #[arg(hide = true)]
    volume: String,
    #[arg(hide = true)]
    file: Option<String>,
}

/// Copy a volume under a new name
#[derive(Debug, clap::Parser)]
pub(crate) struct Clone {
    #[arg(hide = true)]
    volume: String,
    #[arg(hide = true)]
    new: String,
}

fn own(name: &str, verb: &str) -> String {
    format!("/shipway/volumes/{}/{verb}", path_escape(name))
}

impl Verb for Import {
    const NAMES: &'static [&'static str] = &["volume import"];
    const USAGE: &'static str = "VOLUME [FILE|-]";
    const WORDS: Words = Words::Between(1, 2);

    async fn run(self, session: &Session) -> Outcome {
        let chunks = match self.file.as_deref() {
            Some(path) if path != "-" => upload::file(path)?,
            None if terminal::input_is_terminal() => {
                let failure = Failure::new("volume import reads an archive, and standard input is a terminal");
                return Err(failure.hint(format!("name the archive: shipway volume import {} FILE", self.volume)));
            }
            _ => upload::standard_input(),
        };
        session.client()?.done(Call::post(own(&self.volume, "import")).stream("application/x-tar", chunks)).await?;
        output::line(&self.volume)
    }
}

impl Verb for Clone {
    const NAMES: &'static [&'static str] = &["volume clone"];
    const USAGE: &'static str = "VOLUME NEW";
    const WORDS: Words = Words::Exactly(2);

    async fn run(self, session: &Session) -> Outcome {
        session.client()?.done(Call::post(own(&self.volume, "clone")).query("name", &self.new)).await?;
        output::line(&self.new)
    }
}
