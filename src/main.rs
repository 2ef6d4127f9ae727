//! `shipway`: one binary, four personalities (decision D1).
//!
//! The two hidden ones, a container's monitor and its init, are taken first: no thread, runtime or allocation of ours may exist before them.

#![allow(rustdoc::invalid_html_tags, reason = "doc comments of commands are their help texts, which name values like this: <timestamp>")]

mod cli;
mod config;
mod daemon;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = shipway_runtime::personality(&arguments) {
        return code;
    }
    let code = match arguments.get(1).and_then(|word| word.to_str()) {
        Some("daemon") => daemon::run(&arguments[1..]),
        Some("oci") => shipway_runtime::oci::run(&arguments[2..]),
        _ => cli::run(arguments.into_iter().skip(1).collect()),
    };
    ExitCode::from(code)
}
