//! `run`: create, attach, start, carry the streams, and end with the container's exit code.
//!
//! What must stay true: the wait is registered before the start, so that no exit is missed; the streams are attached before the start, so that no
//! output is; a refusal by the daemon ends with 125, 126 or 127.

use super::create::create;
use super::flags::ContainerFlags;
use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::{Answer, Call, Client, broken};
use crate::cli::exit::{Failure, Outcome, USAGE, start_refusal_code};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::stream::signals::Forwarder;
use crate::cli::stream::{DetachKeys, Ended, Relay};
use crate::cli::terminal;
use http_body_util::BodyExt as _;
use serde_json::Value;

/// Create and run a new container from an image
#[derive(Debug, clap::Parser)]
pub(crate) struct Run {
    #[command(flatten)]
    flags: ContainerFlags,
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Remove an existing container of the same name first
    #[arg(long)]
    replace: bool,
    /// Proxy received signals to the process (default true)
    #[arg(long)]
    sig_proxy: bool,
    #[arg(long, hide = true)]
    no_sig_proxy: bool,
    #[arg(hide = true)]
    image: String,
    #[arg(hide = true)]
    command: Vec<String>,
}

impl Verb for Run {
    const NAMES: &'static [&'static str] = &["container run", "run"];
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const WORDS: Words = Words::AtLeast(1);
    const OPTIONS_END_AT_FIRST_WORD: bool = true;

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        if self.flags.tty && self.flags.interactive && !self.detach && !terminal::input_is_terminal() {
            return Err(Failure::new("the input device is not a TTY").hint("leave out -t when standard input is a pipe or a file"));
        }
        let keys = self.flags.detach_keys.clone().map_or_else(|| session.config().map(|config| config.detach_keys.clone()), Ok)?;
        let detach = DetachKeys::parse(&keys)?;
        if let (true, Some(name)) = (self.replace, &self.flags.name) {
            match client.done(Call::delete(path(name, "")).query("force", "1").query("v", "1")).await {
                Err(failure) if !failure.is_not_found() => return Err(failure.with_code(USAGE)),
                _ => {}
            }
        }
        let id = create(session, &self.flags, &self.image, &self.command, self.detach).await?;
        if self.detach {
            start(client, &id).await?;
            return output::line(id);
        }
        self.foreground(client, &id, detach).await
    }
}

impl Run {
    async fn foreground(&self, client: &Client, id: &str, detach: DetachKeys) -> Outcome {
        let forwarder = if self.no_sig_proxy { None } else { Some(Forwarder::new()) };
        let named = !self.flags.attach.is_empty();
        let (input, out, err) = (
            self.flags.interactive && (!named || self.flags.attaches("stdin")),
            !named || self.flags.attaches("stdout"),
            !named || self.flags.attaches("stderr"),
        );
        let attach = Call::post(path(id, "/attach"))
            .query("stream", "1")
            .flag("stdin", input)
            .flag("stdout", out)
            .flag("stderr", err)
            .query_if("detachKeys", self.flags.detach_keys.as_ref());
        let upgraded = client.upgrade(attach).await.map_err(|failure| failure.with_code(USAGE))?;
        let condition = if self.flags.rm { "removed" } else { "next-exit" };
        let waiting =
            client.send(Call::post(path(id, "/wait")).query("condition", condition)).await.map_err(|failure| failure.with_code(USAGE))?;
        start(client, id).await?;

        let relay = Relay { input, terminal: self.flags.tty, detach, output: out, errors: err };
        let follow = async {
            if self.flags.tty && output::is_terminal() {
                terminal::follow_size(client, &path(id, "/resize")).await;
            }
            std::future::pending::<()>().await;
        };
        let forward = async {
            match forwarder {
                Some(forwarder) => forwarder.run(client, id).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(follow, forward);
        let ended = tokio::select! {
            ended = Box::pin(relay.carry(upgraded)) => ended?,
            () = &mut follow => Ended::Finished,
            failure = &mut forward => return Err(failure),
        };
        if ended == Ended::Detached {
            return Ok(());
        }
        let code = tokio::select! {
            code = exit_code(waiting) => code?,
            failure = &mut forward => return Err(failure),
        };
        if code == 0 { Ok(()) } else { Err(Failure::ended(code)) }
    }
}

/// Starts a container; the daemon's words decide the exit code of a refusal.
pub(super) async fn start(client: &Client, id: &str) -> Outcome {
    client.done(Call::post(path(id, "/start"))).await.map(drop).map_err(|failure| {
        let code = failure.daemon_message().map_or(USAGE, start_refusal_code);
        super::explain::start(failure.with_code(code))
    })
}

/// The exit code a wait answers.
pub(super) async fn exit_code(waiting: Answer) -> Outcome<u8> {
    let body = waiting.into_body().collect().await.map_err(broken)?.to_bytes();
    let answer: Value = serde_json::from_slice(&body)
        .map_err(|error| Failure::new(format!("cannot understand the daemon's answer to wait: {error}")).with_code(USAGE))?;
    if let Some(message) = answer.pointer("/Error/Message").and_then(Value::as_str).filter(|message| !message.is_empty()) {
        return Err(Failure::new(format!("error waiting for container: {message}")).with_code(USAGE));
    }
    let code = answer.get("StatusCode").and_then(Value::as_i64).unwrap_or_default();
    Ok(u8::try_from(code & 0xff).unwrap_or(USAGE))
}
