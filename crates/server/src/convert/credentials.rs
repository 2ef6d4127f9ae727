//! Credentials as clients send them: JSON in base64 in a header.
//!
//! What must stay true: nothing here prints or logs what the header holds.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::Deserialize;
use shipway_engine::images::domain_of;
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
    let config: AuthConfig = document(header, "X-Registry-Auth")?;
    Ok(credentials(config))
}

/// What a build may show to registries, by their domains in references: the value of `X-Registry-Config`.
///
/// # Errors
/// 400 for a header that cannot be read.
pub(crate) fn from_config_header(header: &str) -> Result<BTreeMap<String, Credentials>, ApiError> {
    if header.is_empty() {
        return Ok(BTreeMap::new());
    }
    let configs: BTreeMap<String, AuthConfig> = document(header, "X-Registry-Config")?;
    let mut found = BTreeMap::new();
    // The plain name of a registry counts more than an address of it, which older tools wrote: it goes in last.
    let (addresses, plain): (Vec<_>, Vec<_>) = configs.into_iter().partition(|(key, _)| key.contains("://"));
    // A key without a name means no registry here, not the Hub.
    for (key, config) in addresses.into_iter().chain(plain).filter(|(key, _)| !key.is_empty()) {
        if let Some(credentials) = credentials(config) {
            found.insert(domain_of(&key), credentials);
        }
    }
    Ok(found)
}

fn document<T: serde::de::DeserializeOwned>(header: &str, name: &str) -> Result<T, ApiError> {
    // The parser's words could quote what was sent.
    let wrong = || ApiError::invalid(format!("invalid {name} header"));
    let text = LENIENT.decode(header).or_else(|_| STANDARD.decode(header)).map_err(|_| wrong())?;
    serde_json::from_slice(&text).map_err(|_| wrong())
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

    #[test]
    fn a_build_brings_who_it_is_to_each_registry() {
        let header = |json: &str| base64::engine::general_purpose::URL_SAFE.encode(json);
        let text = r#"{"https://index.docker.io/v1/":{"username":"hub","password":"p"},
            "https://R.test:5000/v1/":{"username":"old","password":"p"}, "r.test:5000":{"auth":"dTpwOnE="}, "nobody.test":{}}"#;
        let found = from_config_header(&header(text)).unwrap();
        let shown: Vec<_> = found.iter().map(|(domain, found)| (domain.as_str(), found.username.as_str())).collect();
        assert_eq!(shown, [("docker.io", "hub"), ("r.test:5000", "u")]);
        assert!(from_config_header("").unwrap().is_empty() && from_config_header(&header("{}")).unwrap().is_empty());
        let refused = from_config_header(&header(r#"{"r.test":"T0KEN"}"#)).unwrap_err();
        assert!(refused.status == 400 && !refused.message.contains("T0KEN"), "{}", refused.message);
    }
}
