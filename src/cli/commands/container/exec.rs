//! `exec`.

use super::path;
use crate::cli::catalog::{Verb, Words};
use crate::cli::client::{Call, path_escape};
use crate::cli::exit::{Failure, Outcome, start_refusal_code};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::stream::{DetachKeys, Ended, Relay};
use crate::cli::terminal;
use serde_json::{Value, json};

/// Execute a command in a running container
#[derive(Debug, clap::Parser)]
pub(crate) struct Exec {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "list")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "list")]
    env_file: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long, value_name = "string")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string")]
    workdir: Option<String>,
    #[arg(hide = true)]
    container: String,
    #[arg(hide = true)]
    command: Vec<String>,
}

impl Verb for Exec {
    const NAMES: &'static [&'static str] = &["container exec", "exec"];
    const USAGE: &'static str = "[OPTIONS] CONTAINER COMMAND [ARG...]";
    const WORDS: Words = Words::AtLeast(2);
    const OPTIONS_END_AT_FIRST_WORD: bool = true;

    async fn run(self, session: &Session) -> Outcome {
        let client = session.client()?;
        if self.tty && self.interactive && !self.detach && !terminal::input_is_terminal() {
            // A name that is no running container is the greater mistake; the daemon says so below (M-19).
            let found: Result<Value, Failure> = client.json(Call::get(path(&self.container, "/json"))).await;
            if found.is_ok_and(|container| container.pointer("/State/Running") == Some(&Value::Bool(true))) {
                return Err(Failure::new("the input device is not a TTY").hint("leave out -t when standard input is a pipe or a file"));
            }
        }
        let keys = match &self.detach_keys {
            Some(keys) => keys.clone(),
            None => session.config()?.detach_keys.clone(),
        };
        let input = self.interactive && !self.detach;
        let env = super::body::environment(session, &self.env_file, &self.env)?;
        let body = json!({
            "User": self.user.clone().unwrap_or_default(), "Privileged": self.privileged, "Tty": self.tty, "AttachStdin": input,
            "AttachStdout": !self.detach, "AttachStderr": !self.detach, "Detach": self.detach, "DetachKeys": keys, "Env": env,
            "WorkingDir": self.workdir.clone().unwrap_or_default(), "Cmd": self.command,
        });
        let created: Value = match client.json(Call::post(path(&self.container, "/exec")).json(body)).await {
            Ok(created) => created,
            Err(failure) => return Err(super::explain::exec(session, failure, &self.container, self.tty).await),
        };
        let id = created.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let exec = |rest: &str| format!("/exec/{}{rest}", path_escape(&id));
        if self.detach {
            return client.done(Call::post(exec("/start")).json(json!({"Detach": true, "Tty": self.tty}))).await.map(drop).map_err(refused);
        }
        let upgraded = client.upgrade(Call::post(exec("/start")).json(json!({"Detach": false, "Tty": self.tty}))).await.map_err(refused)?;
        let relay = Relay { input, terminal: self.tty, detach: DetachKeys::parse(&keys)?, output: true, errors: true };
        let resize = exec("/resize");
        let follow = async {
            if self.tty && output::is_terminal() {
                terminal::follow_size(client, &resize).await;
            }
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = Box::pin(relay.carry(upgraded)) => ended?,
            () = follow => Ended::Finished,
        };
        if ended == Ended::Detached {
            return Ok(());
        }
        let inspected: Value = client.json(Call::get(exec("/json"))).await?;
        match inspected.get("ExitCode").and_then(Value::as_i64).unwrap_or_default() {
            0 => Ok(()),
            code => Err(Failure::ended(u8::try_from(code & 0xff).unwrap_or(1))),
        }
    }
}

/// A program that cannot be run ends with 126 or 127, as `run` does.
fn refused(failure: Failure) -> Failure {
    match failure.daemon_message().map(start_refusal_code) {
        Some(code @ (126 | 127)) => failure.with_code(code),
        _ => failure,
    }
}
