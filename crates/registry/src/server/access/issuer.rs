//! Tokens of our own, so that reading can be free and writing not.
//!
//! Docker's clients, podman and skopeo decide by the first answer whether they ever send a password. Asked for a basic one, they cannot read without;
//! not asked, they never send one. Asked for a token they fetch one, with their password or without, and what it allows is our decision: that is what
//! the address `/token` is for.
//!
//! What must stay true: a token says what was asked for and may be given, and nothing more; it is good for minutes, and only in this process.
//!
//! # Source
//! Docker's "Token Authentication Specification".

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;

use super::token::{Audience, Claims, Scope};
use crate::server::clock;
use crate::server::names::RepositoryName;

/// How long a token is good: long enough for the slowest layer to begin, not to end.
const LIFETIME: Duration = Duration::from_secs(300);
/// Scopes looked at in one question: a mount has two.
const SCOPES: usize = 16;
/// Our name in tokens.
pub(super) const SERVICE: &str = "shipway-registry";

/// Signs tokens with a key that nobody else has.
pub(super) struct Issuer {
    key: hmac::Key,
}

impl Issuer {
    pub(super) fn new() -> Result<Self, ring::error::Unspecified> {
        Ok(Self { key: hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())? })
    }

    /// The answer to a question for a token: `scopes` as they were asked for; whoever has an account gets all of them, others may read.
    pub(super) fn answer<'a>(&self, scopes: impl Iterator<Item = &'a str>, has_account: bool) -> serde_json::Value {
        let asked = scopes.flat_map(|scope| scope.split(' ')).take(SCOPES);
        let access: Vec<Scope> = asked.filter_map(|scope| granted(scope, has_account)).collect();
        let claims = Claims {
            iss: SERVICE.to_owned(),
            aud: Audience::One(SERVICE.to_owned()),
            exp: now() + LIFETIME.as_secs_f64(),
            nbf: None,
            access,
        };
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap_or_default());
        let token = format!("{body}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, body.as_bytes())));
        json!({ "token": token, "access_token": token, "expires_in": LIFETIME.as_secs() })
    }

    /// What a token of ours says, while it is good.
    pub(super) fn read(&self, token: &str) -> Option<Claims> {
        let (body, tag) = token.split_once('.')?;
        hmac::verify(&self.key, body.as_bytes(), &URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
        (claims.exp >= now()).then_some(claims)
    }
}

/// What of `repository:<name>:<actions>` or `registry:catalog:*` may be given.
fn granted(scope: &str, has_account: bool) -> Option<Scope> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let is_known = match kind {
        "repository" => RepositoryName::parse(name).is_ok(),
        "registry" => name == "catalog",
        _ => false,
    };
    let free = |action: &str| action == "pull" || kind == "registry";
    let actions = actions.split(',').filter(|action| has_account || free(action)).map(ToOwned::to_owned).collect();
    is_known.then(|| Scope { kind: kind.to_owned(), name: name.to_owned(), actions })
}

fn now() -> f64 {
    clock::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}
