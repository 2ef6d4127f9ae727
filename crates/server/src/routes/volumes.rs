//! Volumes.

use http::StatusCode;
use shipway_engine::volumes::VolumeSpec;
use shipway_wire::volumes::{VolumeCreateBody, VolumeList, VolumesPruned};

use crate::answer::{self, AnswerBody};
use crate::convert::{filters_of, system};
use crate::error::ApiResult;
use crate::request::Request;
use crate::router::Api;
use crate::upload;

pub(crate) fn list(api: &Api, request: &Request) -> ApiResult {
    let volumes = api.engine.list_volumes(&filters_of(&request.query)?)?;
    let volumes = volumes.iter().map(|volume| system::volume(&api.engine, volume)).collect();
    Ok(answer::ok(&VolumeList { volumes, warnings: None }))
}

pub(crate) fn inspect(api: &Api, name: &str) -> ApiResult {
    Ok(answer::ok(&system::volume(&api.engine, &*api.engine.inspect_volume(name)?)))
}

pub(crate) async fn create(api: &Api, request: &mut Request) -> ApiResult {
    let body: VolumeCreateBody = request.read_json().await?;
    let spec = VolumeSpec {
        name: body.name,
        driver: body.driver,
        options: body.driver_opts.unwrap_or_default(),
        labels: body.labels.unwrap_or_default(),
    };
    let volume = api.engine.create_volume(spec).await?;
    Ok(answer::json(StatusCode::CREATED, &system::volume(&api.engine, &volume)))
}

pub(crate) async fn remove(api: &Api, request: &mut Request, name: &str) -> ApiResult {
    api.engine.remove_volume(name, request.query.flag("force")).await?;
    Ok(answer::status(StatusCode::NO_CONTENT))
}

/// Ours: everything in a volume as an archive.
pub(crate) async fn export(api: &Api, request: &Request, name: &str) -> ApiResult {
    let pieces = api.engine.export_volume(name).await?;
    Ok(answer::typed(StatusCode::OK, "application/x-tar", AnswerBody::channel(pieces, &request.client)))
}

/// Ours: the files of an archive into a volume.
pub(crate) async fn import(api: &Api, request: &mut Request, name: &str) -> ApiResult {
    let volume = api.engine.import_volume(name, upload::reader(request)).await?;
    Ok(answer::json(StatusCode::CREATED, &system::volume(&api.engine, &volume)))
}

/// Ours: a volume once more, under another name.
pub(crate) async fn clone(api: &Api, request: &Request, name: &str) -> ApiResult {
    let volume = api.engine.clone_volume(name, request.query.text("name")).await?;
    Ok(answer::json(StatusCode::CREATED, &system::volume(&api.engine, &volume)))
}

/// Before API 1.42 unused named volumes went too.
pub(crate) async fn prune(api: &Api, request: &mut Request) -> ApiResult {
    let mut filters = filters_of(&request.query)?;
    if !request.version.at_least(42) {
        filters.add("all", "true");
    }
    let pruned = api.engine.prune_volumes(&filters).await?;
    Ok(answer::ok(&VolumesPruned { volumes_deleted: Some(pruned.ids), space_reclaimed: pruned.bytes }))
}
