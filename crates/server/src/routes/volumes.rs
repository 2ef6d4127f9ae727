//! Volumes: listed; making them comes with their own issue.

use shipway_model::ErrorKind;
use shipway_wire::volumes::{VolumeList, VolumesPruned};

use crate::answer::{self, Answer};
use crate::convert::{filters_of, system};
use crate::error::{ApiError, ApiResult};
use crate::request::Request;
use crate::router::Api;

pub(crate) fn list(api: &Api) -> Answer {
    let volumes = api.engine.list_volumes().iter().map(|volume| system::volume(&api.engine, volume)).collect();
    answer::ok(&VolumeList { volumes, warnings: None })
}

pub(crate) fn inspect(api: &Api, name: &str) -> ApiResult {
    let volumes = api.engine.list_volumes();
    match volumes.iter().find(|volume| volume.name.to_string() == name) {
        Some(volume) => Ok(answer::ok(&system::volume(&api.engine, volume))),
        None => Err(missing(name)),
    }
}

pub(crate) fn create(api: &Api) -> ApiResult {
    api.engine.refuse_volumes()?;
    Err(ApiError::not_supported_yet("a named volume"))
}

pub(crate) fn remove(api: &Api, name: &str) -> ApiResult {
    if api.engine.list_volumes().iter().all(|volume| volume.name.to_string() != name) {
        return Err(missing(name));
    }
    Err(ApiError::not_supported_yet("removing a volume"))
}

/// Nothing can be unused yet.
pub(crate) fn prune(request: &Request) -> ApiResult {
    filters_of(&request.query)?.check_known(&["label", "label!", "all"])?;
    Ok(answer::ok(&VolumesPruned { volumes_deleted: Some(Vec::new()), space_reclaimed: 0 }))
}

/// dockerd's words, which Compose matches.
fn missing(name: &str) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("get {name}: no such volume"))
}
