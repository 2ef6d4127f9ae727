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
    step("documentation", || {
        cargo(root, &["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"], &[("RUSTDOCFLAGS", "-D warnings")])
    })?;
    step("tests", || cargo(root, &["nextest", "run", "--workspace"], &[]))
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
