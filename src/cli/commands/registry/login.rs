//! `login`: the daemon tries the credentials, we keep them.
//!
//! What must stay true: a password is asked for only at a terminal, without showing it; nothing is kept that the registry did not accept.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::credentials::{Keeper, Kept, Login as Credentials, Server};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::session::Session;
use crate::cli::terminal;
use serde::Deserialize;
use shipway_model::Secret;
use std::io::Read as _;

/// The longest password that is read from standard input.
const LONGEST: u64 = 1 << 20;

/// Authenticate to a registry
#[derive(Debug, clap::Parser)]
pub(crate) struct Login {
    /// Password or Personal Access Token (PAT)
    #[arg(short, long, value_name = "string")]
    password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Username
    #[arg(short, long, value_name = "string")]
    username: Option<String>,
    #[arg(hide = true)]
    server: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Answer {
    status: String,
    identity_token: String,
}

impl Verb for Login {
    const NAMES: &'static [&'static str] = &["login"];
    const USAGE: &'static str = "[OPTIONS] [SERVER]";
    const WORDS: Words = Words::Between(0, 1);

    async fn run(self, session: &Session) -> Outcome {
        let server = Server::parse(self.server.as_deref().unwrap_or_default());
        let mut keeper = Keeper::open(session)?;
        let given = self.given()?;
        let known = if given.is_none() && self.username.is_none() { keeper.find(&server).await? } else { None };
        // Who is known already was told where it is kept when it was put there.
        let mut is_known = false;
        let (mut login, answer) = match (given, known) {
            (Some(login), _) => {
                let answer = try_out(session, &server, &login).await?;
                (login, answer)
            }
            (None, Some(known)) => {
                output::line(format!("Authenticating with existing credentials... [Username: {}]", known.username))?;
                match try_out(session, &server, &known).await {
                    Ok(answer) => {
                        is_known = true;
                        (known, answer)
                    }
                    Err(failure) if failure.is_unauthorized() && terminal::input_is_terminal() => {
                        output::note(format!("Login did not succeed, error: {failure}"));
                        self.ask(session, &server, Some(&known.username)).await?
                    }
                    Err(failure) => return Err(failure),
                }
            }
            (None, None) => self.ask(session, &server, None).await?,
        };
        if !answer.identity_token.is_empty() {
            login.password = Secret::new("");
            login.identity_token = Secret::new(answer.identity_token);
        }
        if let Kept::Plain(path) = keeper.keep(&server, &login).await?
            && !is_known
        {
            output::note(format!(
                "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
                path.display()
            ));
        }
        if answer.status.is_empty() { Ok(()) } else { output::line(answer.status) }
    }
}

impl Login {
    /// What the flags say, when they say everything.
    fn given(&self) -> Outcome<Option<Credentials>> {
        let username = self.username.clone().unwrap_or_default();
        if let Some(password) = &self.password {
            if self.password_stdin {
                return Err(Failure::new("conflicting options: cannot specify both --password and --password-stdin"));
            }
            output::note("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
            return Ok((!username.is_empty()).then(|| Credentials::new(username, Secret::new(password.as_str()))));
        }
        if !self.password_stdin {
            return Ok(None);
        }
        if username.is_empty() {
            return Err(Failure::new("the --password-stdin option requires --username to be set"));
        }
        let mut text = String::new();
        std::io::stdin().take(LONGEST).read_to_string(&mut text)?;
        let password = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        Ok(Some(Credentials::new(username, Secret::new(password))))
    }

    /// Asks the person at the terminal for what the flags do not say.
    async fn ask(&self, session: &Session, server: &Server, before: Option<&str>) -> Outcome<(Credentials, Answer)> {
        if !terminal::input_is_terminal() {
            return Err(Failure::new("Cannot perform an interactive login from a non TTY device")
                .hint("give the password by a pipe: shipway login -u USER --password-stdin SERVER"));
        }
        let username = match (&self.username, before) {
            (Some(username), _) => username.clone(),
            (None, before) => {
                if server.is_hub() {
                    output::line("Log in with your Docker ID or email address to push and pull images from Docker Hub.")?;
                }
                let prompt = before.map_or_else(|| "Username: ".to_owned(), |before| format!("Username ({before}): "));
                let typed = terminal::ask(&prompt)?;
                if typed.is_empty() { before.unwrap_or_default().to_owned() } else { typed }
            }
        };
        if username.is_empty() {
            return Err(Failure::new("Error: username is required"));
        }
        let password = match &self.password {
            Some(password) => Secret::new(password.as_str()),
            None => terminal::ask_hidden("Password: ")?,
        };
        if password.expose().is_empty() {
            return Err(Failure::new("Error: Password Required"));
        }
        let login = Credentials::new(username, password);
        let answer = try_out(session, server, &login).await?;
        Ok((login, answer))
    }
}

/// Lets the daemon ask the registry.
async fn try_out(session: &Session, server: &Server, login: &Credentials) -> Outcome<Answer> {
    let bytes = session.client()?.bytes(Call::post("/auth").json(login.document(server))).await?;
    if bytes.is_empty() {
        return Ok(Answer::default());
    }
    // The answer may hold a token: a parser's error must not quote it.
    serde_json::from_slice(&bytes).map_err(|_| Failure::new("cannot understand the daemon's answer to \"/auth\""))
}
