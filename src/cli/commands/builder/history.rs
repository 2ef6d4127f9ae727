//! `build history`: the builds our own daemon remembers, and their logs.

use crate::cli::catalog::{Verb, Words};
use crate::cli::client::Call;
use crate::cli::client::path_escape;
use crate::cli::exit::Failure;
use crate::cli::exit::Outcome;
use crate::cli::human;
use crate::cli::listing::{Listing, Row};
use crate::cli::output;
use crate::cli::progress::{Display, Mode};
use crate::cli::session::Session;
use shipway_wire::build_history::BuildHistoryItem;
use shipway_wire::progress::SolveStatus;

/// List the builds the daemon remembers
#[derive(Debug, clap::Parser)]
pub(crate) struct HistoryList {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "")]
    format: String,
    /// Only show ids
    #[arg(short, long)]
    quiet: bool,
}

/// Show the whole log of a build
#[derive(Debug, clap::Parser)]
pub(crate) struct HistoryLogs {
    /// Format of the log: plain or rawjson
    #[arg(long, value_name = "string", default_value = "plain")]
    progress: String,
    #[arg(hide = true)]
    id: String,
}

const TITLES: &[(&str, &str)] = &[
    ("ID", "BUILD ID"),
    ("Name", "NAME"),
    ("Status", "STATUS"),
    ("Created", "CREATED"),
    ("Duration", "DURATION"),
    ("Steps", "STEPS"),
    ("Image", "IMAGE"),
    ("Error", "ERROR"),
];

impl Verb for HistoryList {
    const NAMES: &'static [&'static str] = &["builder history ls", "build history ls", "builder history"];
    const USAGE: &'static str = "[OPTIONS]";
    const WORDS: Words = Words::Exactly(0);

    async fn run(self, session: &Session) -> Outcome {
        let found: Vec<BuildHistoryItem> = session.client()?.json(Call::get("/shipway/build/history")).await.map_err(ours_only)?;
        if self.quiet {
            return found.iter().try_for_each(|build| output::line(&build.id));
        }
        let rows: Vec<Row> = found.iter().map(row).collect();
        let table = "{{.ID}}\t{{.Name}}\t{{.Status}}\t{{.Created}}\t{{.Duration}}\t{{.Steps}}".to_owned();
        Listing { table, titles: TITLES, kind: "*history.buildContext" }.print(&self.format, &rows)
    }
}

fn row(build: &BuildHistoryItem) -> Row {
    let finished = build.finished.as_deref().and_then(human::parse).or_else(|| (build.status == "running").then(human::now));
    let duration = match (human::parse(&build.started), finished) {
        (Some(started), Some(finished)) => format!("{:.1}s", finished.since(started).as_secs_f64()),
        _ => String::new(),
    };
    Row::new()
        .with("ID", build.id.as_str())
        .with("Name", build.name.as_str())
        .with("Status", build.status.as_str())
        .with("Created", human::text_ago(&build.started))
        .with("Duration", duration)
        .with("Steps", format!("{} ({} cached)", build.total_steps, build.cached_steps))
        .with("Image", build.image.clone().unwrap_or_default())
        .with("Error", build.error.clone().unwrap_or_default())
}

impl Verb for HistoryLogs {
    const NAMES: &'static [&'static str] = &["builder history logs", "build history logs"];
    const USAGE: &'static str = "[OPTIONS] ID";
    const WORDS: Words = Words::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let mode = match self.progress.as_str() {
            "plain" => Mode::Plain,
            "rawjson" => Mode::RawJson,
            other => return Err(Failure::usage(format!("invalid progress mode: {other}")).hint("modes are plain and rawjson")),
        };
        let call = Call::get(format!("/shipway/build/history/{}/logs", path_escape(&self.id)));
        let answer = session.client()?.send(call).await.map_err(ours_only)?;
        let mut display = Display::replay(mode);
        crate::cli::json_stream::for_each(answer, |line| {
            let status: SolveStatus = serde_json::from_value(line).unwrap_or_default();
            display.show(&status)
        })
        .await?;
        display.finish(true)
    }
}

fn ours_only(failure: Failure) -> Failure {
    match failure.daemon_message() {
        Some("page not found") => Failure::new("this daemon keeps no history of builds").hint("it is not a Shipway daemon"),
        _ => failure,
    }
}
