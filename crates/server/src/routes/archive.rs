//! A container's files: `archive` (cp), `export`, `changes` (diff), `commit`.

use base64::Engine as _;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use shipway_engine::containers::{CommitSpec, ExtractOptions, ExtractedOwner, OtherKindInTheWay};
use shipway_engine::values::ChangeKind;
use shipway_model::{ContainerDefaults, Reference};
use shipway_wire::containers::{ChangeItem, Committed, CreateBody};

use super::images::named;
use crate::answer::{self, Answer, AnswerBody};
use crate::convert::create;
use crate::convert::files::{self, PathStatBody};
use crate::error::{ApiError, ApiResult};
use crate::request::{JSON_LIMIT, Request, bad_json};
use crate::router::Api;
use crate::upload;

/// Says what stands at the path, in base64 of JSON.
const PATH_STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

pub(crate) async fn archive(api: &Api, request: &mut Request, id: &str) -> ApiResult {
    let path = request.query.text("path").to_owned();
    match request.method {
        Method::HEAD => {
            let stat = api.engine.stat_in_container(id, &path).await?;
            with_stat(answer::status(StatusCode::OK), &files::path_stat(&stat))
        }
        Method::GET => {
            let (stat, pieces) = api.engine.archive_of_container(id, &path).await?;
            let body = AnswerBody::channel(pieces, &request.client);
            with_stat(answer::typed(StatusCode::OK, "application/x-tar", body), &files::path_stat(&stat))
        }
        _ => extract(api, request, id, &path).await,
    }
}

async fn extract(api: &Api, request: &mut Request, id: &str, path: &str) -> ApiResult {
    let query = &request.query;
    let options = ExtractOptions {
        other_kind: if query.flag("noOverwriteDirNonDir") { OtherKindInTheWay::Refused } else { OtherKindInTheWay::Replaced },
        owner: if query.flag("copyUIDGID") { ExtractedOwner::ContainerUser } else { ExtractedOwner::Archive },
    };
    // Refused before the body is asked for: a client may send gigabytes.
    api.engine.stat_in_container(id, path).await?;
    let reader = upload::reader(request);
    api.engine.extract_in_container(id, path, reader, options).await?;
    Ok(answer::status(StatusCode::OK))
}

fn with_stat(mut answer: Answer, stat: &PathStatBody) -> ApiResult {
    let text = serde_json::to_vec(stat).map_err(|error| ApiError::new(shipway_model::ErrorKind::Internal, error.to_string()))?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    let value = HeaderValue::from_str(&encoded).map_err(|error| ApiError::new(shipway_model::ErrorKind::Internal, error.to_string()))?;
    answer.headers_mut().insert(PATH_STAT, value);
    Ok(answer)
}

pub(crate) async fn export(api: &Api, request: &Request, id: &str) -> ApiResult {
    let pieces = api.engine.export_container(id).await?;
    Ok(answer::typed(StatusCode::OK, "application/octet-stream", AnswerBody::channel(pieces, &request.client)))
}

pub(crate) async fn changes(api: &Api, id: &str) -> ApiResult {
    let changes = api.engine.changes_of_container(id).await?;
    let kind = |kind| match kind {
        ChangeKind::Modified => 0,
        ChangeKind::Added => 1,
        ChangeKind::Deleted => 2,
    };
    let items: Vec<ChangeItem> = changes.into_iter().map(|(path, became)| ChangeItem { path, kind: kind(became) }).collect();
    Ok(answer::ok(&(!items.is_empty()).then_some(items)))
}

pub(crate) async fn commit(api: &Api, request: &mut Request) -> ApiResult {
    // docker's own client sends nothing or `null` here, the one for Python sends settings.
    let text = request.read_all(JSON_LIMIT).await?;
    let config = match text.trim_ascii() {
        b"" | b"null" => ContainerDefaults::default(),
        text => create::defaults(&CreateBody::parse(text).map_err(bad_json)?)?,
    };
    let query = &request.query;
    let reference: Option<Reference> = query.non_empty("repo").map(|repository| named(repository, query.text("tag"))).transpose()?;
    let spec = CommitSpec {
        reference,
        author: query.text("author").to_owned(),
        message: query.text("comment").to_owned(),
        config,
        changes: query.all("changes").into_iter().flat_map(str::lines).map(str::to_owned).collect(),
        pause: query.flag_or("pause", true),
    };
    let Some(container) = query.non_empty("container").map(str::to_owned) else {
        return Err(ApiError::invalid("a container must be named"));
    };
    let id = api.engine.commit_container(&container, spec).await?;
    Ok(answer::json(StatusCode::CREATED, &Committed { id: id.to_string() }))
}
