//! `shipway oci`: an OCI runtime on the command line, without a daemon.
//!
//! It takes what runc takes, so that engines (podman, containerd) and outside validation suites can drive our launch. A container made here has no
//! monitor: its parent is whoever called us, or the nearest subreaper, because conmon and containerd's shim wait for it themselves. Between `create`
//! and `start` its first process stands at a gate, a socket in the state folder.
//!
//! ```text
//! <root>/<id>/container.json   what is known of it          config.json   its bundle's configuration at the time of create
//! <root>/<id>/gate.sock        there until `start`
//! ```
//!
//! What must stay true: what a configuration says is done or refused by name; a container that could not be made leaves nothing.
//!
//! Source: OCI runtime-spec 1.2, runtime.md, config.md, config-linux.md; the flags, messages and exit codes of runc(8).

mod arguments;
mod capabilities;
mod commands;
mod config;
mod create;
mod document;
mod error;
mod execute;
mod foreground;
mod hooks;
mod launch;
mod mounts;
mod plan;
mod program;
mod resources;
mod store;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use arguments::{Flag, Parsed, parse};
use error::Error;

/// What runtime-spec version we answer with.
const SPEC_VERSION: &str = "1.2.0";
/// Where state is kept unless --root says otherwise; emptied by a reboot.
const DEFAULT_ROOT: &str = "/run/shipway/oci";

const GLOBAL_FLAGS: &[Flag] = &[
    Flag::value("root"),
    Flag::value("log"),
    Flag::value("log-format"),
    Flag::value("rootless"),
    Flag::value("criu"),
    Flag::switch("systemd-cgroup"),
    Flag::switch("debug"),
    Flag::short_switch("help", 'h'),
    Flag::short_switch("version", 'v'),
];

/// What the flags before the command say.
#[derive(Debug, Clone)]
struct Global {
    root: PathBuf,
    log: Option<PathBuf>,
    log_is_json: bool,
}

/// Carries out one command line (what follows `oci`) and answers with the exit code: 0, that of the program for `run` and `exec`, 1 for a refusal,
/// 255 for an exec that failed.
pub fn run(arguments: &[OsString]) -> u8 {
    let words: Option<Vec<String>> = arguments.iter().map(|word| word.to_str().map(str::to_owned)).collect();
    let Some(words) = words else {
        return complain(None, &Error::usage("arguments must be UTF-8"), 1);
    };
    let parsed = match parse(&words, GLOBAL_FLAGS) {
        Ok(parsed) => parsed,
        Err(error) => return complain(None, &error, 1),
    };
    let global = Global {
        root: PathBuf::from(parsed.text("root").unwrap_or(DEFAULT_ROOT)),
        log: parsed.text("log").filter(|path| !path.is_empty()).map(PathBuf::from),
        log_is_json: parsed.text("log-format") == Some("json"),
    };
    match dispatch(&global, &parsed) {
        Ok(code) => code,
        Err(error) => {
            let code = if parsed.rest.first().is_some_and(|word| word == "exec") { 255 } else { 1 };
            complain(Some(&global), &error, code)
        }
    }
}

fn dispatch(global: &Global, parsed: &Parsed) -> Result<u8, Error> {
    if parsed.has("version") {
        say(&format!("shipway oci version {}\nspec: {SPEC_VERSION}\n", env!("CARGO_PKG_VERSION")))?;
        return Ok(0);
    }
    let Some((command, rest)) = parsed.rest.split_first() else {
        say(commands::HELP)?;
        return Ok(0);
    };
    if parsed.has("help") {
        say(commands::HELP)?;
        return Ok(0);
    }
    match command.as_str() {
        "create" => create::create(global, rest),
        "run" => foreground::run(global, rest),
        "exec" => execute::exec(global, rest),
        "start" => create::start_command(global, rest),
        "state" => commands::state(global, rest),
        "kill" => commands::kill(global, rest),
        "delete" => commands::delete(global, rest),
        "list" => commands::list(global, rest),
        "ps" => commands::ps(global, rest),
        "pause" => commands::pause(global, rest),
        "resume" => commands::resume(global, rest),
        "update" => resources::update(global, rest),
        "spec" => document::spec(rest),
        "features" => document::features(),
        "help" => say(commands::HELP).map(|()| 0),
        "checkpoint" | "restore" | "events" => Err(Error::Unsupported { what: format!("the command \"{command}\"") }),
        _ => Err(Error::usage(format!("there is no command \"{command}\""))),
    }
}

/// Writes to standard output.
fn say(text: &str) -> Result<(), Error> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Error::file("write", Path::new("/dev/stdout"), &error))
}

/// Tells an error where runc's callers look for it: standard error and the log.
fn complain(global: Option<&Global>, error: &Error, code: u8) -> u8 {
    note(global, "error", &error.to_string());
    code
}

/// Tells something that went wrong without stopping us.
fn warn(global: &Global, text: &str) {
    note(Some(global), "warning", text);
}

fn note(global: Option<&Global>, level: &str, text: &str) {
    let mut time = Vec::new();
    let now = crate::clock::Instant { nanoseconds: 0, ..crate::clock::Instant::now() };
    now.write_rfc3339(&mut time);
    let time = String::from_utf8_lossy(&time);
    let plain = format!("time=\"{time}\" level={level} msg={}\n", serde_json::Value::from(text));
    // Nobody is left to be told when standard error or the log cannot be written.
    let _ = std::io::stderr().write_all(plain.as_bytes());
    let Some(global) = global else { return };
    let Some(path) = &global.log else { return };
    let line = match global.log_is_json {
        true => format!("{}\n", serde_json::json!({ "level": level, "msg": text, "time": time })),
        false => plain,
    };
    if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path) {
        let _ = file.write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests;
