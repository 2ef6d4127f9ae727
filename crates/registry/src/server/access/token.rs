//! Tokens: what a trusted server signed, checked here without asking it.
//!
//! What must stay true: signature first, then dates and addressee, then what it allows; a header's own key material (`jwk`, `x5c`, `jku`) is not read.
//!
//! # Source
//! RFC 7519 (claims), RFC 7515 (signature); Docker's "Token Authentication Specification" (the claim `access`, the challenge).

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

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
#[derive(Deserialize)]
pub(in crate::server) struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: Audience,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    access: Vec<Scope>,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
    #[default]
    Nobody,
}

#[derive(Deserialize)]
struct Scope {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    actions: Vec<String>,
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

impl Tokens {
    /// Lets the bearer of `token` in, or says which token it takes.
    pub(super) fn check(&self, token: Option<&str>, route: &Route, action: Action) -> Result<Grant, Refusal> {
        let scope = match route {
            Route::Base => None,
            Route::Catalog => Some("registry:catalog:*".to_owned()),
            other => other.repository().map(|name| format!("repository:{name}:{}", action.words().join(","))),
        };
        let refuse = |message: &str, error: Option<&str>| {
            let mut how = format!("Bearer realm=\"{}\",service=\"{}\"", self.realm, self.service);
            if let Some(scope) = &scope {
                how.push_str(&format!(",scope=\"{scope}\""));
            }
            if let Some(error) = error {
                how.push_str(&format!(",error=\"{error}\""));
            }
            challenge(message, &how)
        };
        let Some(token) = token else { return Err(refuse("authentication required", None)) };
        let claims = self.read(token).map_err(|reason| refuse(&format!("the token is refused: {reason}"), Some("invalid_token")))?;
        let allowed = match route {
            Route::Base => true,
            Route::Catalog => claims.have("registry", "catalog", "*"),
            other => other.repository().is_some_and(|name| claims.allow(name, action)),
        };
        if allowed { Ok(Grant::Claims(claims)) } else { Err(refuse("the token does not allow this", Some("insufficient_scope"))) }
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

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
