//! Tokens: what a trusted server signed, checked here without asking it.
//!
//! What must stay true: signature first, then dates and addressee, then what it allows; a header's own key material (`jwk`, `x5c`, `jku`) is not read.
//!
//! # Source
//! RFC 7519 (claims), RFC 7515 (signature); Docker's "Token Authentication Specification" (the claim `access`, the challenge).

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{Action, Grant, Keys, challenge};
use crate::codes::Refusal;
use crate::server::clock;
use crate::server::names::RepositoryName;
use crate::server::route::Route;

/// How much clocks may differ.
const SKEW: u64 = 60;

/// Whose tokens are believed, and what clients are told to get one.
pub struct Tokens {
    /// Where clients get tokens.
    pub realm: String,
    /// Who we are, in tokens.
    pub service: String,
    /// Who signs them.
    pub issuer: String,
    pub keys: Keys,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: String,
}

/// What a token says.
#[derive(Serialize, Deserialize)]
pub(in crate::server) struct Claims {
    #[serde(default)]
    pub(super) iss: String,
    #[serde(default)]
    pub(super) aud: Audience,
    pub(super) exp: f64,
    #[serde(default)]
    pub(super) nbf: Option<f64>,
    #[serde(default)]
    pub(super) access: Vec<Scope>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
    #[default]
    Nobody,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Scope {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) actions: Vec<String>,
}

impl Claims {
    /// True when the token lets its bearer do `action` with `repository`.
    pub(super) fn allow(&self, repository: &RepositoryName, action: Action) -> bool {
        action.words().iter().all(|word| self.have("repository", repository.as_str(), word))
    }

    fn have(&self, kind: &str, name: &str, word: &str) -> bool {
        let mut scopes = self.access.iter().filter(|scope| scope.kind == kind && scope.name == name);
        scopes.any(|scope| scope.actions.iter().any(|action| action == word || action == "*"))
    }
}

/// The scope a client needs for a question, in Docker's grammar; none for the base.
pub(super) fn needed_scope(route: &Route, action: Action) -> Option<String> {
    match route {
        Route::Base | Route::Token => None,
        Route::Catalog => Some("registry:catalog:*".to_owned()),
        other => other.repository().map(|name| format!("repository:{name}:{}", action.words().join(","))),
    }
}

impl Claims {
    /// True when the bearer may ask `route`.
    pub(super) fn allow_route(&self, route: &Route, action: Action) -> bool {
        match route {
            Route::Base | Route::Token => true,
            Route::Catalog => self.have("registry", "catalog", "*"),
            other => other.repository().is_some_and(|name| self.allow(name, action)),
        }
    }
}

impl Tokens {
    /// Lets the bearer of `token` in, or says which token it takes.
    pub(super) fn check(&self, token: Option<&str>, route: &Route, action: Action) -> Result<Grant, Refusal> {
        let scope = needed_scope(route, action);
        let refuse = |message: &str, error| challenge(message, &bearer(&self.realm, &self.service, scope.as_deref(), error));
        let Some(token) = token else { return Err(refuse("authentication required", None)) };
        let claims = self.read(token).map_err(|reason| refuse(&format!("the token is refused: {reason}"), Some("invalid_token")))?;
        if claims.allow_route(route, action) {
            Ok(Grant::Claims(claims))
        } else {
            Err(refuse("the token does not allow this", Some("insufficient_scope")))
        }
    }

    /// The claims of a token that is in order; otherwise which part is not.
    fn read(&self, token: &str) -> Result<Claims, &'static str> {
        let (signed, signature) = token.rsplit_once('.').ok_or("it has not three parts")?;
        let (head, body) = signed.split_once('.').ok_or("it has not three parts")?;
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "it is not encoded as a token");
        let head: Head = serde_json::from_slice(&part(head)?).map_err(|_| "its head cannot be read")?;
        if !self.keys.verify(&head.kid, &head.alg, signed.as_bytes(), &part(signature)?) {
            return Err("no key trusted here signed it");
        }
        let claims: Claims = serde_json::from_slice(&part(body)?).map_err(|_| "its claims cannot be read")?;
        let now = clock::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
        let skew = Duration::from_secs(SKEW).as_secs_f64();
        let is_ours = match &claims.aud {
            Audience::One(one) => *one == self.service,
            Audience::Several(several) => several.contains(&self.service),
            Audience::Nobody => false,
        };
        match () {
            () if claims.iss != self.issuer => Err("somebody else issued it"),
            () if !is_ours => Err("it is for another service"),
            () if claims.exp.is_nan() || claims.exp + skew < now => Err("it has expired"),
            () if claims.nbf.is_some_and(|begin| begin - skew > now) => Err("it is not valid yet"),
            () => Ok(claims),
        }
    }
}

/// The challenge that says which token is taken.
pub(super) fn bearer(realm: &str, service: &str, scope: Option<&str>, error: Option<&str>) -> String {
    let mut how = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
    for (name, value) in [("scope", scope), ("error", error)] {
        if let Some(value) = value {
            how.push_str(&format!(",{name}=\"{value}\""));
        }
    }
    how
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
