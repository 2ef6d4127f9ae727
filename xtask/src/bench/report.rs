//! The report: a table for people (`results.md`) and everything that was seen for programs (`results.json`).

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::engines::{OURS, Roster};
use super::measure::{Cell, Outcome};
use super::options::Options;
use super::statistics::{Summary, ratio, time};

/// The machine and its load, without which no number means anything.
pub(super) struct Environment {
    facts: Vec<(&'static str, String)>,
}

impl Environment {
    pub(super) fn at_start(root: &Path, options: &Options) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let line = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let cpuinfo = read("/proc/cpuinfo");
        let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        let facts = vec![
            ("when", printed(Command::new("date").args(["--utc", "+%Y-%m-%d %H:%M UTC"]))),
            ("revision", printed(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root))),
            ("our binary", described(&options.shipway)),
            ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
            ("processors", format!("{processors} x {}", line(&cpuinfo, "model name"))),
            ("memory", line(&read("/proc/meminfo"), "MemTotal")),
            ("file systems", format!("ext4 on loop devices over sparse files of {} GiB in {}", options.size_gib, options.disk.display())),
            ("nice", options.nice.to_string()),
            ("load at start", read("/proc/loadavg").trim().to_owned()),
        ];
        Self { facts }
    }

    /// What is true of the whole run, and the load of this moment.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut facts = self.facts.clone();
        facts.push(("load at end", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()));
        facts
    }
}

