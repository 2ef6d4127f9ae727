//! Everything that decides whether a change lands, in the order that finds mistakes soonest.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::tidy;

/// Runs all checks and tests; the first failure ends it.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    step("formatting", || cargo(root, &["fmt", "--all", "--check"], &[]))?;
    step("tidy", || tidy::run(root))?;
    step("lints", || cargo(root, &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"], &[]))?;
    if has_cargo_deny(root) {
        step("what comes in from outside", || cargo(root, &["deny", "check", "bans", "licenses", "sources"], &[]))?;
    } else {
        println!("== what comes in from outside: not checked, cargo-deny is not installed");
    }
    step("documentation", || {
        cargo(root, &["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"], &[("RUSTDOCFLAGS", "-D warnings")])
    })?;
    step("tests", || cargo(root, &["nextest", "run", "--workspace"], &[]))
}

/// Advisories need the network, so they are not part of this; whoever has cargo-deny has the rest.
fn has_cargo_deny(root: &Path) -> bool {
    let asked = Command::new(env!("CARGO")).args(["deny", "--version"]).current_dir(root).output();
    asked.is_ok_and(|output| output.status.success())
}

/// Runs one step and tells how long it took.
fn step(name: &str, work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    println!("== {name}");
    let started = Instant::now();
    let result = work();
    println!("== {name}: {} after {:.1} s", if result.is_ok() { "good" } else { "failed" }, started.elapsed().as_secs_f64());
    result
}

fn cargo(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(root).envs(environment.iter().copied());
    let status = command.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed", arguments.join(" "))) }
}
