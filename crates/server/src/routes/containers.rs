//! The life of containers.

use http::StatusCode;
use shipway_engine::clock;
use shipway_engine::containers::{ContainerFilter, RemoveOptions, StopOptions, WaitCondition};
use shipway_wire::containers::{ContainersPruned, CreateBody, Created, TopAnswer, UpdateAnswer, UpdateBody, WaitAnswer, WaitError};

use crate::answer::{self, AnswerBody, JSON};
use crate::convert::{container, create as body_of, filters_of, host};
use crate::error::{ApiError, ApiResult};
use crate::request::{JSON_LIMIT, Request, bad_json};
use crate::router::Api;

pub(crate) async fn list(api: &Api, request: &Request) -> ApiResult {
    let query = &request.query;
    let filter = ContainerFilter {
        all: query.flag("all"),
        // Docker takes a negative limit, and -1 in particular, as none.
        limit: query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0),
        with_size: query.flag("size"),
        filters: filters_of(query)?,
    };
    let now = clock::now();
    let views = api.engine.list_containers(&filter).await?;
    let by_links = api.engine.names_by_links();
    let summary = |view| container::summary(&api.engine, view, &by_links, now, request.version);
    Ok(answer::ok(&views.iter().map(summary).collect::<Vec<_>>()))
}

pub(crate) async fn create(api: &Api, request: &mut Request) -> ApiResult {
    let text = request.read_all(JSON_LIMIT).await?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::invalid("invalid JSON: got EOF while reading request body"));
    }
    let body = CreateBody::parse(&text).map_err(bad_json)?;
    let spec = body_of::spec(request.query.text("name"), request.query.text("platform"), &body)?;
    let created = api.engine.create_container(spec).await?;
    Ok(answer::json(StatusCode::CREATED, &Created { id: created.id.to_string(), warnings: created.warnings }))
}

pub(crate) async fn inspect(api: &Api, request: &Request, id: &str) -> ApiResult {
    let view = api.engine.inspect_container(id, request.query.flag("size")).await?;
    Ok(answer::ok(&container::inspect(&api.engine, &view, request.version)))
}

pub(crate) async fn top(api: &Api, request: &Request, id: &str) -> ApiResult {
    let arguments = request.query.non_empty("ps_args").unwrap_or("-ef");
    let table = api.engine.top(id, arguments).await?;
    Ok(answer::ok(&TopAnswer { processes: table.rows, titles: table.titles }))
}

/// Longer than `null` and `{}`, which some clients send: then it is a host configuration, which belongs to create.
const NO_CONFIGURATION: usize = 7;

pub(crate) async fn start(api: &Api, request: &mut Request, id: &str) -> ApiResult {
    if request.read_all(JSON_LIMIT).await?.len() > NO_CONFIGURATION {
        let reason = "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24";
        return Err(ApiError::invalid(reason));
    }
    api.engine.start_container(id).await?;
    Ok(answer::status(StatusCode::NO_CONTENT))
}

pub(crate) async fn stop(api: &Api, request: &Request, id: &str) -> ApiResult {
    api.engine.stop_container(id, stop_options(request)?).await?;
    Ok(answer::status(StatusCode::NO_CONTENT))
}

pub(crate) async fn restart(api: &Api, request: &Request, id: &str) -> ApiResult {
    api.engine.restart_container(id, stop_options(request)?).await?;
    Ok(answer::status(StatusCode::NO_CONTENT))
}

fn stop_options(request: &Request) -> Result<StopOptions, ApiError> {
    Ok(StopOptions {
        signal: request.query.non_empty("signal").map(host::signal).transpose()?,
        timeout: request.query.number("t")?.map(body_of::seconds),
    })
}

pub(crate) async fn pause(api: &Api, id: &str) -> ApiResult {
    api.engine.pause_container(id).await?;
    Ok(answer::status(StatusCode::NO_CONTENT))
}

pub(crate) async fn unpause(api: &Api, id: &str) -> ApiResult {
    api.engine.unpause_container(id).await?;
    Ok(answer::status(StatusCode::NO_CONTENT))
}

pub(crate) async fn update(api: &Api, request: &mut Request, id: &str) -> ApiResult {
    let body: UpdateBody = request.read_json().await?;
    let warnings = api.engine.update_container(id, host::update(&body)?).await?;
    Ok(answer::ok(&UpdateAnswer { warnings: (!warnings.is_empty()).then_some(warnings) }))
}

pub(crate) async fn kill(api: &Api, request: &Request, id: &str) -> ApiResult {
    let signal = request.query.non_empty("signal").map(host::signal).transpose()?;
    api.engine.kill_container(id, signal).await?;
    Ok(answer::status(StatusCode::NO_CONTENT))
}

/// The status is sent as soon as the wait is registered: clients start the container only then.
pub(crate) async fn wait(api: &Api, request: &Request, id: &str) -> ApiResult {
    let condition = match request.query.text("condition") {
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(ApiError::invalid(format!("invalid condition: {other:?}"))),
    };
    let handle = api.engine.wait_container(id, condition).await?;
    // Whoever waits for the removal is told of failures of the removal only; that a start failed was the answer to start.
    let tells_error = condition != WaitCondition::Removed;
    let body = AnswerBody::produced(&request.client, move |sink| async move {
        let outcome = match handle.finished().await {
            Ok(outcome) => WaitAnswer {
                status_code: i64::from(outcome.code),
                error: outcome.error.filter(|_| tells_error).map(|message| WaitError { message }),
            },
            Err(error) => WaitAnswer { status_code: -1, error: Some(WaitError { message: error.to_string() }) },
        };
        let mut text = serde_json::to_vec(&outcome).unwrap_or_default();
        text.push(b'\n');
        // A client that left needs no answer.
        let _ = sink.send(text).await;
    });
    Ok(answer::typed(StatusCode::OK, JSON, body))
}

pub(crate) async fn remove(api: &Api, request: &Request, id: &str) -> ApiResult {
    let query = &request.query;
    let options = RemoveOptions { force: query.flag("force"), volumes: query.flag("v"), link: query.flag("link") };
    api.engine.remove_container(id, options).await?;
    Ok(answer::status(StatusCode::NO_CONTENT))
}

pub(crate) async fn rename(api: &Api, request: &Request, id: &str) -> ApiResult {
    let name = request.query.text("name").trim_start_matches('/');
    if name.is_empty() {
        return Err(ApiError::invalid("Neither old nor new names may be empty"));
    }
    api.engine.rename_container(id, name).await?;
    Ok(answer::status(StatusCode::NO_CONTENT))
}

pub(crate) async fn resize(api: &Api, request: &Request, id: &str) -> ApiResult {
    let (rows, columns) = (request.query.required_number("h")?, request.query.required_number("w")?);
    api.engine.resize(id, rows, columns).await?;
    Ok(answer::status(StatusCode::OK))
}

pub(crate) async fn prune(api: &Api, request: &Request) -> ApiResult {
    let pruned = api.engine.prune_containers(&filters_of(&request.query)?).await?;
    let deleted = (!pruned.ids.is_empty()).then_some(pruned.ids);
    Ok(answer::ok(&ContainersPruned { containers_deleted: deleted, space_reclaimed: pruned.bytes }))
}