fn printed(command: &mut Command) -> String {
    command.output().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn described(binary: &Path) -> String {
    match std::fs::metadata(binary) {
        Ok(metadata) => format!("{} ({} bytes)", binary.display(), metadata.len()),
        Err(_) => format!("{} (missing)", binary.display()),
    }
}

/// Writes both files and returns the text of the first.
pub(super) fn write(options: &Options, environment: &Environment, roster: &Roster, outcomes: &[Outcome]) -> Result<String, String> {
    let text = markdown(environment, roster, outcomes);
    let values = serde_json::to_string_pretty(&values(environment, roster, outcomes)).map_err(|error| error.to_string())?;
    std::fs::create_dir_all(&options.output).map_err(|error| format!("cannot create {}: {error}", options.output.display()))?;
    for (name, bytes) in [("results.md", &text), ("results.json", &values)] {
        let path: PathBuf = options.output.join(name);
        std::fs::write(&path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(text)
}

/// A cell of the table: numbers, or why there are none.
pub(super) fn cell(cell: &Cell) -> String {
    if cell.is_unable {
        return "-".to_owned();
    }
    match (&cell.failure, Summary::of(&cell.samples)) {
        (Some(_), _) => "failed".to_owned(),
        (None, Some(summary)) => summary.to_string(),
        (None, None) => "-".to_owned(),
    }
}

fn median(outcome: &Outcome, matches: impl Fn(&str) -> bool) -> Option<Duration> {
    let cells = outcome.cells.iter().filter(|cell| matches(cell.engine) && cell.failure.is_none());
    cells.filter_map(|cell| Summary::of(&cell.samples)).map(|summary| summary.median).min()
}

/// Ours and the fastest of Docker's columns.
fn against_docker(outcome: &Outcome) -> Option<(Duration, Duration)> {
    Some((median(outcome, |name| name == OURS)?, median(outcome, |name| name.starts_with("docker"))?))
}

fn markdown(environment: &Environment, roster: &Roster, outcomes: &[Outcome]) -> String {
    let mut text =
        String::from("# Side by side\n\nWall time of one command: median (least-greatest). Engines took turns in every round.\n\n");
    table(&mut text, roster, outcomes);
    cases(&mut text, outcomes);
    yardsticks(&mut text, outcomes);
    counts(&mut text, outcomes);
    residues(&mut text, outcomes);
    stored(&mut text, outcomes);
    failures(&mut text, roster, outcomes);
    text.push_str("\n## Machine\n\n");
    let versions = roster.versions.iter().map(|(name, version)| (*name, version.lines().collect::<Vec<_>>().join(", ")));
    for (name, value) in environment.lines().into_iter().chain(versions) {
        line(&mut text, format_args!("- {name}: {value}"));
    }
    text
}

fn table(text: &mut String, roster: &Roster, outcomes: &[Outcome]) {
    let names: Vec<&str> = roster.present.iter().map(|engine| engine.name()).collect();
    line(text, format_args!("| case | n | {} | fastest Docker : {OURS} |", names.join(" | ")));
    line(text, format_args!("|---|---|{}---|", "---|".repeat(names.len())));
    for outcome in outcomes {
        let cells: Vec<String> = outcome.cells.iter().map(cell).collect();
        let rounds = outcome.cells.iter().map(|cell| cell.samples.len()).max().unwrap_or_default();
        let ratio = against_docker(outcome).map_or_else(|| "-".to_owned(), |(ours, docker)| ratio(ours, docker));
        line(text, format_args!("| {} | {rounds} | {} | {ratio} |", outcome.case.name, cells.join(" | ")));
    }
}

fn cases(text: &mut String, outcomes: &[Outcome]) {
    text.push_str(
        "\nA ratio above 1 means that we are faster. Builds and containers have no network. After every run the file system is synced \
         outside the clock. Docker's two builders share one daemon, whose containers are measured once.\n\n",
    );
    for outcome in outcomes {
        line(text, format_args!("- **{}**: {}", outcome.case.name, outcome.case.title));
    }
}

fn yardsticks(text: &mut String, outcomes: &[Outcome]) {
    text.push_str("\n## Yardsticks, measured in the same rounds\n\n| case | what | time | ours : this |\n|---|---|---|---|\n");
    for outcome in outcomes {
        for (yardstick, samples) in &outcome.yardsticks {
            let Some(summary) = Summary::of(samples) else { continue };
            let ours = median(outcome, |name| name == OURS).map_or_else(|| "-".to_owned(), |ours| ratio(summary.median, ours));
            line(text, format_args!("| {} | {} | {summary} | {ours} |", outcome.case.name, yardstick.name()));
        }
    }
}

fn counts(text: &mut String, outcomes: &[Outcome]) {
    let counted: Vec<_> =
        outcomes.iter().flat_map(|outcome| outcome.cells.iter().map(move |cell| (outcome.case.name, &cell.counts))).collect();
    if counted.iter().all(|(_, counts)| counts.is_none()) {
        return;
    }
    text.push_str("\n## Kernel calls of our daemon and its processes in one run\n\nOne run that is not timed. What the daemon \
         prepares ahead or refills meanwhile counts when it happens, so these vary a little.\n\n| case | syncs | mounts | unmounts | each |\n|---|---|---|---|---|\n");
    for (case, counts) in counted {
        match counts {
            Some(Ok(counts)) => {
                let each: Vec<String> = counts.0.iter().map(|(name, count)| format!("{name} {count}")).collect();
                line(
                    text,
                    format_args!("| {case} | {} | {} | {} | {} |", counts.syncs(), counts.mounts(), counts.unmounts(), each.join(", ")),
                );
            }
            Some(Err(reason)) => line(text, format_args!("| {case} | - | - | - | {reason} |")),
            None => {}
        }
    }
}

fn residues(text: &mut String, outcomes: &[Outcome]) {
    let mut rows = String::new();
    for outcome in outcomes {
        for (cell, residue) in outcome.cells.iter().filter_map(|cell| Some((cell, cell.residue?))) {
            let image = if residue.has_new_image { "changed" } else { "same" };
            let (case, rounds) = (outcome.case.name, cell.samples.len());
            line(&mut rows, format_args!("| {case} | {} | {rounds} | {image} | {:+} | {:+} |", cell.engine, residue.inodes, residue.bytes));
        }
    }
    if !rows.is_empty() {
        text.push_str("\n## What the fully cached builds left on disk, all rounds together\n\n| case | engine | builds | image id | inodes | bytes |\n|---|---|---|---|---|---|\n");
        text.push_str(&rows);
    }
}

fn stored(text: &mut String, outcomes: &[Outcome]) {
    let mut rows = String::new();
    for (outcome, cell) in outcomes.iter().flat_map(|outcome| outcome.cells.iter().map(move |cell| (outcome, cell))) {
        if let Some(bytes) = cell.stored.iter().max() {
            line(&mut rows, format_args!("| {} | {} | {:.1} |", outcome.case.name, cell.engine, *bytes as f64 / 1e6));
        }
    }
    if !rows.is_empty() {
        text.push_str("\n## What first pushes stored\n\n| case | engine | MB, compressed |\n|---|---|---|\n");
        text.push_str(&rows);
    }
}

fn failures(text: &mut String, roster: &Roster, outcomes: &[Outcome]) {
    let absent = roster.absent.iter().map(|(name, reason)| format!("- {name}: not in the table: {reason}"));
    let failed = outcomes.iter().flat_map(|outcome| {
        outcome.cells.iter().filter_map(|cell| Some(format!("- {}, {}: {}", outcome.case.name, cell.engine, cell.failure.as_ref()?)))
    });
    let lines: Vec<String> = absent.chain(failed).collect();
    if !lines.is_empty() {
        line(text, format_args!("\n## Missing and failed\n\n{}", lines.join("\n")));
    }
}

fn values(environment: &Environment, roster: &Roster, outcomes: &[Outcome]) -> Value {
    let milliseconds = |samples: &[Duration]| samples.iter().map(|sample| sample.as_secs_f64() * 1000.0).collect::<Vec<_>>();
    let cell = |cell: &Cell| {
        json!({
            "engine": cell.engine,
            "milliseconds": milliseconds(&cell.samples),
            "median": Summary::of(&cell.samples).map(|summary| time(summary.median)),
            "unable": cell.is_unable,
            "failure": cell.failure,
            "stored": cell.stored,
            "residue": cell.residue.map(|residue| json!({"inodes": residue.inodes, "bytes": residue.bytes, "new_image": residue.has_new_image})),
            "kernel_calls": cell.counts.as_ref().map(|counts| match counts {
                Ok(counts) => json!(counts.0),
                Err(reason) => json!({"failure": reason}),
            }),
        })
    };
    let outcome = |outcome: &Outcome| {
        json!({
            "case": outcome.case.name,
            "title": outcome.case.title,
            "fastest_docker_to_ours": against_docker(outcome).map(|(ours, docker)| docker.as_secs_f64() / ours.as_secs_f64()),
            "engines": outcome.cells.iter().map(cell).collect::<Vec<_>>(),
            "yardsticks": outcome.yardsticks.iter().map(|(yardstick, samples)| json!({"what": yardstick.name(), "milliseconds": milliseconds(samples)})).collect::<Vec<_>>(),
        })
    };
    let named =
        |pairs: &[(&'static str, String)]| Value::Object(pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect());
    json!({
        "machine": named(&environment.lines()),
        "versions": named(&roster.versions),
        "absent": named(&roster.absent),
        "cases": outcomes.iter().map(outcome).collect::<Vec<_>>(),
    })
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{arguments}");
}
