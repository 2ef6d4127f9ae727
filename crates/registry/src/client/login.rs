//! Trying credentials out: what `docker login` asks the engine to do.

use http::{HeaderMap, StatusCode};
use shipway_model::Secret;

use super::access::{Access, Credentials, Scope};
use super::endpoint::Hosts;
use super::refusal::refusal;
use super::registry::Registry;
use super::transport::Transport;
use crate::Error;

/// Asks the registry called `domain` whether it knows `credentials`. Answers an identity token when its token server gives one in place of the password.
///
/// A registry that lets everybody in says yes to everything, as docker's engine does.
///
/// # Errors
/// `Login` and `LoginRefused` when the registry or its token server does not know them; whatever keeps them from answering.
pub async fn login(
    transport: &Transport,
    hosts: &Hosts,
    domain: &str,
    credentials: Credentials,
    token_servers: Vec<String>,
) -> Result<Option<Secret>, Error> {
    let access = Access::logging_in(credentials, token_servers);
    // Mirrors know nobody: the registry itself is asked, as for a push.
    let registry = Registry::new(transport.clone(), hosts, domain, &access, true)?;
    let response = registry.get("", &Scope::registry(), &HeaderMap::new()).await.map_err(|error| match error {
        Error::Refused { status: StatusCode::UNAUTHORIZED, .. } => Error::LoginRefused { words: error.to_string() },
        other => other,
    })?;
    match response.status {
        StatusCode::OK => Ok(access.identity_token()),
        StatusCode::UNAUTHORIZED => Err(Error::Login { url: response.url, status: response.status }),
        status if status.is_success() => Ok(access.identity_token()),
        // Whoever does not know the path does not speak the protocol.
        StatusCode::NOT_FOUND => Err(Error::NoRegistry { host: response.url.origin().authority() }),
        _ => Err(refusal(response).await),
    }
}
