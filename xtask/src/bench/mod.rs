//! `cargo xtask bench`: Shipway beside whatever peers this machine has, round-robin in one run.
//!
//! The order of things: options, a private mount namespace, a stage with one fresh ext4 per engine ([`stage`]), the engines ([`engines`]), the
//! cases ([`cases`]) timed in turns ([`measure`]), the report ([`report`]). What must stay true: only the wall time of one command is ever timed;
//! every engine does the same work on a file system of the same kind; results are checked, not believed; whatever way the bench ends, the
//! [`guard`] takes the stage down. Nothing is installed: a peer that is missing is said to be missing.

mod cases;
mod engines;
mod guard;
mod harbour;
mod invocation;
mod measure;
mod options;
mod registries;
mod report;
mod shipments;
mod stage;
mod statistics;
mod syscalls;
mod traffic;
mod workloads;
mod yardsticks;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use self::cases::Action;
use self::engines::Roster;
use self::harbour::Harbour;
use self::measure::Bench;
use self::options::Options;
use self::stage::Stage;

/// Runs the bench; `arguments` are those after the word `bench`.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    if arguments.first().is_some_and(|word| word == guard::FLAG) {
        return guard::run();
    }
    if arguments.first().is_some_and(|word| word == traffic::ASK) {
        return traffic::ask(&arguments[1..]);
    }
    if arguments.first().is_some_and(|word| word == "registry") {
        return registries::run(root, &arguments[1..]);
    }
    let options = match Options::parse(root, arguments)? {
        Some(options) => options,
        None => {
            println!("{}", options::USAGE);
            return Ok(());
        }
    };
    if options.outer_namespace.is_none() {
        return Err(enter_namespace(&options, arguments));
    }
    let environment = report::Environment::at_start(root, &options);
    let mut stage = Stage::set_up(&options)?;
    let inputs = workloads::make(&mut stage, &options)?;
    let mut roster = Roster::gather(&options, &mut stage);
    roster.import(&inputs, &stage);
    let cases = cases::chosen(&options);
    let ships = cases.iter().any(|case| matches!(case.action, Action::Ship(_)));
    let harbour = if ships { Some(Harbour::set_up(&mut stage, &options, &roster)?) } else { None };
    let bench = Bench { options: &options, stage: &stage, inputs: &inputs, roster: &roster, harbour: harbour.as_ref() };
    let nexts = cases.iter().skip(1).copied().map(Some).chain([None]);
    let mut outcomes = Vec::new();
    let mut text = String::new();
    for (case, next) in cases.iter().zip(nexts) {
        outcomes.push(bench.measure(*case, next)?);
        // After every case, because a long run that is stopped has measured something too.
        text = report::write(&options, &environment, &roster, &outcomes)?;
    }
    println!("\n{text}");
    stage.take_down()
}

/// Starts this program again in its own mount namespace, so that no mount of ours is seen, copied or kept busy by anybody else.
fn enter_namespace(options: &Options, arguments: &[String]) -> String {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return format!("cannot find this program: {error}"),
    };
    let Some(outer) = guard::mount_namespace("self") else { return "cannot read /proc/self/ns/mnt".to_owned() };
    let error = Command::new("nice")
        .args(["-n", &options.nice.to_string(), "unshare", "--mount", "--propagation", "private"])
        .arg(program)
        .args(["bench", options::OUTER, &outer])
        .args(arguments)
        .exec();
    format!("cannot run nice and unshare: {error}")
}
