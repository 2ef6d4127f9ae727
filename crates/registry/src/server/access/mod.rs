//! Who may do what: nobody asked, accounts in a file, or tokens of somebody we trust.
//!
//! What must stay true: every request passes [`Access::check`] before anything else is looked at; a mount asks for the other repository, too (S-511);
//! no password or token is ever logged or told back.
//!
//! # Source
//! RFC 7617 (Basic), RFC 6750 (Bearer); the Docker registry's token scope grammar (`repository:<name>:pull,push`).

mod accounts;
mod issuer;
mod keys;
mod token;

pub use accounts::Accounts;
pub use keys::Keys;
pub use token::Tokens;

use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method};
use shipway_model::Secret;

use super::names::RepositoryName;
use super::route::{Parameters, Route};
use crate::codes::{Code, Refusal};

/// Longest `Authorization` that is looked at.
const LONGEST: usize = 16 * 1024;

/// The way in.
pub enum Access {
    /// Everybody may do everything: for loopback and private networks.
    Open,
    /// Accounts with passwords.
    Accounts(Accounts),
    /// The same, but reading needs none.
    AnonymousRead(AnonymousRead),
    /// Tokens from a server of the administrator's choice.
    Tokens(Tokens),
}

/// Accounts for writing, tokens of our own for telling who may.
pub struct AnonymousRead {
    accounts: Accounts,
    issuer: issuer::Issuer,
}

impl AnonymousRead {
    /// Lets everybody read, and the people of `accounts` do everything.
    ///
    /// # Errors
    /// `File` when the kernel gives no randomness.
    pub fn new(accounts: Accounts) -> Result<Self, AccessError> {
        let none = |_| AccessError::File { path: "/dev/urandom".to_owned(), source: std::io::Error::other("no randomness") };
        Ok(Self { accounts, issuer: issuer::Issuer::new().map_err(none)? })
    }
}

/// Why the way in cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("cannot read \"{path}\": {source}")]
    File { path: String, source: std::io::Error },
    #[error("\"{path}\", line {line}: {reason}")]
    Line { path: String, line: usize, reason: String },
    #[error("\"{path}\" is no set of keys: {reason}")]
    Keys { path: String, reason: String },
}

/// What a request wants to do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    fn of(route: &Route, method: &Method) -> Self {
        match (route, method) {
            // Only who may write has business with uploads.
            (Route::Uploads(_) | Route::Upload(..), _) => Self::Push,
            (_, &Method::GET | &Method::HEAD | &Method::OPTIONS) => Self::Pull,
            (_, &Method::DELETE) => Self::Delete,
            _ => Self::Push,
        }
    }

    /// The words a token must have, as scopes name them.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Pull => &["pull"],
            Self::Push => &["pull", "push"],
            Self::Delete => &["delete"],
        }
    }
}

/// What a request may do beyond what it asked for.
pub(super) enum Grant {
    Everything,
    /// What this token says.
    Claims(token::Claims),
}

impl Grant {
    /// True when the client may read `repository`.
    pub(super) fn may_pull(&self, repository: &RepositoryName) -> bool {
        match self {
            Self::Everything => true,
            Self::Claims(claims) => claims.allow(repository, Action::Pull),
        }
    }
}

impl Access {
    /// Lets a request in or refuses it; `origin` is how the client reached us, as `https://host:port`.
    ///
    /// # Errors
    /// `UNAUTHORIZED` with a challenge.
    pub(super) async fn check(&self, headers: &HeaderMap, route: &Route, method: &Method, origin: &str) -> Result<Grant, Refusal> {
        let action = Action::of(route, method);
        let given = headers.get(AUTHORIZATION);
        match self {
            Self::Open => Ok(Grant::Everything),
            Self::Accounts(accounts) => {
                if accounts.know(given).await {
                    Ok(Grant::Everything)
                } else {
                    Err(accounts.challenge())
                }
            }
            Self::AnonymousRead(free) => free.check(given, route, action, origin).await,
            Self::Tokens(tokens) => tokens.check(given.and_then(|value| scheme(value, "bearer")), route, action),
        }
    }

    /// A token of our own, where there are such.
    ///
    /// # Errors
    /// `UNAUTHORIZED` for a password that is none; 404 where tokens come from elsewhere.
    pub(super) async fn token(&self, headers: &HeaderMap, parameters: &Parameters) -> Result<serde_json::Value, Refusal> {
        let Self::AnonymousRead(free) = self else {
            return Err(Refusal::new(Code::Unsupported, "no such address").status(http::StatusCode::NOT_FOUND));
        };
        let given = headers.get(AUTHORIZATION);
        let has_account = free.accounts.know(given).await;
        if given.is_some() && !has_account {
            return Err(free.accounts.challenge());
        }
        Ok(free.issuer.answer(parameters.all("scope"), has_account))
    }
}

impl AnonymousRead {
    async fn check(&self, given: Option<&HeaderValue>, route: &Route, action: Action, origin: &str) -> Result<Grant, Refusal> {
        if *route == Route::Token {
            return Ok(Grant::Everything);
        }
        let scope = token::needed_scope(route, action);
        let refuse =
            |message: &str, error| challenge(message, &token::bearer(&format!("{origin}/token"), issuer::SERVICE, scope.as_deref(), error));
        // Without any way to say who one is, and on curl's first question, a challenge; tokens cost nobody anything.
        let Some(value) = given else { return Err(refuse("a token is required; it is free for reading", None)) };
        match scheme(value, "bearer").map(|token| self.issuer.read(token)) {
            Some(Some(claims)) if claims.allow_route(route, action) => Ok(Grant::Claims(claims)),
            Some(Some(_)) => Err(refuse("the token does not allow this", Some("insufficient_scope"))),
            Some(None) => Err(refuse("the token is refused", Some("invalid_token"))),
            None if self.accounts.know(given).await => Ok(Grant::Everything),
            None => Err(refuse("authentication required", None)),
        }
    }
}

/// What follows the name of the scheme.
fn scheme<'a>(value: &'a HeaderValue, name: &str) -> Option<&'a str> {
    let text = value.to_str().ok().filter(|text| text.len() <= LONGEST)?;
    let (scheme, rest) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case(name).then(|| rest.trim())
}

/// User and password of a basic authorization.
fn credentials(value: &HeaderValue) -> Option<(String, Secret)> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(scheme(value, "basic")?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), Secret::new(password)))
}

fn challenge(message: &str, how: &str) -> Refusal {
    let value = HeaderValue::from_str(how).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    Refusal::new(Code::Unauthorized, message).header(WWW_AUTHENTICATE, value)
}
