//! `image receive`: the far end of `image send`.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::{FAILED, Failure, Outcome};
use crate::cli::line;
use crate::cli::session::Session;
use crate::cli::terminal;

/// Take in the images that 'shipway image send' offers on standard input
#[derive(Debug, clap::Parser)]
pub(crate) struct Receive {}

impl Verb for Receive {
    const NAMES: &'static [&'static str] = &["image receive"];
    const USAGE: &'static str = "";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        if terminal::input_is_terminal() {
            return Err(Failure::new("`image receive` talks to `image send` on another machine, not to a person")
                .hint("on the machine that has the images: shipway image send USER@THIS-MACHINE IMAGE"));
        }
        let upgraded = session.client()?.upgrade(Call::post("/shipway/images/receive")).await?;
        let (to_other, writing) = line::writer(std::io::stdout());
        let ended = line::carry(upgraded, line::reader(std::io::stdin()), to_other, |_| Ok(())).await;
        if let Some(writing) = writing {
            // The last frame must be out before this process ends.
            drop(writing.join());
        }
        let last = ended.outcome?;
        // The other side tells the person there; said twice it would only confuse.
        if last.get("Refused").is_some() { Err(Failure::ended(FAILED)) } else { Ok(()) }
    }
}
