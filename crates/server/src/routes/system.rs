//! Ping, version, info, disk use.

use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, PRAGMA};
use shipway_engine::clock;

use crate::answer::{self, Answer, AnswerBody};
use crate::convert::system::{self as convert, Parts};
use crate::error::{ApiError, ApiResult};
use crate::request::Request;
use crate::router::Api;

/// Clients ask this first: it tells the version, the system and which builder to prefer.
pub(crate) fn ping(request: &Request) -> Answer {
    let body = if request.method == http::Method::HEAD { AnswerBody::empty() } else { AnswerBody::full("OK") };
    let mut answer = answer::typed(StatusCode::OK, "text/plain; charset=utf-8", body);
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    // 1 is the classic builder: BuildKit's sessions are not answered yet.
    headers.insert("Builder-Version", HeaderValue::from_static("1"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    answer
}

pub(crate) fn version(api: &Api) -> Answer {
    answer::ok(&convert::version(&api.engine.version()))
}

pub(crate) fn info(api: &Api, request: &Request) -> Answer {
    answer::ok(&convert::info(&api.engine, &api.engine.info(), clock::now(), request.version))
}

pub(crate) async fn disk_usage(api: &Api, request: &Request) -> ApiResult {
    let types = request.query.all("type");
    if let Some(unknown) = types.iter().find(|kind| !["container", "image", "volume", "build-cache"].contains(kind)) {
        return Err(ApiError::invalid(format!("unknown object type: {unknown}")));
    }
    let wanted = |kind: &str| types.is_empty() || types.contains(&kind);
    let parts = Parts { images: wanted("image"), containers: wanted("container"), volumes: wanted("volume"), cache: wanted("build-cache") };
    let usage = api.engine.disk_usage().await?;
    Ok(answer::ok(&convert::disk_usage(&api.engine, &usage, parts, clock::now(), request.version)))
}
