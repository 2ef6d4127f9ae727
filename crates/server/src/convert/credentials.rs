//! Credentials as clients send them: JSON in base64 in a header.
//!
//! What must stay true: nothing here prints or logs what the header holds.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::Deserialize;
use shipway_engine::values::Credentials;
use shipway_model::Secret;

use crate::error::ApiError;

/// Docker's clients pad, others do not.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// The value of `X-Registry-Auth`, and of each entry of `X-Registry-Config`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthConfig {
    username: String,
    password: String,
    /// `user:password` in base64, as in `config.json`.
    auth: String,
    identitytoken: String,
    registrytoken: String,
    /// Which registry they are for.
    serveraddress: String,
}

/// Who the client is to the registry, if it says so.
///
/// # Errors
/// 400 for a header that cannot be read.
pub(crate) fn from_header(header: &str) -> Result<Option<Credentials>, ApiError> {
    if header.is_empty() {
        return Ok(None);
    }
    let wrong = || ApiError::invalid("invalid X-Registry-Auth header");
    let text = LENIENT.decode(header).or_else(|_| STANDARD.decode(header)).map_err(|_| wrong())?;
    let config: AuthConfig = serde_json::from_slice(&text).map_err(|_| wrong())?;
    Ok(credentials(config))
}

/// Who wants to be known by which registry, as `POST /auth` says it. None when nothing is said.
pub(crate) fn from_body(body: &[u8]) -> Result<(String, Option<Credentials>), ApiError> {
    // The parser's words could quote what was sent.
    let config: AuthConfig =
        serde_json::from_slice(body).map_err(|_| ApiError::invalid("invalid JSON: the body is no set of credentials"))?;
    Ok((config.serveraddress.clone(), credentials(config)))
}

fn credentials(config: AuthConfig) -> Option<Credentials> {
    let secret = |text: String| (!text.is_empty()).then(|| Secret::new(text));
    let (mut username, mut password) = (config.username, config.password);
    if username.is_empty()
        && let Some((user, rest)) = STANDARD
            .decode(&config.auth)
            .ok()
            .and_then(|both| String::from_utf8(both).ok())
            .as_deref()
            .and_then(|both| both.split_once(':'))
    {
        (username, password) = (user.to_owned(), rest.trim_end_matches('\0').to_owned());
    }
    let (identity_token, registry_token) = (secret(config.identitytoken), secret(config.registrytoken));
    if username.is_empty() && identity_token.is_none() && registry_token.is_none() {
        return None;
    }
    Some(Credentials { username, password: Secret::new(password), identity_token, registry_token })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<(String, String)> {
        let header = base64::engine::general_purpose::URL_SAFE.encode(json);
        let padded = from_header(&header).unwrap();
        let bare = from_header(header.trim_end_matches('=')).unwrap();
        let shown = |credentials: Option<Credentials>| credentials.map(|found| (found.username, found.password.expose().to_owned()));
        let padded = shown(padded);
        assert_eq!(padded, shown(bare));
        padded
    }

    #[test]
    fn what_docker_clients_send_is_read() {
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"username":"u","password":"p>?","serveraddress":"r.test"}"#), Some(("u".into(), "p>?".into())));
        // printf 'u:p:q' | base64
        assert_eq!(read(r#"{"auth":"dTpwOnE="}"#), Some(("u".into(), "p:q".into())));
        assert_eq!(read(r#"{"identitytoken":"t"}"#), Some((String::new(), String::new())));
        assert!(from_header("").unwrap().is_none());
        for bad in ["%%%", "bm8ganNvbg=="] {
            assert!(from_header(bad).is_err(), "{bad}");
        }
    }
}
