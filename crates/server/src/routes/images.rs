//! Images by name: list, inspect, history, tag, remove, prune.

use http::StatusCode;
use shipway_engine::images::{ImageListOptions, ImageRemoveOptions};
use shipway_model::{Platform, Reference};
use shipway_wire::images::ImagesPruned;

use crate::answer;
use crate::compat;
use crate::convert::{filters_of, image};
use crate::error::{ApiError, ApiResult};
use crate::query::Query;
use crate::request::Request;
use crate::router::Api;

pub(crate) fn list(api: &Api, request: &Request) -> ApiResult {
    let query = &request.query;
    let mut filters = shipway_wire::filters::parse(query.text("filters"))
        .map_err(|error| ApiError::invalid(format!("invalid filters: {}", error.reason)))?;
    if let Some(pattern) = query.non_empty("filter").filter(|_| !request.version.at_least(41)) {
        filters.entry("reference".to_owned()).or_default().push(pattern.to_owned());
    }
    let options = ImageListOptions { all: query.flag("all"), filters: shipway_engine::Filters::new(filters) };
    let views = api.engine.list_images(&options)?;
    Ok(answer::ok(&views.iter().map(|view| image::summary(view, None, false, request.version)).collect::<Vec<_>>()))
}

pub(crate) fn inspect(api: &Api, request: &Request, name: &str) -> ApiResult {
    require_platform(api, request, name, "platform")?;
    let view = api.engine.inspect_image(name)?;
    let mut shown = image::inspect(&view, &api.engine.held_referrers(&view.image.id)?, request.version);
    if compat::is_compose_1(request.header("user-agent")) {
        shown.container_config.get_or_insert_default();
    }
    Ok(answer::ok(&shown))
}

pub(crate) fn history(api: &Api, request: &Request, name: &str) -> ApiResult {
    require_platform(api, request, name, "platform")?;
    Ok(answer::ok(&api.engine.image_history(name)?.iter().map(image::history).collect::<Vec<_>>()))
}

pub(crate) async fn tag(api: &Api, request: &Request, name: &str) -> ApiResult {
    let reference = named(request.query.text("repo"), request.query.text("tag"))?;
    api.engine.tag_image(name, &reference).await?;
    Ok(answer::status(StatusCode::CREATED))
}

/// An image is for one platform here: of another one nothing can be shown, and nothing is removed.
fn require_platform(api: &Api, request: &Request, name: &str, parameter: &str) -> Result<(), ApiError> {
    match asked_platform(&request.query, parameter)? {
        Some(platform) => Ok(api.engine.require_platform(name, &platform)?),
        None => Ok(()),
    }
}

/// A platform as the JSON object that clients of newer versions send.
pub(super) fn asked_platform(query: &Query, parameter: &str) -> Result<Option<Platform>, ApiError> {
    #[derive(serde::Deserialize)]
    struct Asked {
        os: String,
        architecture: String,
        #[serde(default)]
        variant: String,
    }
    let Some(text) = query.non_empty(parameter) else { return Ok(None) };
    let asked: Asked = serde_json::from_str(text).map_err(|error| ApiError::invalid(format!("failed to parse platform: {error}")))?;
    Ok(Some(Platform::new(&asked.os, &asked.architecture, Some(asked.variant.as_str()).filter(|variant| !variant.is_empty()))))
}

/// A repository and a tag as clients send them, in two arguments.
pub(crate) fn named(repository: &str, tag: &str) -> Result<Reference, ApiError> {
    let reference = Reference::parse(repository)?;
    Ok(if tag.is_empty() { reference.with_default_tag() } else { reference.with_tag(tag)? })
}

pub(crate) async fn remove(api: &Api, request: &Request, name: &str) -> ApiResult {
    if request.query.all("platforms").len() > 1 {
        return Err(ApiError::invalid("multiple platforms are not supported"));
    }
    require_platform(api, request, name, "platforms")?;
    let options = ImageRemoveOptions { force: request.query.flag("force"), no_prune: request.query.flag("noprune") };
    Ok(answer::ok(&image::removed(api.engine.remove_image(name, options).await?)))
}

pub(crate) async fn prune(api: &Api, request: &Request) -> ApiResult {
    let (removed, bytes) = api.engine.prune_images(&filters_of(&request.query)?).await?;
    let removed = image::removed(removed);
    Ok(answer::ok(&ImagesPruned { images_deleted: (!removed.is_empty()).then_some(removed), space_reclaimed: bytes }))
}
