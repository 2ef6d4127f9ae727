//! Who may do what: nobody asked, accounts in a file, or tokens of somebody we trust.
//!
//! What must stay true: every request passes [`Access::check`] before anything else is looked at; a mount asks for the other repository, too (S-511);
//! no password or token is ever logged or told back.
//!
//! # Source
//! RFC 7617 (Basic), RFC 6750 (Bearer); the Docker registry's token scope grammar (`repository:<name>:pull,push`).

mod accounts;
mod keys;
mod token;

pub use accounts::Accounts;
pub use keys::Keys;
pub use token::Tokens;

use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method};
use shipway_model::Secret;

use super::names::RepositoryName;
use super::route::Route;
use crate::codes::{Code, Refusal};

/// Longest `Authorization` that is looked at.
const LONGEST: usize = 16 * 1024;

/// The way in.
pub enum Access {
    /// Everybody may do everything: for loopback and private networks.
    Open,
    /// Accounts with passwords; with `anonymous_read`, reading needs none.
    Accounts { accounts: Accounts, anonymous_read: bool },
    /// Tokens from a server of the administrator's choice.
    Tokens(Tokens),
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
    /// Lets a request in or refuses it.
    ///
    /// # Errors
    /// `UNAUTHORIZED` with a challenge.
    pub(super) async fn check(&self, headers: &HeaderMap, route: &Route, method: &Method) -> Result<Grant, Refusal> {
        let action = Action::of(route, method);
        match self {
            Self::Open => Ok(Grant::Everything),
            Self::Accounts { accounts, anonymous_read } => {
                let given = headers.get(AUTHORIZATION);
                if given.is_none() && *anonymous_read && action == Action::Pull {
                    return Ok(Grant::Everything);
                }
                match given.and_then(credentials) {
                    Some((user, password)) if accounts.verify(&user, &password).await => Ok(Grant::Everything),
                    _ => Err(challenge("authentication required", &format!("Basic realm=\"{}\"", accounts.realm()))),
                }
            }
            Self::Tokens(tokens) => {
                let token = headers.get(AUTHORIZATION).and_then(|value| scheme(value, "bearer"));
                tokens.check(token, route, action)
            }
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
