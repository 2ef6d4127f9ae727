//! The command line: a client of the Docker Engine API and of our own `/shipway/...` endpoints. It drives our daemon and a real dockerd alike.
//!
//! **Lives here** words and flags, tables, templates, progress displays, terminals, exit codes. **Never here** decisions about containers or
//! images: those are the daemon's. **Invariants** output leaves only through `output`; nothing is read or started before a command needs it; one
//! thread, unless standard input must be read. **Start reading at** [`run`], then `catalog`, then a file in `commands`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod catalog;
mod client;
mod commands;
mod config_file;
mod connect;
mod credentials;
mod exit;
mod filters;
mod grammar;
mod groups;
mod human;
mod inspect;
mod json_stream;
mod line;
mod listing;
mod nearest;
mod output;
mod progress;
mod session;
mod stream;
mod table;
mod template;
mod terminal;
mod tree_tar;
mod upload;

use exit::{Failure, Outcome};
use session::{Globals, Session};
use std::ffi::OsString;

/// Runs one command line, without the program's name, and answers its exit code.
pub(crate) fn run(arguments: Vec<OsString>) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::failure(&Failure::new(format!("cannot begin: {error}")));
            return exit::FAILED;
        }
    };
    let outcome = runtime.block_on(dispatch(arguments));
    // A thread may still wait for a key on standard input; nobody waits for it.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            output::failure(&failure);
            failure.code
        }
    }
}

async fn dispatch(arguments: Vec<OsString>) -> Outcome {
    let mut words = Vec::with_capacity(arguments.len());
    for argument in arguments {
        words.push(argument.into_string().map_err(|argument| Failure::usage(format!("argument {argument:?} is not UTF-8 text")))?);
    }
    let (globals, first) = global_flags(&words)?;
    let Some(first) = first else { return Ok(()) };
    let session = Session::new(globals);
    let rest = &words[first..];
    if rest.is_empty() {
        return groups::overview(commands::TABLE);
    }
    match catalog::find(commands::TABLE, rest)? {
        catalog::Found::Group(name) => groups::page(commands::TABLE, &name),
        catalog::Found::Command(entry, name, length) => entry.call(&session, &name, &rest[length..]).await,
    }
}

/// Reads the flags before the command; answers where the command begins, or none when everything is said (`--version`, `--help`).
fn global_flags(words: &[String]) -> Outcome<(Globals, Option<usize>)> {
    let mut globals = Globals::default();
    let mut at = 0;
    while let Some(word) = words.get(at).filter(|word| word.len() > 1 && word.starts_with('-')) {
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) if word.starts_with("--") => (name, Some(value.to_owned())),
            _ if !word.starts_with("--") && word.len() > 2 && word.is_char_boundary(2) => {
                (&word[..2], Some(word[2..].trim_start_matches('=').to_owned()))
            }
            _ => (word.as_str(), None),
        };
        let value = |at: &mut usize| {
            attached.clone().or_else(|| {
                *at += 1;
                words.get(*at).cloned()
            })
        };
        match name {
            "-H" | "--host" => {
                globals.host = Some(value(&mut at).ok_or_else(|| Failure::usage(format!("flag needs an argument: {name}")))?)
            }
            "-c" | "--context" => {
                globals.context = Some(value(&mut at).ok_or_else(|| Failure::usage(format!("flag needs an argument: {name}")))?)
            }
            "--config" => globals.config = Some(value(&mut at).ok_or_else(|| Failure::usage(format!("flag needs an argument: {name}")))?),
            "-l" | "--log-level" => drop(value(&mut at)),
            "--tlscacert" | "--tlscert" | "--tlskey" => {
                value(&mut at);
                globals.tls = true;
            }
            "--tls" | "--tlsverify" => globals.tls = attached.as_deref() != Some("false"),
            "-D" | "--debug" => globals.debug = true,
            "-v" | "--version" => {
                output::line(format!("Shipway version {}, build {}", env!("CARGO_PKG_VERSION"), commands::system::BUILD))?;
                return Ok((globals, None));
            }
            "-h" | "--help" => {
                groups::overview(commands::TABLE)?;
                return Ok((globals, None));
            }
            other => {
                let what = if other.starts_with("--") {
                    format!("unknown flag: {other}")
                } else {
                    format!("unknown shorthand flag: '{}' in {word}", &other[1..])
                };
                return Err(Failure::usage(format!("{what}\nSee 'shipway --help'.")));
            }
        }
        at += 1;
    }
    Ok((globals, Some(at)))
}
