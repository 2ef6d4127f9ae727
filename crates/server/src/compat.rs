//! Phrases that foreign clients match on. They are promises: each has a test that says who reads it.

use http::StatusCode;
use shipway_wire::ApiVersion;

use crate::error::ApiError;

/// The docker client and several SDKs tell "no such route" from "no such thing" by this text.
pub(crate) const PAGE_NOT_FOUND: &str = "page not found";

/// `docker swarm`, `docker node`, Portainer and Traefik recognise a daemon outside of a swarm by this text and its status.
const NO_SWARM_MANAGER: &str =
    "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";

/// Answer to leaving a swarm.
const NOT_IN_A_SWARM: &str = "This node is not part of a swarm";

/// Whether a client is Compose version 1. It speaks the newest API but, to make a container anew, reads a field of images that was dropped in 1.45.
pub(crate) fn is_compose_1(user_agent: &str) -> bool {
    user_agent.starts_with("docker-compose/1.")
}

/// No such route.
pub(crate) fn page_not_found() -> ApiError {
    ApiError { status: StatusCode::NOT_FOUND, message: PAGE_NOT_FOUND.to_owned(), hint: None }
}

/// A route of swarm mode.
pub(crate) fn no_swarm(path: &[&str]) -> ApiError {
    let message = if path == ["swarm", "leave"] { NOT_IN_A_SWARM } else { NO_SWARM_MANAGER };
    ApiError { status: StatusCode::SERVICE_UNAVAILABLE, message: message.to_owned(), hint: None }
}

/// Checks the version a client asks for. Clients that negotiate parse nothing here, but people read it and scripts grep it.
pub(crate) fn check_version(version: ApiVersion) -> Result<(), ApiError> {
    if version > ApiVersion::MAX {
        return Err(ApiError::invalid(format!(
            "client version {version} is too new. Maximum supported API version is {}",
            ApiVersion::MAX
        )));
    }
    if version < ApiVersion::MIN {
        return Err(ApiError::invalid(format!(
            "client version {version} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
            ApiVersion::MIN
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_refusals_are_mobys_sentences() {
        let say = |major, minor| check_version(ApiVersion::new(major, minor)).map_err(|error| (error.status.as_u16(), error.message));
        assert_eq!(say(1, 99), Err((400, "client version 1.99 is too new. Maximum supported API version is 1.51".to_owned())));
        assert_eq!(
            say(1, 23),
            Err((
                400,
                "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
                    .to_owned()
            ))
        );
        assert_eq!((say(1, 24), say(1, 51)), (Ok(()), Ok(())));
    }

    #[test]
    fn swarm_routes_answer_as_a_daemon_outside_of_a_swarm() {
        let error = no_swarm(&["nodes"]);
        assert_eq!(error.status, 503);
        assert!(error.message.starts_with("This node is not a swarm manager. Use \"docker swarm init\""));
        assert_eq!(no_swarm(&["swarm", "leave"]).message, "This node is not part of a swarm");
        assert_eq!((page_not_found().status.as_u16(), page_not_found().message.as_str()), (404, "page not found"));
    }
}
