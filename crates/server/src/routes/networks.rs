//! Networks: made, listed, joined, left, removed.

use http::StatusCode;
use serde::de::DeserializeOwned;
use shipway_wire::networks::{NetworkConnectBody, NetworkCreateBody, NetworkCreated, NetworkDisconnectBody, NetworksPruned};

use crate::answer;
use crate::convert::{filters_of, network};
use crate::error::{ApiError, ApiResult};
use crate::request::{JSON_LIMIT, Request, bad_json};
use crate::router::Api;

pub(crate) fn list(api: &Api, request: &Request) -> ApiResult {
    let views = api.engine.list_networks(&filters_of(&request.query)?)?;
    Ok(answer::ok(&views.iter().map(|view| network::network(view, request.version)).collect::<Vec<_>>()))
}

pub(crate) fn inspect(api: &Api, request: &Request, id: &str) -> ApiResult {
    Ok(answer::ok(&network::network(&api.engine.inspect_network(id)?, request.version)))
}

pub(crate) async fn create(api: &Api, request: &mut Request) -> ApiResult {
    let body: NetworkCreateBody = read(request).await?;
    let created = api.engine.create_network(network::spec(body)?).await?;
    Ok(answer::json(StatusCode::CREATED, &NetworkCreated { id: created.id.to_string(), warning: created.warning }))
}

pub(crate) async fn connect(api: &Api, request: &mut Request, id: &str) -> ApiResult {
    let body: NetworkConnectBody = read(request).await?;
    let wish = network::wish(id, body.endpoint_config.as_ref())?;
    api.engine.connect_network(id, &body.container, wish).await?;
    Ok(answer::status(StatusCode::OK))
}

pub(crate) async fn disconnect(api: &Api, request: &mut Request, id: &str) -> ApiResult {
    let body: NetworkDisconnectBody = read(request).await?;
    api.engine.disconnect_network(id, &body.container, body.force).await?;
    Ok(answer::status(StatusCode::OK))
}

pub(crate) async fn remove(api: &Api, id: &str) -> ApiResult {
    api.engine.remove_network(id).await?;
    Ok(answer::status(StatusCode::NO_CONTENT))
}

pub(crate) async fn prune(api: &Api, request: &Request) -> ApiResult {
    let removed = api.engine.prune_networks(&filters_of(&request.query)?).await?;
    Ok(answer::ok(&NetworksPruned { networks_deleted: (!removed.is_empty()).then_some(removed) }))
}

async fn read<T: DeserializeOwned>(request: &mut Request) -> Result<T, ApiError> {
    let text = request.read_all(JSON_LIMIT).await?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::invalid("invalid JSON: got EOF while reading request body"));
    }
    shipway_wire::lenient::from_slice(&text).map_err(bad_json)
}
