//! Credential helpers: programs `docker-credential-NAME` that keep secrets for us.
//!
//! What must stay true: only a plain name becomes a program's name; the secret travels by pipe; what a helper prints is repeated as an error only when it is
//! no document, and then without looking inside.
//!
//! # Source
//! docker-credential-helpers' protocol: `get` (standard input: server; output: JSON), `store` (input: JSON), `erase` (input: server), `list` (output: JSON).

use super::{Login, trouble};
use crate::cli::exit::{Failure, Outcome};
use serde::Deserialize;
use serde_json::json;
use shipway_model::Secret;
use std::collections::BTreeMap;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;

/// What helpers say when they have nothing; there is no code for it.
const NOTHING: &str = "credentials not found in native keychain";
/// The user name that marks an identity token.
const TOKEN: &str = "<token>";
/// The longest complaint that is passed on.
const LONGEST: usize = 500;

/// One helper program.
pub(super) struct Helper {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// What it keeps for `server`.
    pub(super) async fn get(&self, server: &str) -> Outcome<Option<Login>> {
        let (good, output) = self.call("get", server.as_bytes()).await?;
        if !good {
            let words = words(&output);
            return if words == NOTHING { Ok(None) } else { Err(self.refused("get", &words)) };
        }
        let found: Found = serde_json::from_slice(&output).map_err(|_| self.refused("get", "its answer is no document"))?;
        let secret = Secret::new(found.secret);
        Ok(Some(if found.username == TOKEN {
            Login { identity_token: secret, ..Login::new("", Secret::new("")) }
        } else {
            Login::new(found.username, secret)
        }))
    }

    /// Gives it `login` to keep.
    pub(super) async fn store(&self, server: &str, login: &Login) -> Outcome {
        let is_token = !login.identity_token.expose().is_empty();
        let (username, secret) =
            if is_token { (TOKEN, login.identity_token.expose()) } else { (login.username.as_str(), login.password.expose()) };
        let document = json!({ "ServerURL": server, "Username": username, "Secret": secret }).to_string();
        self.done("store", document.as_bytes()).await
    }

    /// Tells it to forget `server`.
    pub(super) async fn erase(&self, server: &str) -> Outcome {
        self.done("erase", server.as_bytes()).await
    }

    /// The servers it keeps something for.
    pub(super) async fn list(&self) -> Outcome<Vec<String>> {
        let (good, output) = self.call("list", b"").await?;
        if !good {
            return Err(self.refused("list", &words(&output)));
        }
        let servers: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&output).map_err(|_| self.refused("list", "its answer is no document"))?;
        Ok(servers.into_keys().collect())
    }

    async fn done(&self, action: &str, input: &[u8]) -> Outcome {
        let (good, output) = self.call(action, input).await?;
        if good { Ok(()) } else { Err(self.refused(action, &words(&output))) }
    }

    /// Runs the program; true when it ended well, and what it printed.
    async fn call(&self, action: &str, input: &[u8]) -> Outcome<(bool, Vec<u8>)> {
        let plain = !self.name.is_empty() && self.name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter));
        if !plain {
            return Err(Failure::new(format!("\"{}\" in config.json is no name of a credential helper", self.name)));
        }
        let program = format!("docker-credential-{}", self.name);
        let missing = |error: std::io::Error| {
            let failure = trouble(format!("cannot run the credential helper \"{program}\""), crate::cli::exit::words(&error));
            if error.kind() == std::io::ErrorKind::NotFound {
                failure.hint("install it, or take \"credsStore\" and \"credHelpers\" out of config.json and log in again")
            } else {
                failure
            }
        };
        let mut command = tokio::process::Command::new(&program);
        command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(missing)?;
        if let Some(mut pipe) = child.stdin.take() {
            // A helper that does not read says so by its exit code.
            let _ = pipe.write_all(input).await;
        }
        let output = child.wait_with_output().await.map_err(missing)?;
        Ok((output.status.success(), output.stdout))
    }

    fn refused(&self, action: &str, words: &str) -> Failure {
        let what = format!("the credential helper \"docker-credential-{}\" cannot {action}", self.name);
        // What it wrote to standard error is on the terminal already.
        if words.is_empty() { Failure::new(what) } else { trouble(what, words) }
    }
}

fn words(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim().chars().filter(|letter| !letter.is_control()).take(LONGEST).collect()
}
