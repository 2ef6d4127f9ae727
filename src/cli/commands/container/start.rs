//! `start`.

use super::path;
use super::run::{exit_code, start};
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::{FAILED, Failure, Outcome};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::stream::signals::Forwarder;
use crate::cli::stream::{DetachKeys, Ended, Relay};
use crate::cli::terminal;
use serde_json::Value;

/// Start one or more stopped containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Start {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    #[arg(hide = true)]
    containers: Vec<String>,
}

impl Verb for Start {
    const NAMES: &'static [&'static str] = &["container start", "start"];
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const WORDS: Words = Words::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        if self.attach || self.interactive {
            let [name] = self.containers.as_slice() else {
                return Err(Failure::new("you cannot start and attach multiple containers at once"));
            };
            return self.attached(session, name).await;
        }
        let client = session.client()?;
        let mut failed = Vec::new();
        for name in &self.containers {
            match start(client, name).await {
                Ok(()) => output::line(name)?,
                Err(failure) if failure.is_unreachable() => return Err(failure.with_code(FAILED)),
                Err(failure) => {
                    output::failure(&failure);
                    failed.push(name.as_str());
                }
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(Failure::new(format!("failed to start containers: {}", failed.join(", ")))) }
    }
}

impl Start {
    async fn attached(&self, session: &Session, name: &str) -> Outcome {
        let client = session.client()?;
        let container: Value = client.json(Call::get(path(name, "/json"))).await?;
        let truth = |pointer: &str| container.pointer(pointer).and_then(Value::as_bool).unwrap_or_default();
        let id = container.get("Id").and_then(Value::as_str).unwrap_or(name).to_owned();
        let terminal = truth("/Config/Tty");
        let input = self.interactive && truth("/Config/OpenStdin");
        let forwarder = Forwarder::new();
        let attach = Call::post(path(&id, "/attach")).query("stream", "1").flag("stdin", input).query("stdout", "1").query("stderr", "1");
        let upgraded = client.upgrade(attach.query_if("detachKeys", self.detach_keys.as_ref())).await?;
        let condition = if truth("/HostConfig/AutoRemove") { "removed" } else { "next-exit" };
        let waiting = client.send(Call::post(path(&id, "/wait")).query("condition", condition)).await?;
        start(client, &id).await?;
        let relay = Relay {
            input,
            terminal,
            detach: DetachKeys::parse(self.detach_keys.as_deref().unwrap_or_default())?,
            output: true,
            errors: true,
        };
        let follow = async {
            if terminal && output::is_terminal() {
                terminal::follow_size(client, &path(&id, "/resize")).await;
            }
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = Box::pin(relay.carry(upgraded)) => ended?,
            () = follow => Ended::Finished,
            failure = forwarder.run(client, &id) => return Err(failure),
        };
        if ended == Ended::Detached {
            return Ok(());
        }
        match exit_code(waiting).await? {
            0 => Ok(()),
            code => Err(Failure::ended(code)),
        }
    }
}
