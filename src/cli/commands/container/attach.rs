//! `attach`.

use super::path;
use super::run::exit_code;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::stream::signals::Forwarder;
use crate::cli::stream::{DetachKeys, Ended, Relay};
use crate::cli::terminal;
use serde_json::Value;

/// Attach local standard input, output, and error streams to a running container
#[derive(Debug, clap::Parser)]
pub(crate) struct Attach {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process (default true)
    #[arg(long)]
    sig_proxy: bool,
    #[arg(long, hide = true)]
    no_sig_proxy: bool,
    #[arg(hide = true)]
    container: String,
}

impl Verb for Attach {
    const NAMES: &'static [&'static str] = &["container attach", "attach"];
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        let container: Value = client.json(Call::get(path(&self.container, "/json"))).await?;
        let truth = |pointer: &str| container.pointer(pointer).and_then(Value::as_bool).unwrap_or_default();
        if !truth("/State/Running") {
            let failure = Failure::new("You cannot attach to a stopped container, start it first");
            return Err(failure.hint(format!("shipway start --attach {}", self.container)));
        }
        if truth("/State/Paused") {
            return Err(Failure::new("You cannot attach to a paused container, unpause it first")
                .hint(format!("shipway unpause {}", self.container)));
        }
        let id = container.get("Id").and_then(Value::as_str).unwrap_or(&self.container).to_owned();
        let remote_terminal = truth("/Config/Tty");
        let input = !self.no_stdin && truth("/Config/OpenStdin");
        if input && remote_terminal && !terminal::input_is_terminal() {
            return Err(Failure::new("the input device is not a TTY"));
        }
        let keys = match &self.detach_keys {
            Some(keys) => keys.clone(),
            None => session.config()?.detach_keys.clone(),
        };
        let waiting = client.send(Call::post(path(&id, "/wait"))).await?;
        let call = Call::post(path(&id, "/attach")).query("stream", "1").flag("stdin", input).query("stdout", "1").query("stderr", "1");
        let upgraded = client.upgrade(call.query_if("detachKeys", self.detach_keys.as_ref())).await?;
        let relay = Relay { input, terminal: remote_terminal, detach: DetachKeys::parse(&keys)?, output: true, errors: true };
        let follow = async {
            if remote_terminal && output::is_terminal() {
                terminal::follow_size(client, &path(&id, "/resize")).await;
            }
            std::future::pending::<()>().await;
        };
        let forward = async { if self.no_sig_proxy { std::future::pending().await } else { Forwarder::new().run(client, &id).await } };
        let ended = tokio::select! {
            ended = Box::pin(relay.carry(upgraded)) => ended?,
            () = follow => Ended::Finished,
            failure = forward => return Err(failure),
        };
        if ended == Ended::Detached {
            return Err(Failure::new("read escape sequence").with_code(1));
        }
        match exit_code(waiting).await? {
            0 => Ok(()),
            code => Err(Failure::ended(code)),
        }
    }
}
