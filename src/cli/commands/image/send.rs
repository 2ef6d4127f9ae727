//! `image send`: images to another machine, over ssh, without a registry.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::exit::{Failure, Outcome, words};
use crate::cli::human;
use crate::cli::json_stream::StatusLines;
use crate::cli::line;
use crate::cli::output;
use crate::cli::session::Session;

/// How long the remote shell may take to end when all is said.
const ENDING: Duration = Duration::from_secs(10);

/// Send images to another machine over ssh, only the layers it lacks
#[derive(Debug, clap::Parser)]
pub(crate) struct Send {
    /// Remote shell to use instead of ssh, with its options (default $SHIPWAY_SSH)
    #[arg(short = 'e', long, value_name = "command")]
    rsh: Option<String>,
    /// The shipway program on the other machine
    #[arg(long, value_name = "string", default_value = "shipway")]
    remote_program: String,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    #[arg(hide = true)]
    words: Vec<String>,
}

impl Verb for Send {
    const NAMES: &'static [&'static str] = &["image send"];
    const USAGE: &'static str = "[OPTIONS] [USER@]HOST IMAGE [IMAGE...]";
    const WORDS: Words = Words::AtLeast(2);

    async fn run(self, session: &Session) -> Outcome {
        let (host, images) = self.words.split_first().ok_or_else(|| Failure::usage("name a host and an image"))?;
        let shell = self.rsh.clone().or_else(|| session.variable("SHIPWAY_SSH")).unwrap_or_else(|| "ssh".to_owned());
        let (program, arguments) = command(&shell, host, &self.remote_program)?;
        let call = images.iter().fold(Call::post("/shipway/images/send"), |call, name| call.query("names", name));
        // The images first: a name that means nothing here is no reason to ask for a password there.
        let upgraded = session.client()?.upgrade(call).await?;
        let spawned =
            tokio::process::Command::new(&program).args(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut child = spawned.map_err(|error| {
            Failure::new(format!("cannot run \"{program}\": {}", words(&error)))
                .hint("install ssh, or name another remote shell with -e or SHIPWAY_SSH")
        })?;
        let pipe = |fd: Option<std::io::Result<OwnedFd>>| {
            fd.and_then(Result::ok).map(File::from).ok_or_else(|| Failure::new("cannot reach the remote shell's pipes"))
        };
        let from_other = line::reader(pipe(child.stdout.take().map(tokio::process::ChildStdout::into_owned_fd))?);
        let (to_other, _) = line::writer(pipe(child.stdin.take().map(tokio::process::ChildStdin::into_owned_fd))?);
        let mut lines = (!self.quiet).then(StatusLines::on_errors);
        let ended = line::carry(upgraded, from_other, to_other, |value| lines.as_mut().map_or(Ok(()), |lines| lines.show(value))).await;
        let left = tokio::time::timeout(ENDING, child.wait()).await.ok().and_then(Result::ok);
        match ended.outcome {
            Ok(last) if self.quiet => drop(last),
            Ok(last) => output::line(summary(&last, host))?,
            // Nothing came: what the remote shell has to say for itself stands above, on standard error.
            Err(_) if ended.came == 0 && left.is_some_and(|status| !status.success()) => {
                let code = left.and_then(|status| status.code()).map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
                return Err(Failure::new(format!("\"{program} {}\" ended with {code}", arguments.join(" ")))
                    .hint("try it by hand; shipway must be installed there, and its daemon reachable for that user"));
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

/// The program and its arguments that start the far end on `host`.
fn command(shell: &str, host: &str, remote: &str) -> Outcome<(String, Vec<String>)> {
    let mut parts = shell.split_whitespace().map(str::to_owned);
    let program = parts.next().ok_or_else(|| Failure::usage("the remote shell is empty"))?;
    let mut arguments: Vec<String> = parts.collect();
    let bad = || {
        Failure::usage(format!("\"{host}\" is no host to send images to"))
            .hint("write shipway image send USER@HOST IMAGE, or ssh://USER@HOST:PORT where ssh listens elsewhere")
    };
    let target = match host.strip_prefix("ssh://") {
        None => host.to_owned(),
        Some(address) => {
            let address = address.trim_end_matches('/');
            // An address in brackets has colons of its own.
            let port = address.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
            match port {
                Some((target, port)) => {
                    let port: u16 = port.parse().map_err(|_| bad())?;
                    arguments.extend(["-p".to_owned(), port.to_string()]);
                    target.to_owned()
                }
                None => address.to_owned(),
            }
        }
    };
    let target = target.replace(['[', ']'], "");
    // A host that begins with a dash would be an option of ssh.
    if target.is_empty()
        || target.starts_with('-')
        || target.contains(|letter: char| letter.is_whitespace() || letter.is_control() || letter == '/')
    {
        return Err(bad());
    }
    arguments.extend([target, remote.to_owned(), "image".to_owned(), "receive".to_owned()]);
    Ok((program, arguments))
}

fn summary(last: &Value, host: &str) -> String {
    let number = |name: &str| last.get(name).and_then(Value::as_u64).unwrap_or_default();
    let images: Vec<&str> = last.get("Images").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    format!(
        "Sent {} to {host}: {} of {} layers, {}",
        images.join(", "),
        number("LayersSent"),
        number("Layers"),
        human::size(i64::try_from(number("Bytes")).unwrap_or(i64::MAX))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remote_shell_gets_the_host_and_the_command() {
        for (shell, host, expected) in [
            ("ssh", "ann@box", "ssh ann@box shipway image receive"),
            ("ssh -i key", "box", "ssh -i key box shipway image receive"),
            ("ssh", "ssh://ann@box:2222", "ssh -p 2222 ann@box shipway image receive"),
            ("ssh", "ssh://ann@[fd00::1]:22/", "ssh -p 22 ann@fd00::1 shipway image receive"),
            ("ssh", "ssh://[fd00::1]", "ssh fd00::1 shipway image receive"),
        ] {
            let (program, arguments) = command(shell, host, "shipway").unwrap();
            assert_eq!(format!("{program} {}", arguments.join(" ")), expected);
        }
        for host in ["-oProxyCommand=touch /PWNED", "ssh://-x", "", "ssh://box:no", "a b", "ssh://box/path"] {
            assert!(command("ssh", host, "shipway").is_err(), "{host}");
        }
        assert!(command(" ", "box", "shipway").is_err());
    }
}
