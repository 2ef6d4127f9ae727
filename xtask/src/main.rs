//! Helpers for developers: `cargo xtask ci|tidy|bench`.
//!
//! Runs cargo and the built binary; never part of the product.
#![allow(clippy::print_stdout, clippy::exit)]

mod bench;
mod ci;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <task>
  ci      formatting, lints, tidy, documentation, all tests: what decides whether a change lands
  tidy    the rules of the house that no compiler checks
  bench   our engine beside docker, podman and buildah, where they are installed (--help for options);
          `bench registry`: our registry beside docker-registry";

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let done = match task.as_str() {
        "ci" => ci::run(&root()),
        "tidy" => tidy::run(&root()),
        "bench" => bench::run(&root(), &std::env::args().skip(2).collect::<Vec<_>>()),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask {task}: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The top folder of the checkout.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}
