//! `volume export`, `volume import` and `volume clone`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::{Call, path_escape};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::terminal;
use crate::cli::upload;

/// Write everything in a volume as a tar archive (to STDOUT, or a file); import makes the same of it
#[derive(Debug, clap::Parser)]
pub(crate) struct Export {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<String>,
    #[arg(hide = true)]
    volume: String,
}

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

impl Verb for Export {
    const NAMES: &'static [&'static str] = &["volume export"];
    const USAGE: &'static str = "[OPTIONS] VOLUME";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        upload::refuse_terminal(self.output.as_deref())?;
        let answer = client.send(Call::get(own(&self.volume, "export"))).await?;
        upload::save(answer, self.output.as_deref()).await
    }
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
