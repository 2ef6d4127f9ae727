//! Networks: the two that need no bridge.

use shipway_wire::networks::NetworksPruned;

use crate::answer;
use crate::convert::{filters_of, system};
use crate::error::{ApiError, ApiResult};
use crate::request::Request;
use crate::router::Api;

pub(crate) fn list(api: &Api, request: &Request) -> ApiResult {
    let views = api.engine.list_networks(&filters_of(&request.query)?)?;
    Ok(answer::ok(&views.iter().map(|view| system::network(view, request.version)).collect::<Vec<_>>()))
}

pub(crate) fn inspect(api: &Api, request: &Request, id: &str) -> ApiResult {
    Ok(answer::ok(&system::network(&api.engine.inspect_network(id)?, request.version)))
}

pub(crate) fn remove(api: &Api, id: &str) -> ApiResult {
    let network = api.engine.inspect_network(id)?;
    Err(ApiError::new(shipway_model::ErrorKind::Forbidden, format!("{} is a pre-defined network and cannot be removed", network.name)))
}

/// Nothing can be unused yet.
pub(crate) fn prune(request: &Request) -> ApiResult {
    filters_of(&request.query)?.check_known(&["label", "label!", "until"])?;
    Ok(answer::ok(&NetworksPruned::default()))
}
