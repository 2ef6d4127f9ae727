//! What Docker lacks, under `/shipway`.

use http::StatusCode;
use serde::Serialize;
use shipway_engine::builds::BuildStatus;
use shipway_engine::values::FsckOptions;
use shipway_wire::build_history::BuildHistoryItem;
use shipway_wire::local_build::LocalBuildLine;

use crate::answer::{self, AnswerBody};
use crate::convert::solve::Reporter;
use crate::error::ApiResult;
use crate::request::Request;
use crate::router::Api;

pub(crate) fn build_history(api: &Api) -> ApiResult {
    let records = api.engine.build_history()?;
    let items: Vec<BuildHistoryItem> = records
        .into_iter()
        .map(|record| {
            let (status, error) = match record.status {
                BuildStatus::Running => ("running", None),
                BuildStatus::Completed => ("completed", None),
                BuildStatus::Failed(reason) => ("failed", Some(reason)),
                BuildStatus::Cancelled => ("cancelled", None),
            };
            BuildHistoryItem {
                id: record.id.to_string(),
                name: record.name,
                status: status.to_owned(),
                started: record.started.to_rfc3339_nano(),
                finished: record.finished.map(|at| at.to_rfc3339_nano()),
                total_steps: record.total_steps as u64,
                cached_steps: record.cached_steps as u64,
                image: record.image.map(|image| image.to_string()),
                error,
            }
        })
        .collect();
    Ok(answer::ok(&items))
}

/// The log of a past build, in the lines its client got.
pub(crate) fn build_logs(api: &Api, id: &str) -> ApiResult {
    let mut reporter = Reporter::default();
    let mut text = Vec::new();
    for status in api.engine.build_events(id)?.into_iter().filter_map(|event| reporter.tell(event)) {
        // A line of strings and numbers always has a JSON form.
        text.extend(serde_json::to_vec(&LocalBuildLine::Progress(status)).unwrap_or_default());
        text.push(b'\n');
    }
    Ok(answer::typed(StatusCode::OK, "application/x-ndjson", AnswerBody::full(text)))
}

/// What the check found.
#[derive(Serialize)]
struct FsckAnswer {
    clean: bool,
    findings: Vec<FsckFinding>,
}

/// One thing that is not as it should be.
#[derive(Serialize)]
struct FsckFinding {
    kind: String,
    what: String,
    #[serde(rename = "where")]
    place: String,
    fixed: bool,
}

pub(crate) async fn fsck(api: &Api, request: &Request) -> ApiResult {
    let options = FsckOptions { strict: request.query.flag("strict"), repair: request.query.flag("repair") };
    let report = api.engine.fsck(options).await?;
    let clean = report.is_clean();
    let finding = |finding: shipway_engine::system::fsck::Finding| FsckFinding {
        kind: finding.kind,
        what: finding.what,
        place: finding.place,
        fixed: finding.fixed,
    };
    Ok(answer::ok(&FsckAnswer { clean, findings: report.findings.into_iter().map(finding).collect() }))
}
